from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ragtune.prepare import clean_document
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


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=80) | st.text(alphabet="aé Ã©â€™\n\r\t\0\x1b[\u0301|#", max_size=60))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean_text(text)[0]
    assert clean_text(once)[0] == once
    once.encode()
