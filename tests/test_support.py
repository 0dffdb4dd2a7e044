"""The sentence that is found for an answer that quotes nothing."""

from __future__ import annotations

import pytest

from ragtune.support import find_support
from ragtune.types import Passage, Span

TEXTS = (
    "The crossing takes **forty** minutes. The pier is old, and forty steps lead down to it.\n\n"
    "| berth | depth |\n|---|---|\n| east | 9 m |",
    "Tickets cost 4 euros. The captain's name is Ida Moe (born 1961). It rains. It pours.",
)
PASSAGES = [
    Passage(f"p{i}", f"{i}.md", "t", "", text, (Span(f"{i}.md", 100, 100 + len(text)),), (f"c{i}",)) for i, text in enumerate(TEXTS)
]


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


def test_nothing_shown_supports_nothing():
    assert find_support("How long?", "forty minutes", []) is None
