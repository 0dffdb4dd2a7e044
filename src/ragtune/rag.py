"""Retrieve, prompt, answer, check the citations: what ``ask`` and the server do for one question."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ragtune.confidence import Gate, answer_signals, probability
from ragtune.conversation import search_text
from ragtune.prompts import build_messages, parse_answer
from ragtune.protocols import ChatModel, Retriever
from ragtune.support import cited_by
from ragtune.types import GREEDY, Chunk, Message, Passage, Quote, Reply, Sampling

NOTHING_FOUND = "Nothing was found in the documents that answers this question."
UNQUOTED = "> — the model quotes no passage for this: check it against the sources"
FOUND = " (not a quote of the model: found by the words of its answer)"
NOT_SURE = "The documents found for this question do not seem to hold the answer, so none is given."


@dataclass(frozen=True, slots=True)
class Citation:
    """A checked quotation, or the sentence found for an answer without one, with the number of the passage it stands in."""

    number: int
    quote: Quote
    title: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer.

    Args:
        question: as asked.
        answer: the final answer alone.
        markdown: the answer with numbered citations, to be shown.
        abstained: the model says that the passages do not hold the answer.
        citations: quotes found word for word in a passage shown; of an answer without quotes the sentence that holds its words.
        unsupported: quotes found in none.
        passages: what the model was shown, in order.
        model: who answered.
        raw: what the model wrote.
        cost: US dollars; ``None`` where no price is known.
        confidence: probability that the passages shown hold the answer; ``None`` where nothing was calibrated.
    """

    question: str
    answer: str
    markdown: str
    abstained: bool
    citations: tuple[Citation, ...]
    unsupported: tuple[str, ...]
    passages: tuple[Passage, ...]
    model: str
    raw: str
    cost: float | None = None
    confidence: float | None = None


def answer_question(
    question: str,
    retriever: Retriever,
    chat: ChatModel,
    *,
    to_passage: Callable[[Chunk], Passage],
    k: int,
    max_tokens: int = 96,
    constrained_quotes: bool = True,
    least_score: float | None = None,
    gate: Gate | None = None,
    history: Sequence[Message] = (),
    sampling: Sampling = GREEDY,
) -> Iterator[str | Answer]:
    """Answer a question from what the retriever finds.

    Where there is no hit, or none reaches ``least_score``, nothing counts as found, and no model is asked. Where a gate may withhold
    the answer, none of its pieces is given before it is whole. ``history`` is what was said before: it is searched with and shown to
    the model. ``sampling`` is how the model chooses its words.

    Yields:
        Pieces of what the model writes, then one :class:`Answer`.
    """
    hits = retriever.retrieve([search_text(question, history)], k)[0]
    passages = [to_passage(hit.chunk) for hit in hits]
    if (not hits and sampling.schema is None) or (least_score is not None and all(hit.score < least_score for hit in hits)):
        yield Answer(question, "", NOTHING_FOUND, True, (), (), tuple(passages), chat.name, "", 0.0)
        return
    pieces: list[str] = []
    quotable = passages if constrained_quotes else None
    held_back = gate is not None and gate.least is not None
    reply = Reply("")
    messages = build_messages(question, passages, history=history)
    for piece in chat.stream(messages, quotable=quotable, max_tokens=max_tokens, sampling=sampling):
        if isinstance(piece, Reply):
            reply = piece
        else:
            pieces.append(piece)
            if not held_back:
                yield piece
    answer = finish(question, "".join(pieces), passages, chat.name, reply.cost, history)
    yield answer if gate is None else _pass(gate, search_text(question, history), answer, reply)


def _pass(gate: Gate, searched: str, answer: Answer, reply: Reply) -> Answer:
    """The answer with its confidence, or an abstention where that is too low."""
    signals = answer_signals(searched, answer.passages, reply)
    if signals is None:
        return answer
    logodds = gate.confidence.logodds(signals)
    answer = replace(answer, confidence=probability(logodds))
    if answer.abstained or not gate.withholds(logodds):
        return answer
    return replace(answer, answer="", markdown=NOT_SURE, abstained=True, citations=(), unsupported=())


def finish(
    question: str, raw: str, passages: Sequence[Passage], model: str, cost: float | None = None, history: Sequence[Message] = ()
) -> Answer:
    """Take what a model wrote apart and check every quote against the passages it was shown."""
    parsed = parse_answer(raw)
    numbers = {passage.id: number for number, passage in enumerate(passages, start=1)}
    citations, unsupported = [], []
    for quote in cited_by(search_text(question, history), parsed.answer, parsed, passages):
        if quote.valid and quote.passage is not None:
            number = numbers[quote.passage]
            citations.append(Citation(number, quote, passages[number - 1].title))
        else:
            unsupported.append(quote.text)
    return Answer(
        question=question,
        answer=parsed.answer,
        markdown=_markdown(parsed.answer, parsed.abstained, citations, unsupported),
        abstained=parsed.abstained,
        citations=tuple(citations),
        unsupported=tuple(unsupported),
        passages=tuple(passages),
        model=model,
        raw=raw,
        cost=cost,
    )


def _markdown(answer: str, abstained: bool, citations: Sequence[Citation], unsupported: Sequence[str]) -> str:
    if abstained:
        return "The documents found for this question do not hold the answer."
    marks = "".join(f"[{number}]" for number in sorted({citation.number for citation in citations}))
    lines = [f"**{answer}** {marks}".rstrip() if answer else "The model gave no answer."]
    for citation in citations:
        lines += ["", show_citation(citation)]
    for text in unsupported:
        lines += ["", f"> ~~{' '.join(text.split())}~~", "> — not found word for word in any passage shown"]
    if answer and not citations and not unsupported:
        lines += ["", UNQUOTED]
    return "\n".join(lines)


def show_citation(citation: Citation) -> str:
    """A citation as Markdown."""
    where = f"{citation.quote.document}" + (f", {citation.title}" if citation.title else "")
    return f"> {' '.join(citation.quote.text.split())}\n> — [{citation.number}] {where}" + (FOUND if citation.quote.found else "")
