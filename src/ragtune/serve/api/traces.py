"""``/api/traces``: what was asked and answered, and what the asker thinks of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from ragtune.errors import ProjectError
from ragtune.serve.api.shown import whose
from ragtune.serve.errors import ApiError, documented
from ragtune.serve.records import Body, CitationBody, PassageBody, SecondsBody, UsageBody
from ragtune.serve.state import Caller, State, get_state, require
from ragtune.traces.records import Asker, Trace

router = APIRouter(tags=["traces"])
RatingValue = Literal["up", "down"]


class TraceSummary(Body):
    """A question and its answer in a line."""

    id: str
    at: str = Field(description="When it was asked, UTC.")
    question: str = Field(description="Empty where traces.keep is off.")
    answer: str
    model: str
    abstained: bool
    withheld: bool
    confidence: float | None
    groundedness: float | None = Field(description="How far the answer rests on what it quotes, or a judge's faithfulness.")
    rating: RatingValue | None
    seconds: float
    tokens: int
    key: str = Field(description="Name of the key that asked.")
    error: str | None


class TracesBody(Body):
    """Some traces, the newest first, and how many there are in all."""

    traces: list[TraceSummary]
    total: int


class TurnBody(Body):
    """Something that was said before."""

    role: str
    content: str


class FeedbackBody(Body):
    """What the asker thinks of an answer."""

    rating: RatingValue | None
    reason: str | None
    correction: str | None


class TraceBody(Body):
    """All that is known of a question and its answer."""

    id: str
    at: str
    question: str
    history: list[TurnBody]
    answer: str
    markdown: str
    raw: str = Field(description="What the model wrote.")
    model: str
    abstained: bool
    withheld: bool
    confidence: float | None
    groundedness: float | None
    grounded_by: Literal["quotes", "judge"] | None
    citations: list[CitationBody]
    unsupported: list[str]
    passages: list[PassageBody]
    scores: list[float] = Field(description="Of the passages, as they were found.")
    usage: UsageBody
    tokens: int
    cost: float | None
    seconds: SecondsBody
    conversation: str | None
    key: str
    error: str | None
    rating: RatingValue | None
    feedback: FeedbackBody


class Feedback(BaseModel):
    """What the asker thinks of an answer; a rating of null takes it back."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rating: RatingValue | None
    reason: str | None = Field(None, max_length=10_000)
    correction: str | None = Field(None, max_length=10_000, description="What the answer should have been.")


@router.get("/api/traces", responses=documented(), summary="What was asked?")
def traces(
    state: Annotated[State, Depends(get_state)],
    caller: Annotated[Caller, Depends(require("ask"))],
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    query: Annotated[str, Query(max_length=1000, description="Stands in the question or the answer.")] = "",
    rating: Annotated[RatingValue | None, Query()] = None,
    model: Annotated[str | None, Query(max_length=300)] = None,
    since: Annotated[str | None, Query(max_length=40, description="ISO 8601.")] = None,
) -> TracesBody:
    """All with the scope `read`, else a key's own."""
    page = state.traces.list(offset=offset, limit=limit, query=query, rating=rating, model=model, since=since, of=whose(state, caller))
    return TracesBody(traces=[TraceSummary(**each.summary()) for each in page.traces], total=page.total)


@router.get("/api/traces/{id}", responses=documented(404), summary="One question and its answer")
def trace(id: str, state: Annotated[State, Depends(get_state)], caller: Annotated[Caller, Depends(require("ask"))]) -> TraceBody:  # noqa: A002 - the path's name for it
    """With its passages, its citations and what the asker thinks of it."""
    return _body(_find(state, id, whose(state, caller)))


@router.post("/api/traces/{id}/feedback", responses=documented(404), summary="Rate an answer")
def feedback(
    id: str,  # noqa: A002
    body: Feedback,
    state: Annotated[State, Depends(get_state)],
    caller: Annotated[Caller, Depends(require("ask"))],
) -> TraceBody:
    """A key's own; any with the scope `write`. A thumbs down is queued for review."""
    _find(state, id, whose(state, caller, "write"))
    state.traces.rate(id, body.rating, reason=body.reason, correction=body.correction)
    state.monitor.rated(body.rating)
    return _body(_find(state, id, None))


@router.delete("/api/traces/{id}", status_code=204, responses=documented(404), summary="Forget a question and its answer")
def delete(id: str, state: Annotated[State, Depends(get_state)], caller: Annotated[Caller, Depends(require("ask"))]) -> None:  # noqa: A002
    """A key's own; any with the scope `write`. It leaves the review queue as well; a decision on it stays, without its text."""
    _find(state, id, whose(state, caller, "write"))
    state.traces.delete(id)


def _find(state: State, id_: str, of: Asker | None) -> Trace:
    try:
        found: Trace = state.traces.find(id_, of=of)
    except ProjectError as error:
        raise ApiError(404, str(error), code="not_found", param="id") from None
    return found


def _body(found: Trace) -> TraceBody:
    values: dict[str, Any] = found.whole()
    return TraceBody.model_validate(values)
