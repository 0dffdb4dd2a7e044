"""The sentence that is found for an answer that quotes nothing."""

from __future__ import annotations

import pytest

from ragtune.prompts import parse_answer
from ragtune.support import cited_by, find_support
from ragtune.types import Passage, Span

TEXTS = (
    "The crossing takes **forty** minutes. The pier is old, and forty steps lead down to it.\n\n"
    "| berth | depth |\n|---|---|\n| east | 9 m |",
    "Tickets cost 4 euros. The captain's name is Ida Moe (born 1961). It rains. It pours.",
)


def shown(*texts: str, prefix: str = "") -> list[Passage]:
    return [
        Passage(f"p{i}", f"{i}.md", "t", prefix, text, (Span(f"{i}.md", 100, 100 + len(text)),), (f"c{i}",)) for i, text in enumerate(texts)
    ]


PASSAGES = shown(*TEXTS)


@pytest.mark.parametrize(
    ("question", "answer", "sentence"),
    [
        ("How long does the crossing take?", "forty minutes", "The crossing takes **forty** minutes."),
        ("How many steps are there?", "Forty", "The pier is old, and forty steps lead down to it."),
        ("How deep is the east berth?", "9 m", "east | 9 m"),
        ("Who is the captain?", "ida moe", "The captain's name is Ida Moe (born 1961)."),
        ("How is the weather?", "It rains. It pours.", "It rains. It pours."),
    ],
)
def test_the_sentence_with_the_answer_that_matches_the_question_is_found(question, answer, sentence):
    quote = find_support(question, answer, PASSAGES)
    assert quote is not None
    assert quote.text == sentence
    assert quote.valid
    assert quote.found
    assert quote.passage is not None
    passage = PASSAGES[int(quote.passage[1:])]
    assert quote.document == passage.document
    assert quote.start is not None
    assert quote.end is not None
    assert sentence.split()[0] in passage.text[quote.start - 100 : quote.end - 100]


@pytest.mark.parametrize("answer", ["", " . ", "fort", "ape", "sixty minutes", "minutes forty", "the passages say so"])
def test_what_no_sentence_says_has_no_support(answer):
    assert find_support("How long does the crossing take?", answer, PASSAGES) is None


def test_a_row_that_stands_in_several_tables_is_cited_where_it_answers():
    tables = [f"# {name} harbour\n\n| berth | depth |\n|---|---|\n| east | 9 m |" for name in ("Ardmoor", "Brenholt", "Calder")]
    question = "How deep is the east berth of Brenholt harbour?"
    quote = find_support(question, "9 m", shown(*tables))
    assert quote is not None
    assert (quote.document, quote.text) == ("1.md", "east | 9 m")
    whole = "\n\n".join(tables)
    quote = find_support(question, "9 m", shown(whole))
    assert quote is not None
    assert quote.start == 100 + whole.index("east", whole.index("Brenholt"))


@pytest.mark.parametrize(
    ("answer", "text", "sentence"),
    [
        ("no", "There is no smoking room on deck.", None),
        ("Yes.", "He said yes to the offer.", None),
        ("C++", "Vitamin C is in oranges. The tool is written in C++.", "The tool is written in C++."),
        ("C#", "Vitamin C is in oranges.", None),
        ("-5", "It is 5 degrees warm. At night (−5 degrees) it is cold.", "At night (−5 degrees) it is cold."),
        ("3.5", "Section 3 5 of the report. It weighs 3.5 kg.", "It weighs 3.5 kg."),
        ("1914", "From 1914-1918 it was shut.", "From 1914-1918 it was shut."),
        ("東京", "大阪は大きい。日本の首都は東京です。", "日本の首都は東京です。"),
        ("四十分钟", "渡轮需要四十分钟。", "渡轮需要四十分钟。"),
    ],
)
def test_words_are_taken_with_what_tells_them_from_others(answer, text, sentence):
    quote = find_support("What is it?", answer, shown(text))
    assert (quote and quote.text) == sentence


def test_nothing_shown_supports_nothing():
    assert find_support("How long?", "forty minutes", []) is None


def test_an_answer_that_no_passage_of_its_quotes_holds_is_shown_where_its_words_stand():
    raw = '"Tickets cost 4 euros."\nAnswer: 9 m'
    quotes = cited_by("How deep is the east berth?", "9 m", parse_answer(raw), PASSAGES)
    assert [(each.text, each.found) for each in quotes] == [("Tickets cost 4 euros.", False), ("east | 9 m", True)]


@pytest.mark.parametrize(
    ("raw", "cited"),
    [
        ('"Tickets cost"\nAnswer: 4 euros', ["Tickets cost"]),  # its passage has the words
        ('"Tickets cost 4 euros."\nAnswer: four', ["Tickets cost 4 euros."]),  # no passage has them
        ('"Tickets cost 4 euros."\nAnswer: yes', ["Tickets cost 4 euros."]),
        ('"Tickets cost 4 euros."\nAnswer: not in the passages', ["Tickets cost 4 euros."]),
        ('"Nobody says this: 9 m."\nAnswer: 9 m', ["Nobody says this: 9 m.", "east | 9 m"]),
    ],
)
def test_a_quote_is_enough_where_its_passage_may_hold_the_answer(raw, cited):
    parsed = parse_answer(raw)
    assert [each.text for each in cited_by("What is it?", parsed.answer, parsed, PASSAGES)] == cited
