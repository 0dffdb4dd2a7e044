"""Highlights: the sentence with the question's words comes first, every one is a span of its passage, and nothing else decides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.highlights import MAX_CHARACTERS, MAX_WORDS, terms
from ragtune.highlights import find_highlights as find
from ragtune.quotes import find_span
from ragtune.types import Passage, Span


def passage(number: int, text: str, prefix: str = "Lines") -> Passage:
    return Passage(f"p{number}", "a.md", "A", prefix, text, (Span("a.md", 0, len(text)),), (f"c{number}",))


def find_highlights(question: str, passages: list[Passage], count: int = 3) -> tuple[str, ...]:
    return tuple(highlight.text for highlight in find(question, passages, count))


FERRY = passage(1, "The ferry leaves at noon. It carries forty passengers and two horses. The captain is Ann Pask.")
MILL = passage(2, "The mill stands by the Avon. Its captain never came. It grinds barley on Tuesdays.")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How many passengers and horses can it take?", "It carries forty passengers and two horses."),
        ("What is ground on a Tuesday?", "It grinds barley on Tuesdays."),
        ("Who is the captain of the ferry?", "The captain is Ann Pask."),
    ],
)
def test_the_sentence_that_shares_the_question_s_words_comes_first(question: str, expected: str) -> None:
    assert find_highlights(question, [FERRY, MILL])[0] == expected


def test_of_equal_sentences_that_of_the_better_ranked_passage_comes_first() -> None:
    first, second = passage(1, "Open from May to June."), passage(2, "Open from July to August.")
    assert find_highlights("When is it open?", [first, second])[0] == "Open from May to June."
    assert find_highlights("When is it open?", [second, first])[0] == "Open from July to August."


def test_headings_above_a_sentence_count_for_it() -> None:
    text = "## Lantern Hut\n\nThere are 60 beds.\n\n## Marl Hut\n\nThere are 24 beds."
    assert find_highlights("How many beds has the Marl Hut?", [passage(1, text)])[0] == "There are 24 beds."
    by_prefix = [passage(1, "There are 60 beds.", "Lantern Hut"), passage(2, "There are 24 beds.", "Marl Hut")]
    assert find_highlights("How many beds has the Marl Hut?", by_prefix)[0] == "There are 24 beds."


def test_a_heading_keeps_its_parents_and_loses_its_siblings() -> None:
    text = "## Lantern Hut\n\n### Beds\n\nThere are 60.\n\n## Marl Hut\n\n### Beds\n\nThere are 24."
    first, second = find("How many beds has the Marl Hut?", [passage(1, text, "Huts > North")])[:2]
    assert (first.text, first.above) == ("There are 24.", "Beds")
    assert second.text == "There are 60."
    assert find_highlights("Which hut has 60?", [passage(1, "#60 is no heading")]) == ("#60 is no heading",)


def test_a_highlight_says_what_it_stands_under() -> None:
    table = "## Levels\n\n| Level | Colour |\n|---|---|\n| 4 | red |\n| 5 | black |"
    shown = [str(each) for each in find("What colour is level 4?", [passage(1, table, "Avalanches")], 1)]
    assert shown == ["Levels (Level | Colour): 4 | red"]
    continued = [str(each) for each in find("What colour is level 5?", [passage(1, "| 5 | black |", "Levels\n| Level | Colour |")], 1)]
    assert continued == ["Levels (Level | Colour): 5 | black"]
    assert [str(each) for each in find("Who?", [passage(1, "Ann.", "")])] == ["Ann."]


def test_an_equal_sentence_is_shown_once_where_it_fits_best() -> None:
    text = "## Lantern Hut\n\nIt is open.\n\n## Marl Hut\n\nIt is open."
    assert [str(each) for each in find("Is the Marl Hut open?", [passage(1, text)])] == ["Marl Hut: It is open."]


def test_a_table_row_is_a_highlight_and_its_head_and_rule_are_not() -> None:
    text = "| Hut | Beds |\n|---|---|\n| Lantern Hut | 60 |\n| Marl Hut | 24 |"
    found = find_highlights("How many beds has the Marl Hut?", [passage(1, text)], 9)
    assert found == ("Marl Hut | 24", "Lantern Hut | 60")


def test_scripts_without_spaces_are_matched_too() -> None:
    assert terms("渡船中午") == ["渡船", "船中", "中午"]
    assert find_highlights("渡船几点出发", [passage(1, "磨坊在河边。渡船中午出发。")])[0] == "渡船中午出发。"


def test_a_long_sentence_is_shown_in_pieces() -> None:
    words = [f"word{number}" for number in range(MAX_WORDS + 5)]
    found = find_highlights("word3", [passage(1, " ".join(words))], 9)
    assert found == (" ".join(words[:MAX_WORDS]), " ".join(words[MAX_WORDS:]))
    assert max(map(len, find_highlights("x", [passage(1, "x" * 5 * MAX_CHARACTERS)], 9))) == MAX_CHARACTERS


@given(question=st.text(max_size=30), bodies=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=3))
def test_highlights_are_one_line_spans_of_what_is_shown(question: str, bodies: list[str]) -> None:
    passages = [passage(number, body) for number, body in enumerate(bodies)]
    found = find_highlights(question, passages)
    assert found == find_highlights(question, passages)
    for text in found:
        assert text == " ".join(text.split())
        # What the fold drops entirely (a line of marks alone) has no place to be found at.
        assert any(find_span(text, body) for body in bodies) or not any(character.isalnum() for character in text)


def test_nothing_shown_nothing_highlighted() -> None:
    assert find_highlights("Who?", []) == ()
    assert find_highlights("Who?", [passage(1, "")]) == ()


WRAPPED = """The congestion algorithm that is taken by default is the one that
was compiled in. It can be chosen for each socket, and the list of
those that may be chosen is kept by the kernel, which also says at
https://kernel.example/a/very/long/address/that/nobody/could/wrap/because/it/has/no/space/at/all
which are loaded."""


@pytest.mark.parametrize("indent", ["", "       "])
def test_a_sentence_goes_on_over_lines_that_were_wrapped_by_hand(indent: str) -> None:
    text = "\n".join(indent + line for line in WRAPPED.splitlines())
    found = find_highlights("Which congestion algorithm is taken by default?", [passage(1, text)], 1)
    assert found == ("The congestion algorithm that is taken by default is the one that was compiled in.",)
    assert find_span(found[0], text)


@pytest.mark.parametrize(
    "text",
    [
        "Roses are red and so is the cover of the book on it\nViolets are blue, as the sea is on a good day, they say, or\nso",
        "- the ferry leaves at noon from the northern pier, as\n- the mill stands by the river and grinds on Tuesdays",
        "Leaves: at noon from the northern pier of the old town\nCarries: forty passengers and two horses, at the very most",
        "```\nfor passenger in passengers_of_the_ferry_at_noon: print(\n    horses_of_the_ferry_at_noon, carriages_of_the_ferry)\n```",
        f"{'word ' * 29}end\n{'other ' * 30}",
    ],
    ids=["short lines", "items", "names", "code", "paragraphs a line each"],
)
def test_other_lines_stay_apart(text: str) -> None:
    lines = [line for line in text.splitlines() if not line.startswith("```")]
    found = find_highlights(" ".join(lines[:2]), [passage(1, text)], 20)
    assert not any(find_span(lines[0].strip()[-8:], each) and find_span(lines[1].strip(" -")[:8], each) for each in found)


@pytest.mark.parametrize("word", ["it", "on", "set"])
def test_a_short_word_that_ends_a_sentence_is_no_item(word: str) -> None:
    text = (
        f"The congestion algorithm that is taken by default is this, and\n{word}. Another sentence follows, which is about something else."
    )
    assert find_highlights("Which congestion algorithm is taken by default?", [passage(1, text)], 1)[0].endswith(f"and {word}.")
