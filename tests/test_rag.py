"""Answers with citations that were checked word for word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from ragtune.confidence import Confidence, probability
from ragtune.highlights import coverage
from ragtune.prompts import build_messages
from ragtune.rag import NOT_SURE, NOTHING_FOUND, Answer, Gate, answer_question, finish
from ragtune.types import GREEDY, Chunk, Hit, Message, Passage, Reply, Sampling, Span, Usage

TEXTS = ("The crossing takes **forty** minutes.", "The pier is old.", "The crossing takes forty minutes.")


def make_passage(number: int) -> Passage:
    text = TEXTS[number - 1]
    return Passage(f"p{number}", f"{number}.md", f"Title {number}", "", text, (Span(f"{number}.md", 50, 50 + len(text)),), (f"c{number}",))


PASSAGES = [make_passage(number) for number in (1, 2, 3)]


class Retriever:
    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        return [[Hit(Chunk(str(number), f"{number}.md", 0, 1, "x"), 1.0, number) for number in (1, 2, 3)][:k] for _ in questions]


class Chat:
    name = "scripted"

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = pieces
        self.asked: list[tuple[list[Message], Sequence[Passage] | None, int]] = []

    def stream(
        self,
        messages: Sequence[Message],
        *,
        quotable: Sequence[Passage] | None = None,
        max_tokens: int = 256,
        sampling: Sampling = GREEDY,
    ) -> Iterator[str | Reply]:
        self.asked.append((list(messages), quotable, max_tokens))
        self.sampling = sampling
        yield from self.pieces
        yield Reply("".join(self.pieces), cost=0.25)


def to_passage(chunk: Chunk) -> Passage:
    return PASSAGES[int(chunk.id) - 1]


def test_the_model_sees_the_k_best_passages_in_rank_order_and_its_words_are_streamed():
    chat = Chat(['"The pier', ' is old."\nAnswer:', " old"])
    *pieces, answer = answer_question("How is the pier?", Retriever(), chat, to_passage=to_passage, k=2, max_tokens=17)
    assert pieces == chat.pieces
    assert chat.asked == [(build_messages("How is the pier?", PASSAGES[:2]), PASSAGES[:2], 17)]
    assert isinstance(answer, Answer)
    assert answer.raw == "".join(chat.pieces)
    assert (answer.question, answer.answer, answer.model, answer.abstained) == ("How is the pier?", "old", "scripted", False)
    assert answer.passages == tuple(PASSAGES[:2])
    assert answer.cost == 0.25


def test_quotes_are_free_where_they_are_not_to_be_held_to_the_passages():
    chat = Chat(["Answer: old"])
    list(answer_question("q", Retriever(), chat, to_passage=to_passage, k=2, constrained_quotes=False))
    assert chat.asked[0][1] is None


def test_a_citation_names_the_passage_and_the_place_in_its_document():
    answer = finish("q", '"crossing takes forty minutes"\n"The pier is  old."\nAnswer: forty', PASSAGES, "m")
    first, second = answer.citations
    assert (first.number, first.title, first.quote.document, first.quote.start, first.quote.end) == (1, "Title 1", "1.md", 54, 86)
    assert TEXTS[0][4:36] == "crossing takes **forty** minutes"
    assert (second.number, second.quote.document) == (2, "2.md")
    assert answer.unsupported == ()
    assert answer.markdown.splitlines() == [
        "**forty** [1][2]",
        "",
        "> crossing takes forty minutes",
        "> — [1] 1.md, Title 1",
        "",
        "> The pier is old.",
        "> — [2] 2.md, Title 2",
    ]


def test_a_quote_that_no_passage_holds_is_shown_as_unsupported_and_never_cited():
    answer = finish("q", '"The crossing takes two hours."\nAnswer: two hours', PASSAGES, "m")
    assert answer.citations == ()
    assert answer.unsupported == ("The crossing takes two hours.",)
    assert "~~The crossing takes two hours.~~" in answer.markdown
    assert "[1]" not in answer.markdown


def test_a_passage_that_was_not_shown_supports_nothing():
    answer = finish("q", '"The pier is old."\nAnswer: old', PASSAGES[:1], "m")
    assert answer.unsupported == ("The pier is old.",)


def test_an_abstention_says_so():
    answer = finish("q", "Answer: not in the passages", PASSAGES, "m")
    assert answer.abstained
    assert answer.markdown == "The documents found for this question do not hold the answer."


@pytest.mark.parametrize("raw", ["", "Answer:", "\n\n"])
def test_an_empty_answer_is_not_shown_as_empty_bold(raw):
    answer = finish("q", raw, PASSAGES, "m")
    assert answer.answer == ""
    assert "****" not in answer.markdown
    assert answer.markdown.strip()


def test_where_nothing_is_found_no_model_is_asked():
    chat = Chat([])

    class Nothing:
        def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
            return [[] for _ in questions]

    *_, answer = answer_question("q", Nothing(), chat, to_passage=to_passage, k=3)
    assert isinstance(answer, Answer)
    assert answer.abstained
    assert answer.markdown == NOTHING_FOUND
    assert chat.asked == []


def test_the_sampling_reaches_the_model():
    chat = Chat(["Answer: old"])
    list(answer_question("q", Retriever(), chat, to_passage=to_passage, k=1, sampling=Sampling(0.5, seed=3)))
    assert chat.sampling == Sampling(0.5, seed=3)


def test_an_answer_without_any_quote_says_so() -> None:
    assert "quotes no passage" in finish("q", "Answer: sixty", PASSAGES, "m").markdown
    assert "quotes no passage" not in finish("q", "Answer: not in the passages", PASSAGES, "m").markdown
    assert "quotes no passage" not in finish("q", '"The pier is old."\nAnswer: old', PASSAGES, "m").markdown


def test_an_answer_without_any_quote_cites_the_sentence_with_its_words() -> None:
    answer = finish("How long does it take?", "Answer: forty minutes", PASSAGES, "m")
    (citation,) = answer.citations
    assert (citation.number, citation.quote.text, citation.quote.found) == (1, TEXTS[0], True)
    assert answer.markdown.splitlines()[0] == "**forty minutes** [1]"
    assert "not a quote of the model: found by" in answer.markdown
    assert not finish("How long does it take?", "Answer: not in the passages", PASSAGES, "m").citations


def test_a_quote_that_does_not_hold_the_answer_is_cited_with_the_sentence_that_does() -> None:
    answer = finish("How long does it take?", '"The pier is old."\nAnswer: forty minutes', PASSAGES, "m")
    assert [(each.quote.text, each.quote.found) for each in answer.citations] == [("The pier is old.", False), (TEXTS[0], True)]
    made_up = finish("How long does it take?", '"It is far."\nAnswer: forty minutes', PASSAGES, "m")
    assert made_up.unsupported == ("It is far.",)
    assert [each.quote.found for each in made_up.citations] == [True]


class Sure(Chat):
    """Tells how likely its answer was."""

    def stream(self, messages, **options):
        *pieces, reply = super().stream(messages, **options)
        yield from pieces
        yield replace(reply, usage=Usage(10, 4), abstain_logodds=-2.0, logprob=-1.0)


def gated(chat: Chat, least: float | None) -> list[str | Answer]:
    gate = Gate(Confidence((4.0, 0.0, 0.0), -2.0), least)
    return list(answer_question("How old is the pier?", Retriever(), chat, to_passage=to_passage, k=2, gate=gate))


def test_an_answer_says_how_sure_it_is():
    *pieces, answer = gated(Sure(["Answer: old"]), None)
    assert pieces == ["Answer: old"]
    assert answer.confidence == pytest.approx(probability(4 * coverage("How old is the pier?", PASSAGES[:2]) - 2))


def test_an_answer_that_is_not_sure_enough_is_withheld_before_a_piece_of_it_is_given():
    (answer,) = gated(Sure(['"The pier is old."\nAnswer: old']), 5.0)
    assert (answer.answer, answer.abstained, answer.citations, answer.markdown) == ("", True, (), NOT_SURE)
    assert answer.raw.endswith("old")
    (given,) = gated(Sure(["Answer: old"]), -5.0)
    assert (given.answer, given.abstained) == ("old", False)


def test_a_model_that_does_not_tell_is_not_withheld():
    (answer,) = gated(Chat(["Answer: old"]), 5.0)
    assert (answer.answer, answer.confidence) == ("old", None)
