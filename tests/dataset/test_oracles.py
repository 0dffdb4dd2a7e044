from __future__ import annotations

import pytest

from ragtune.dataset.matching import holds_answer, normalise
from ragtune.dataset.oracles import cut_quote, find_oracles
from ragtune.sentences import sentence_around
from ragtune.types import Evidence, Passage, Span

TEXT = "Alpha is first. The mill was built\nby Ina Moll in 1902. Omega is last."


def passage(id_: str, start: int, end: int, text: str = TEXT) -> Passage:
    return Passage(id_, "d", "", "", text[start:end], (Span("d", start, end),), (id_,))


def evidence(quoted: str, text: str = TEXT) -> Evidence:
    start = text.index(quoted)
    return Evidence("d", start, start + len(quoted), quoted)


MILL = "The mill was built\nby Ina Moll in 1902."


def test_one_passage_that_holds_the_evidence_is_preferred_to_two_and_the_best_ranked_to_others() -> None:
    left, right, whole, other = passage("left", 0, 34), passage("right", 35, 70), passage("whole", 10, 60), passage("other", 0, 70)
    everything = [left, right, whole, other]
    assert find_oracles(evidence(MILL), everything, {"other": 1, "whole": 2}) == (other,)
    assert find_oracles(evidence(MILL), everything, {"left": 1, "whole": 2}) == (whole,)


def test_evidence_split_over_two_passages_needs_both_and_white_space_between_them_does_not_matter() -> None:
    left, right = passage("left", 0, 34), passage("right", 35, 70)
    assert find_oracles(evidence(MILL), [right, left], {}) == (left, right)
    assert find_oracles(evidence("Alpha"), [right, left], {}) == (left,)
    assert find_oracles(Evidence("elsewhere", 0, 5, "Alpha"), [right, left], {}) == ()


def test_a_quote_is_a_span_of_its_passage_on_one_line() -> None:
    assert cut_quote(evidence(MILL), [passage("p", 0, 70)], ["Ina Moll"], 30) == "The mill was built by Ina Moll in 1902."
    assert cut_quote(evidence(MILL), [passage("left", 0, 34), passage("right", 35, 70)], ["Ina Moll"], 30) == "by Ina Moll in 1902."
    assert cut_quote(evidence(MILL), [], ["Ina Moll"], 30) is None


def test_lines_that_cannot_be_joined_verbatim_are_quoted_alone() -> None:
    listed = "Bring with you\n- a long rope\n- a lamp"
    assert cut_quote(evidence(listed, listed), [passage("p", 0, len(listed), listed)], ["a lamp"], 30) == "a lamp"


def test_a_long_quote_is_cut_to_words_around_the_answer() -> None:
    text = " ".join(f"w{n}" for n in range(100))
    whole = Evidence("d", 0, len(text), text)
    for answer in ("w0", "w50", "w99", "w40 w41 w42"):
        quote = cut_quote(whole, [passage("p", 0, len(text), text)], [answer], 10)
        assert quote is not None
        assert len(quote.split()) == 10
        assert answer in quote
        assert quote in text


def test_of_a_table_or_a_row_the_line_with_the_answer_is_quoted() -> None:
    table = "| Hut | Beds |\n|---|---|\n| Lantern | 24 |\n| Saddle | 6 |"
    assert cut_quote(evidence(table, table), [passage("p", 0, len(table), table)], ["6"], 30) == "Saddle | 6"
    row = "name: Lantern Hut\nbeds: 24\nkeeper: Ina Moll"
    assert cut_quote(evidence(row, row), [passage("p", 0, len(row), row)], ["24"], 30) == "beds: 24"


@pytest.mark.parametrize(
    ("answers", "text", "holds"),
    [
        (["61,400"], "It carried 61400 people", True),
        (["The Plum"], "a plum-coloured car, the plum.", True),
        (["40"], "No more than 400", False),
        (["6"], "There are 6 beds", False),
        (["yes"], "Yes, it is.", False),
        (["gone", "Ina Moll"], "by INA  MOLL!", True),
        ([], "anything", False),
        (["Hollow Marsh"], "the mill—Hollow Marsh—was sold", True),
        (["1820"], "in 1820–1830", True),
        (["1820"], "in 1820-1830 or [1840]", True),
        (["Paris"], "Paris/London by night", True),
        (["1,000 m"], "a hut at 1000 m.", True),
        (["well-known"], "it is well known", True),
        (["U.S."], "the US, then", True),
        (["cat"], "concatenated", False),
        (["北京"], "中国的首都是北京。", True),
        (["北 京"], "中国的首都是北京。", True),
        (["东京"], "中国的首都是北京。", False),
    ],
)
def test_an_answer_is_held_in_whole_words_beyond_trivial_ones(answers: list[str], text: str, holds: bool) -> None:
    assert holds_answer(answers, normalise(text)) is holds


def test_a_sentence_does_not_end_at_an_initial_or_an_abbreviation() -> None:
    text = "One. The see of St. James had J. R. Moll, i.e. Him. Then three."
    at = text.index("Moll")
    first, last = sentence_around(text, at, at + 4)
    assert text[first:last] == "The see of St. James had J. R. Moll, i.e. Him."
