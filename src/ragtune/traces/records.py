"""What a trace is: one question that was asked, what was found and answered, what it took, and what people made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ragtune.types import JSON, Message, Usage

Rating = Literal["up", "down"]
Why = Literal["thumbs down", "low groundedness", "unanswered", "low confidence"]
ItemState = Literal["open", "accepted", "dismissed"]
GroundedBy = Literal["quotes", "judge"]
Fields = Mapping[str, JSON]
LEFT = "the client left"
"""Of an answer that nobody waited for."""


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """One question as it was answered, to be kept.

    Args:
        at: when it was asked, UTC, ISO 8601.
        model: who answered.
        question: as asked.
        key: name of the API key that asked; empty where none is needed.
        history: what was said before.
        answer: the final answer alone.
        markdown: as it was shown.
        raw: what the model wrote.
        abstained: the model gave no answer; ``withheld``: it was not sure enough for one.
        withheld: see ``abstained``.
        confidence: probability that the passages hold the answer, where that is known.
        citations: checked quotes, each with ``number``, ``quote``, ``document``, ``title``, ``start``, ``end``, ``page``; ``found`` of
            one that the model did not write.
        unsupported: quotes that stand in no passage.
        passages: what the model was shown, each with ``number``, ``document``, ``title``, ``headings``, ``text``, ``start``, ``end``,
            ``page``, ``score``.
        scores: of the passages, as they were found, the best first.
        usage: tokens.
        cost: US dollars; ``None`` where no price is known.
        seconds_retrieval: to find the passages.
        seconds_first_token: from the question to the first word; ``None`` where none came.
        seconds_total: from the question to the end of the answer.
        error: what went wrong, where there is no answer; :data:`LEFT` where nobody waited for it.
        conversation: an id that questions of one conversation share.
        review: whether a person should look at it where the answer is not sure of itself; nobody need where an answer was not to be
            expected.
    """

    at: str
    model: str
    question: str
    key: str = ""
    history: tuple[Message, ...] = ()
    answer: str = ""
    markdown: str = ""
    raw: str = ""
    abstained: bool = False
    withheld: bool = False
    confidence: float | None = None
    citations: tuple[Fields, ...] = ()
    unsupported: tuple[str, ...] = ()
    passages: tuple[Fields, ...] = ()
    scores: tuple[float, ...] = ()
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    seconds_retrieval: float = 0.0
    seconds_first_token: float | None = None
    seconds_total: float = 0.0
    error: str | None = None
    conversation: str | None = None
    review: bool = True


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose traces: those of an API key, which are not those of an earlier key of its name.

    Args:
        key: its name.
        since: when it was made, UTC, ISO 8601.
    """

    key: str
    since: str


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace as read back, with what came after the answer.

    Args:
        id: of the trace.
        record: as it was kept; without its texts where ``traces.keep`` is off.
        groundedness: how far the answer rests on what was found, in [0, 1]; ``None`` where there is no answer.
        grounded_by: ``quotes`` (see :mod:`ragtune.traces.groundedness`) or ``judge``.
        rating: what the asker thought of it.
        reason: why.
        correction: what the answer should have been.
    """

    id: str
    record: TraceRecord
    groundedness: float | None = None
    grounded_by: GroundedBy | None = None
    rating: Rating | None = None
    reason: str | None = None
    correction: str | None = None

    def summary(self) -> dict[str, Any]:
        """A row of the list of traces."""
        record = self.record
        return {
            "id": self.id,
            "at": record.at,
            "question": record.question,
            "answer": record.answer,
            "model": record.model,
            "abstained": record.abstained,
            "withheld": record.withheld,
            "confidence": record.confidence,
            "groundedness": self.groundedness,
            "rating": self.rating,
            "seconds": record.seconds_total,
            "tokens": record.usage.prompt_tokens + record.usage.completion_tokens,
            "key": record.key,
            "error": record.error,
        }

    def whole(self) -> dict[str, Any]:
        """Everything that is known of it."""
        values = asdict(self.record)
        seconds = {name: values.pop(f"seconds_{name}") for name in ("retrieval", "first_token", "total")}
        return {
            **values,
            **self.summary(),
            "seconds": seconds,
            "grounded_by": self.grounded_by,
            "feedback": {"rating": self.rating, "reason": self.reason, "correction": self.correction},
        }


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """A question that a person should look at.

    Args:
        id: of the item.
        trace: id of the trace that it shows.
        question: as asked.
        history: what was said before it.
        answer: that was given.
        why: the reasons for which it is here.
        reason: what the asker said of the answer.
        correction: what the asker would have it be.
        passages: what the model was shown, see :class:`TraceRecord`.
        state: open, accepted or dismissed.
        at: when it was last asked, UTC.
        times: how often it was asked since it is here.
        decided: when; ``None`` while it is open.
        by: who decided.
        note: what they noted.
    """

    id: str
    trace: str
    question: str
    history: tuple[Message, ...]
    answer: str
    why: tuple[Why, ...]
    reason: str | None
    correction: str | None
    passages: tuple[Fields, ...]
    state: ItemState
    at: str
    times: int = 1
    decided: str | None = None
    by: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour's answers in figures; ``None`` where there is nothing to compute one from. Times in seconds, cost in US dollars.

    Args:
        at: its beginning, UTC.
        answers: questions that were answered, abstentions among them.
        abstained: of which no answer was given.
        errors: questions that ended in an error; they count in no other figure.
        top_score: mean score of the best passage; ``groundedness`` and ``confidence`` are means too.
    """

    at: str
    answers: int = 0
    abstained: int = 0
    errors: int = 0
    seconds_p50: float | None = None
    seconds_p95: float | None = None
    first_token_p50: float | None = None
    tokens: int = 0
    cost: float = 0.0
    up: int = 0
    down: int = 0
    groundedness: float | None = None
    confidence: float | None = None
    top_score: float | None = None


@dataclass(frozen=True, slots=True)
class TracePage:
    """Some of the traces, the newest first, and how many there are in all."""

    traces: tuple[Trace, ...] = ()
    total: int = 0


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """Some of the queue, what was asked last first; how many there are in this state, and how many are open."""

    items: tuple[ReviewItem, ...] = field(default=())
    total: int = 0
    open: int = 0
