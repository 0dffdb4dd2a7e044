"""``/api/review``: questions whose answers a person should look at, and what is made of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from ragtune.errors import ProjectError
from ragtune.serve.api.shown import need_all_documents
from ragtune.serve.api.traces import TurnBody
from ragtune.serve.errors import ApiError, documented
from ragtune.serve.records import Body, PassageBody
from ragtune.serve.state import Caller, State, get_state, require
from ragtune.traces import queue
from ragtune.traces.records import ReviewItem

router = APIRouter(tags=["review"])
StateName = Literal["open", "accepted", "dismissed"]


class ItemBody(Body):
    """A question that a person should look at."""

    id: str
    trace: str
    question: str
    history: list[TurnBody]
    answer: str
    why: list[Literal["thumbs down", "low groundedness", "unanswered", "low confidence"]]
    reason: str | None = Field(description="What the asker said of the answer.")
    correction: str | None = Field(description="What the asker would have it be.")
    passages: list[PassageBody]
    state: StateName
    at: str = Field(description="When it was last asked, UTC.")
    times: int = Field(description="How often it was asked since it is here.")
    decided: str | None
    by: str | None
    note: str


class ReviewBody(Body):
    """Some of the queue, what was asked last first."""

    items: list[ItemBody]
    total: int = Field(description="In this state.")
    open: int


class EvidenceMark(BaseModel):
    """Where an answer stands: offsets in code points of the document's text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    document: str = Field(min_length=1, max_length=4000)
    start: int = Field(ge=0, le=2**53)
    end: int = Field(ge=1, le=2**53)


class DecisionBody(BaseModel):
    """Accept a question with its answers and evidence, or dismiss it. To accept without answers: the documents do not answer it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    decision: Literal["accept", "dismiss"]
    answers: list[Annotated[str, Field(max_length=10_000)]] = Field(default_factory=list, max_length=20)
    evidence: list[EvidenceMark] = Field(default_factory=list, max_length=50)
    question: str | None = Field(None, max_length=20_000, description="In other words, where it should not be kept as it was asked.")
    note: str = Field("", max_length=10_000)


class DecidedBody(Body):
    """What a decision did."""

    item: ItemBody
    question: str | None = Field(description="Id of the question that was made of it.")
    file: str | None = Field(description="That it was written to.")
    warnings: list[str]


@router.get("/api/review", responses=documented(), summary="What should a person look at?")
def review(
    state: Annotated[State, Depends(get_state)],
    caller: Annotated[Caller, Depends(require("read"))],
    of: Annotated[StateName, Query(alias="state")] = "open",
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ReviewBody:
    """Each question once, with why it is here."""
    need_all_documents(caller)
    page = queue.items(state.traces, of, offset=offset, limit=limit)
    return ReviewBody(items=[_body(item) for item in page.items], total=page.total, open=page.open)


@router.post("/api/review/{id}", responses=documented(404, 409), summary="Decide on a question")
def decide(
    id: str,  # noqa: A002 - the path's name for it
    body: DecisionBody,
    state: Annotated[State, Depends(get_state)],
    caller: Annotated[Caller, Depends(require("write"))],
) -> DecidedBody:
    """What is accepted is a line of questions/reviewed.jsonl, which the next training learns and no test asks."""
    need_all_documents(caller)
    try:
        item = queue.find(state.traces, id)
    except ProjectError as error:
        raise ApiError(404, str(error), code="not_found", param="id") from None
    if item.state != "open":
        raise ApiError(409, f"{id} was {item.state} on {(item.decided or '')[:10]}", code="decided")
    marked = [mark.model_dump() for mark in body.evidence]
    done = state.project.decide(id, body.decision, body.answers, marked, question=body.question, note=body.note, by=caller.name)
    return DecidedBody(item=_body(done.item), question=done.question, file=done.file, warnings=list(done.warnings))


def _body(item: ReviewItem) -> ItemBody:
    return ItemBody.model_validate(asdict(item))
