"""Markdown that is sent while the model writes."""

from __future__ import annotations

import re
from collections import Counter

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from hypothesis import example, given
from hypothesis import strategies as st

from ragtune.rag import FOUND, finish
from ragtune.serve.markdown import NO_ANSWER, UNQUOTED, MarkdownStream
from ragtune.types import Passage, Span

FERRY = Passage("p1", "ferry.md", "Ferries", "", "The crossing takes **forty** minutes.", (Span("ferry.md", 50, 87),), ("c1",))
PIER = Passage("p2", "pier.md", "", "", "The pier is old.", (Span("pier.md", 0, 16),), ("c2",))
PASSAGES = (FERRY, PIER)
ABSTAINED = "The documents found for this question do not hold the answer."


def pieces(raw: str, size: int) -> list[str]:
    """What is sent of a raw text that is written in pieces of a size, the end last."""
    made = MarkdownStream(PASSAGES)
    return [*(made.feed(raw[at : at + size]) for at in range(0, len(raw), size)), made.end(finish("q", raw, PASSAGES, "m"))]


def sent(raw: str, size: int = 3) -> str:
    return "".join(pieces(raw, size))


def test_quotes_come_first_with_number_and_document_then_the_answer_in_bold():
    raw = '"The crossing takes forty minutes."\n"The pier is old."\nAnswer: forty minutes'
    assert sent(raw) == (
        "> The crossing takes forty minutes.\n> — [1] ferry.md, Ferries\n\n> The pier is old.\n> — [2] pier.md\n\n**forty minutes** [1][2]"
    )


def test_a_quote_is_sent_when_its_line_is_whole_and_not_before():
    raw = '"The pier is old."\nAnswer: old'
    made = MarkdownStream(PASSAGES)
    assert [made.feed(letter) for letter in '"The pier is old."'] == [""] * 18
    assert made.feed("\n") == "> The pier is old.\n> — [2] pier.md"
    assert made.feed(raw[19:]) + made.end(finish("q", raw, PASSAGES, "m")) == "\n\n**old** [2]"


def test_a_long_answer_is_sent_while_it_is_written():
    raw = "Answer: " + "the harbour was closed in the winter of that year, and again later"
    *before, last = pieces(raw, 4)
    assert "".join(before).startswith("**the harbour was closed in the winter of that year")
    assert last.endswith(f"**\n\n{UNQUOTED}")


@pytest.mark.parametrize("raw", ["Answer: not in the passages", "Answer: Not found in these passages.", "I do not know", "unanswerable"])
def test_an_abstention_is_a_plain_sentence(raw):
    assert sent(raw) == ABSTAINED


def test_a_quote_that_no_passage_holds_is_struck_out():
    assert sent('"The pier is new."\nAnswer: new').startswith("> ~~The pier is new.~~\n> — not found word for word in any passage shown")


def test_what_is_written_without_a_mark_is_the_answer():
    assert sent("sixty minutes") == f"**sixty minutes**\n\n{UNQUOTED}"


def test_an_answer_that_quotes_nothing_is_followed_by_the_sentence_with_its_words():
    made = sent("Answer: forty minutes")
    assert made == f"**forty minutes** [1]\n\n> The crossing takes **forty** minutes.\n> — [1] ferry.md, Ferries{FOUND}"
    assert sent("forty minutes") == made


def test_reasoning_is_a_paragraph():
    assert sent('"The pier is old."\nThe pier is meant.\nAnswer: old') == (
        "> The pier is old.\n> — [2] pier.md\n\nThe pier is meant.\n\n**old** [2]"
    )


def test_a_mark_within_a_quote_is_the_documents():
    assert "**" not in sent('"What is the Answer: 42?"\nAnswer: not in the passages')


@pytest.mark.parametrize("raw", ["", "Answer:", "\n\n"])
def test_no_answer_is_said(raw):
    assert sent(raw) == NO_ANSWER


def test_a_mark_in_a_quote_that_is_not_closed_is_the_models():
    assert sent('"The pier is Answer: “It is new.”') == "> The pier is\n> — [2] pier.md\n\n**“It is new.”** [2]"


def test_a_second_answer_stands_in_a_paragraph_of_its_own():
    assert sent("Answer: old\nAnswer: new") == f"**old**\n\n**new**\n\n{UNQUOTED}"


def test_what_is_said_behind_a_quote_is_said():
    assert sent('"The pier is old." That is all.') == "> The pier is old.\n> — [2] pier.md\n\nThat is all."
    assert sent('"The pier is old.".\nAnswer: old') == "> The pier is old.\n> — [2] pier.md\n\n**old** [2]"


PART = st.sampled_from(['"The pier is old."', '"The pier', "Answer:", " old", "\n", "“It is new.”", "not in the passages", "*", "x " * 30])


@example('*\n"The pier is old."', 1)
@given(st.lists(PART, max_size=8).map("".join), st.integers(1, 9))
def test_whatever_is_written_in_whatever_pieces_the_answer_is_sent(raw, size):
    answer = finish("q", raw, PASSAGES, "m")
    made = sent(raw, size)
    if answer.abstained:
        assert made.endswith(answer.markdown)
    elif not answer.answer:
        assert NO_ANSWER in made
    elif answer.answer != raw.strip("*` \n"):  # a mark that stands in no quote
        assert not Counter(re.findall(r"\w+", answer.answer)) - Counter(re.findall(r"\w+", made))  # as quotes, what stands in quotes
        assert made.endswith(UNQUOTED) != bool(answer.citations or answer.unsupported)
