"""``/api/monitor`` for people, ``/metrics`` for Prometheus."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import Field

from ragtune.pipeline.traces import monitor as figures
from ragtune.serve.api.shown import need_all_documents
from ragtune.serve.errors import documented
from ragtune.serve.metrics import CONTENT_TYPE
from ragtune.serve.records import Body
from ragtune.serve.state import Caller, State, get_state, require

router = APIRouter(tags=["monitor"])


class FiguresBody(Body):
    """Answers in figures; null where there is nothing to compute one from. Times in seconds, cost in US dollars."""

    answers: int = Field(description="Questions that were answered, abstentions among them.")
    abstained: int
    errors: int = Field(description="Questions that ended in an error; they count in no other figure.")
    seconds_p50: float | None
    seconds_p95: float | None
    first_token_p50: float | None
    tokens: int
    cost: float
    up: int
    down: int
    groundedness: float | None
    confidence: float | None
    top_score: float | None = Field(description="Mean score of the best passage.")


class HourBody(FiguresBody):
    """An hour's."""

    at: str = Field(description="Its beginning, UTC.")


class DriftBody(Body):
    """How far one distribution is from its baseline."""

    psi: float | None = Field(description="Population stability index.")
    ks: float | None = Field(description="Greatest distance of the cumulative distributions.")
    p: float | None = Field(description="Of the two-sample Kolmogorov-Smirnov test.")
    n: int
    baseline: int = Field(description="Questions of the evaluation.")
    verdict: Literal["stable", "some change", "changed", "too few questions", "no baseline"]


class MonitorDrift(Body):
    """Of questions by likeness to the evaluation's and by length, and of the score of the best passage."""

    questions: DriftBody
    lengths: DriftBody
    scores: DriftBody


class MonitorBody(Body):
    """How the server fares."""

    hours: list[HourBody]
    totals: FiguresBody
    drift: MonitorDrift
    review_open: int
    evaluation: str | None = Field(description="That questions and scores are compared with.")


@router.get("/api/monitor", responses=documented(409), summary="How does the server fare?")
def monitor(
    state: Annotated[State, Depends(get_state)],
    caller: Annotated[Caller, Depends(require("read"))],
    days: Annotated[float, Query(gt=0, le=3650)] = 7,
) -> MonitorBody:
    """Figures by hour, and how far questions have moved from the newest evaluation's."""
    need_all_documents(caller)
    project = state.project
    found = figures(project.workspace, project.settings, state.traces, days, state.answering.retriever.compute)
    return MonitorBody.model_validate(asdict(found))


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented()},
    summary="Figures for Prometheus",
)
def metrics(state: Annotated[State, Depends(get_state)], caller: Annotated[Caller, Depends(require("read"))]) -> Response:
    """Counts and times since the server started; they hold no text."""
    need_all_documents(caller)
    return Response(state.monitor.render(), media_type=CONTENT_TYPE)
