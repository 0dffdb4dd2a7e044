from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtune.prepare import RULES, Rule, clean_document
from ragtune.prepare.clean import clean_text
from ragtune.types import Document


def test_mojibake_is_repaired_and_counted() -> None:
    text, counts = clean_text("The hut costs 10â‚¬.\nIt is in the cafÃ© â€“ upstairs.\nplain")
    assert text == "The hut costs 10€.\nIt is in the café – upstairs.\nplain"
    assert counts == {"mojibake": 2}


def test_each_kind_of_repair_is_counted() -> None:
    text, counts = clean_text("a\r\nb\0c  \n\n\n\n\n\nd e\u0301")
    assert text == "a\nbc\n\n\nd é"
    assert counts == {"line endings": 1, "control characters": 1, "trailing space": 1, "blank lines": 1, "composed": 1}


def test_a_long_run_of_spaces_takes_no_time() -> None:
    text = "a" + " " * 1_000_000 + "b"
    assert clean_text(text + " \t") == (text, {"trailing space": 1})


def test_typography_markup_and_entities_are_left_alone() -> None:
    text = "“Quoted” — it’s `&lt;b&gt;` | a | b |\n\n\tcode\tx  y\n\n\n# Größe"
    assert clean_text(text) == (text, {})


def test_what_utf8_cannot_store_goes() -> None:
    assert clean_text("a\ud800b\ufeffc")[0] == "a\ufffdbc"


def test_a_clean_document_is_given_back_as_it_is() -> None:
    document = Document("a.md", "A", "# A\n\ntext")
    assert clean_document(document)[0] is document


def test_a_title_becomes_one_clean_line() -> None:
    document, _ = clean_document(Document("a.md", "A\n  b\0 ", "x"))
    assert document.title == "A b"


def test_words_broken_at_a_lines_end_are_joined_where_the_text_shows_that_they_are_one() -> None:
    text, counts = clean_text(
        "The cable carries an exam-\nple. It is a soft\u00ad\nened rope, a well-\nknown kind, built by left-\nhand turns.\n"
        "Each hand is well-known, and so is\nthe state-\nof-the-art winch."
    )
    assert text == (
        "The cable carries an example.\nIt is a softened\nrope, a well-known\nkind, built by left-\nhand turns.\n"
        "Each hand is well-known, and so is\nthe state-\nof-the-art winch."
    )
    assert counts == {"hyphenation": 3}


def test_code_and_tables_keep_their_hyphens() -> None:
    text = "```\ncp -r exam-\nple\n```\n\n    exam-\n    ple\n\n| exam-\n| ple"
    assert clean_text(text) == (text, {})


def test_words_that_a_typesetter_broke_are_joined_in_indented_lines_too() -> None:
    text, counts = clean_text(
        "DESCRIPTION\n       It limits con\u2010\n       gestion on the line and shows the re\u00ad\n\tsult\n       at once.\n"
        "       run --dry-\n       run exam-\n       ple"
    )
    assert text == (
        "DESCRIPTION\n       It limits congestion\n       on the line and shows the result\n       at once.\n"
        "       run --dry-\n       run exam-\n       ple"
    )
    assert counts == {"hyphenation": 2}
    fenced = "```\n    con\u2010\n    gestion\n```\n\n    the user\u2010\n    land\u2010based\n    and the land"
    assert clean_text(fenced) == (fenced, {})


def test_dot_leaders_become_an_ellipsis() -> None:
    text, counts = clean_text(
        "1 Lines . . . . . . . . 1 1.1 Huts.......... 12\n   2.  Cabins  . . . . .   iv\n| Index ........ | 99 |\n"
        "He waited..... Then . . . . the end ...\n`^.....$` and `......`\n```\na ..... 1\n```"
    )
    assert text == (
        "1 Lines … 1 1.1 Huts … 12\n   2.  Cabins  … iv\n| Index … | 99 |\n"
        "He waited..... Then . . . . the end ...\n`^.....$` and `......`\n```\na ..... 1\n```"
    )
    assert counts == {"dot leaders": 3}
    assert clean_text(". " * 200_000 + "!")[1] == {}


def test_tables_lose_what_aligns_their_columns() -> None:
    text, counts = clean_text(
        "Ports:\n\n  | Port    |  Name      | Why  a  |\n  | ------- | :--------: | ---- |\n  |   1     | `a  b`     |        |\n\n"
        "a    | b\n\n```\n| a    | b |\n| ---- | - |\n```"
    )
    assert text == (
        "Ports:\n\n  | Port | Name | Why  a |\n  | --- | :---: | --- |\n  | 1 | `a  b` |  |\n\n"
        "a    | b\n\n```\n| a    | b |\n| ---- | - |\n```"
    )
    assert counts == {"table padding": 3}


def paged(pages: int = 4) -> str:
    body = "\n".join(f"Line {n} of the text." for n in range(5))
    return "\f".join(f"RFC 9999    Gondolas    May 2020\n\nPart {'abcd'[n]}.\n{body}\n\nMiller    [Page {n + 1}]\n" for n in range(pages))


def test_heads_and_feet_of_pages_go_but_for_the_first_and_are_counted() -> None:
    text, counts = clean_text(paged())
    assert (text.count("RFC 9999"), text.count("Miller"), text.count("Line 3"), text.count("Part ")) == (1, 1, 4, 4)
    assert counts["repeated lines"] == 6


def test_a_line_that_returns_in_a_text_without_pages_stays() -> None:
    text = "\n\n".join(f"Note {n}\n\nSee also the index." for n in range(20))
    assert clean_text(text) == (text, {})


def test_boilerplate_lines_go_and_the_same_words_in_a_sentence_stay() -> None:
    text, counts = clean_text("Skip to main content\n\nWe use cookies to make this site work.\n\nBakers back to top form.\n\nBack to top")
    assert text == "Bakers back to top form."
    assert counts["boilerplate"] == 3


DIRTY: dict[Rule, str] = {
    "boilerplate": "Skip to content\n\nThe text.",
    "mojibake": "The cafÃ© is open.",
    "hyphenation": "An exam-\nple of it.",
    "repeated lines": paged(),
    "control characters": "The\u202e text.",
}


@pytest.mark.parametrize("rule", sorted(RULES))
def test_each_rule_can_be_switched_off_alone(rule: Rule) -> None:
    assert clean_text(DIRTY[rule])[1][rule] >= 1
    text, counts = clean_text(DIRTY[rule], RULES - {rule})
    assert rule not in counts
    assert text == DIRTY[rule].replace("\f", "\n").rstrip("\n").replace("\n\n\n\n", "\n\n\n")


def test_offsets_of_pages_move_with_the_text() -> None:
    pages = ["\ufeffFirst\r\npa\0ge.\n\n\n\n\n", "Skip to content\nSecond exam-\nple.  \n\n", "# Third\n\nIt ends.\n\n", "", "\n"]
    starts = [sum(map(len, pages[:n])) for n in range(5)]
    document, counts = clean_document(Document("a.pdf", "A", "".join(pages), "application/pdf", {"pages": 5, "page_starts": list(starts)}))
    moved = document.metadata["page_starts"]
    assert isinstance(moved, list)
    assert document.text == "First\npage.\n\n\nSecond example.\n\n# Third\n\nIt ends."
    assert [document.text[int(str(start)) :][:6] for start in moved] == ["First\n", "Second", "# Thir", "", ""]
    assert document.metadata["pages"] == 5
    assert counts["boilerplate"] == counts["hyphenation"] == counts["control characters"] - 1 == 1


@settings(max_examples=300)
@given(
    st.text(alphabet=st.characters(), max_size=80)
    | st.text(alphabet=". 1i…|-\n", max_size=60)
    | st.text(alphabet="aé Ã©â€™\n\r\t\0\x1b[\u0301|#", max_size=60)
    | st.text(alphabet="ab-\u00ad\u2010\n `\f", max_size=60),
    st.sets(st.sampled_from(sorted(RULES))),
)
def test_cleaning_twice_changes_nothing(text: str, off: set[Rule]) -> None:
    once = clean_text(text, RULES - off)[0]
    assert clean_text(once, RULES - off)[0] == once
    once.encode()
