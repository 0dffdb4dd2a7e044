from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragtune.sentences import bare, sentence_around, split_sentences


def test_abbreviations_and_numbers_end_no_sentence() -> None:
    text = "It was built by Dr. J. Pask in 1902. It cost 3.5 crowns! Why? Nobody knows."
    assert split_sentences(text) == ["It was built by Dr. J. Pask in 1902.", "It cost 3.5 crowns!", "Why?", "Nobody knows."]


def test_sentences_of_other_scripts_end_too() -> None:
    assert split_sentences("Die Bahn fährt. Über ihr kreist ein Adler.") == ["Die Bahn fährt.", "Über ihr kreist ein Adler."]
    assert split_sentences("Канатка закрыта. Она откроется в мае.") == ["Канатка закрыта.", "Она откроется в мае."]
    assert split_sentences("渡船中午出发。磨坊在河边！") == ["渡船中午出发。", "磨坊在河边！"]
    assert split_sentences("It takes approx. two hours.") == ["It takes approx. two hours."]


@given(st.text('ab.!? \nA1"', max_size=40))
def test_splitting_loses_only_white_space(text: str) -> None:
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


@given(st.text("ab.! \nA", max_size=40), st.integers(0, 40), st.integers(0, 5))
def test_the_sentence_around_a_place_holds_it(text: str, start: int, length: int) -> None:
    start, end = min(start, len(text)), min(start + length, len(text))
    first, last = sentence_around(text, start, end)
    assert 0 <= first <= last <= len(text)
    if text[start:end].strip():
        inside = text[start:end].strip()
        assert inside in text[first:last]


def test_a_line_loses_the_marks_at_its_edges_only() -> None:
    assert bare("  ## The  *old* mill ") == "The *old* mill"
    assert bare("| Hut | Beds |") == "Hut | Beds"
    assert bare("- > a | b") == "a | b"
    assert bare("| a ||") == "a"
    assert bare("a\t|") == "a"


def test_a_long_run_of_spaces_takes_no_time() -> None:
    assert bare("a" + " " * 1_000_000 + "b") == "a b"
