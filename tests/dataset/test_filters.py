"""Each filter on its own: what it lets through, and what it says of what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragtune.dataset import filters
from ragtune.dataset.filters import Known, duplicate_of
from ragtune.dataset.synthesise import Draft
from ragtune.evaluate.answers import f1
from ragtune.prompts import parse_answer
from ragtune.types import Evidence, Passage, Span

HUT = "Corrie Hut has 24 beds. It was **opened** in\n1961 by Agathe Brandlow, and closes for forty days in winter."
MARL = "Marl Hut sleeps 18. Its warden is Ida Thule."


def passage(id_: str, text: str, start: int = 100) -> Passage:
    return Passage(id_, f"{id_}.md", id_, f"Huts > {id_.title()} Hut", text, (Span(f"{id_}.md", start, start + len(text)),), (id_,))


CORRIE, OTHER = passage("corrie", HUT), passage("marl", MARL, 7)
DRAFT = Draft("fact", "Who opened Corrie Hut?", "Agathe Brandlow", ("It was opened in 1961 by Agathe Brandlow",), "The quote says so.")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"question": ""}, "no question"),
        ({"question": "Corrie Hut"}, "no question"),
        ({"question": "who " * 60 + "who?"}, "61 words"),
        ({"answer": " … "}, "no answer"),
        ({"answer": "very " * 26}, "26 words"),
        ({"question": "Who steers the boat to Skarholm?"}, "example"),
        ({"kind": "unanswerable", "answer": "", "question": "What does a night in Corrie Hut cost?"}, None),
        ({"kind": "unanswerable", "answer": "", "question": "Should everyone buy shares?"}, "no word of it"),
    ],
)
def test_a_question_must_be_whole_short_and_of_its_own(change, reason):
    found = filters.malformed(replace(DRAFT, **change), [CORRIE])
    assert (found is None) if reason is None else reason in str(found)


@pytest.mark.parametrize(
    ("question", "leans"),
    [
        ("What does the passage say about beds?", True),
        ("According to the document, who opened the hut?", True),
        ("Which hut is named in the second passage?", True),
        ("How many beds does the hut of passage 1 have?", True),
        ("Which of both passages is true?", True),
        ("How wide is the passage to the north pier?", True),  # a price worth paying
        ("Who signed the document that founded the Cooperative?", False),
        ("What text stands on the bell?", False),
    ],
)
def test_a_question_must_stand_without_its_passage(question, leans):
    assert (filters.leans_on_passage(question) is not None) == leans


def test_a_quote_becomes_evidence_as_the_document_has_it():
    assert filters.find_evidence(DRAFT, [CORRIE]) == (
        Evidence("corrie.md", 100 + HUT.index("It was"), 100 + HUT.index(", and"), "It was **opened** in\n1961 by Agathe Brandlow"),
    )


@pytest.mark.parametrize(
    ("quotes", "reason"),
    [
        (("It was opened in 1962 by Agathe Brandlow",), "stands in no passage"),
        (("it was opened in 1961 by Agathe Brandlow",), "stands in no passage"),
        (("Agathe Brandlow",), "too short"),
        (("",), "too short"),
    ],
)
def test_a_quote_that_is_no_span_falls(quotes, reason):
    assert reason in str(filters.find_evidence(replace(DRAFT, quotes=quotes), [CORRIE]))


def test_a_question_over_two_passages_quotes_both_in_either_order():
    both = ("Marl Hut sleeps 18.", "Corrie Hut has 24 beds.")
    found = filters.find_evidence(replace(DRAFT, quotes=both), [CORRIE, OTHER])
    assert not isinstance(found, str)
    assert [each.text for each in found] == list(both)
    assert filters.find_evidence(replace(DRAFT, quotes=(both[0], both[0])), [CORRIE, OTHER]) == "a passage is not quoted"


@pytest.mark.parametrize(
    ("answer", "quotes", "follows"),
    [
        ("Agathe Brandlow", DRAFT.quotes, True),
        ("the Brandlow, Agathe", DRAFT.quotes, True),
        ("Corrie Hut", ("opened in 1961 by Agathe Brandlow",), True),  # the heading says it
        ("Ida Thule", DRAFT.quotes, False),
        ("forty days", ("closes for forty days in winter",), True),
        ("40 days", ("closes for forty days in winter",), True),
        ("41 days", ("closes for forty days in winter",), False),
        ("42 beds", ("Corrie Hut has 24 beds.", "Marl Hut sleeps 18."), True),
        ("6 more", ("Corrie Hut has 24 beds.", "Marl Hut sleeps 18."), True),
        ("43 beds", ("Corrie Hut has 24 beds.", "Marl Hut sleeps 18."), False),
        ("yes", DRAFT.quotes, True),
        ("No.", DRAFT.quotes, True),
        ("1,200 kg", ("It holds 1200 kg of cheese",), True),
    ],
)
def test_an_answer_must_follow_from_its_quotes(answer, quotes, follows):
    assert (filters.does_not_follow(replace(DRAFT, answer=answer, quotes=quotes), [CORRIE]) is None) == follows


def test_evidence_must_be_found_all_of_it():
    first, second = Evidence("corrie.md", 110, 120, "x"), Evidence("marl.md", 8, 12, "sleeps")
    assert filters.not_retrieved([first, second], [OTHER, CORRIE]) is None
    assert "sleeps" in str(filters.not_retrieved([first, second], [CORRIE]))


def test_what_is_known_by_heart_falls_and_what_is_not_known_does_not():
    assert filters.known_by_heart(parse_answer("Answer: Brandlow"), ["Agathe Brandlow"], f1)
    assert filters.known_by_heart(parse_answer("Answer: Henk"), ["Agathe Brandlow"], f1) is None
    assert filters.known_by_heart(parse_answer("Answer: I do not know"), ["know"], f1) is None


def test_a_second_answer_must_agree_and_there_must_be_none_where_nothing_answers():
    assert filters.disagrees(parse_answer("Answer: Ms Agathe Brandlow"), ["Agathe Brandlow"], f1) is None
    assert filters.disagrees(parse_answer("Answer: Henk Ostrava"), ["Agathe Brandlow"], f1)
    assert filters.disagrees(parse_answer("Answer: not in the passages"), ["Agathe Brandlow"], f1)
    assert filters.disagrees(parse_answer("Answer: not in the passages"), [], f1) is None
    assert filters.disagrees(parse_answer("Answer: ten pounds"), [], f1)


@pytest.mark.parametrize(
    ("question", "answers", "cosine", "duplicate"),
    [
        ("Who built the mill of Calder?", ("Tom Berg",), 0.0, True),
        ("who built the Mill, of Calder", ("Ida Lund",), 0.0, True),  # the same words, whatever the answer
        ("Who built the well of Calder?", ("Ida Lund",), 0.99, False),  # one word and the answer differ: two questions
        ("Which mason made Calder's mill?", ("Mr Tom Berg",), 0.95, True),
        ("Which mason made Calder's mill?", ("Mr Tom Berg",), 0.85, False),
        ("Who then built the mill of Calder?", ("Tom Berg",), 0.0, True),
        ("Who built the mill of Calder long ago?", (), 0.99, False),
    ],
)
def test_near_duplicates_are_the_same_question_not_the_same_pattern(question, answers, cosine, duplicate):
    known = Known("Who built the mill of Calder?", ("Tom Berg",))
    found = duplicate_of(Known(question, answers), [known], f1, lambda *_: cosine)
    assert (found is not None) == duplicate


@pytest.mark.parametrize(
    ("kind", "question", "answer", "true"),
    [
        ("numeric", "When was Corrie Hut opened?", "1961", "numeric"),
        ("numeric", "For how long is Corrie Hut closed?", "forty days", "numeric"),
        ("numeric", "Who opened Corrie Hut?", "Agathe Brandlow", "fact"),
        ("paraphrase", "Which lady first let guests into the lodge?", "Agathe Brandlow", "paraphrase"),
        ("paraphrase", "Agathe Brandlow opened what in 1961?", "Corrie Hut", "fact"),
    ],
)
def test_a_question_is_labelled_with_what_it_turned_out_to_be(kind, question, answer, true):
    assert filters.true_kind(replace(DRAFT, kind=kind, question=question, answer=answer)) == true
