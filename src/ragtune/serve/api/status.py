"""How the server stands: alive, ready, and what it serves."""

from __future__ import annotations

import contextlib
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import Field

from ragtune import __version__, build
from ragtune.access import SCOPES, Scope
from ragtune.errors import CorpusError, RagtuneError
from ragtune.serve.errors import ApiError, documented
from ragtune.serve.records import Body
from ragtune.serve.state import Caller, State, get_state, require

router = APIRouter(tags=["server"])
Known = Annotated[State, Depends(get_state)]


class Health(Body):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Queue(Body):
    """Answers on their way."""

    rows: int
    running: int
    waiting: int
    capacity: int


class CallerBody(Body):
    """Who asks."""

    name: str
    scopes: list[Scope]
    access: list[str] | None


class Status(Body):
    """What is served, and how."""

    version: str
    project: str
    model: str | None
    base: str
    documents: int = Field(description="That the key may find.")
    chunks: int | None = Field(description="In all; null for a key with access tags.")
    generation: int
    queue: Queue
    warnings: list[str]
    caller: CallerBody
    keys_required: bool
    tracing: bool


@router.get("/health", summary="Is it alive?")
async def health() -> Health:
    """Always ok, while the process runs."""
    return Health()


@router.get("/ready", responses={503: documented(503)[503]}, summary="Does it take questions?")
async def ready(state: Known) -> Health:
    """503 while the server stops."""
    if state.draining:
        raise ApiError(503, "the server is stopping", code="draining", retry_after=5)
    return Health()


@router.get("/api/status", responses=documented(), summary="What is served?")
def status(state: Known, caller: Annotated[Caller, Depends(require("ask"))]) -> Status:
    """The served model, the index, the queue, and warnings: what is served otherwise than evaluated, or falls short of the settings."""
    settings, models = state.project.settings, state.answering.models
    name, warnings = None, []
    try:
        served = models.find()
        name, warnings = served.name, list(served.warnings)
    except RagtuneError as error:
        warnings.append(str(error))
    documents, chunks, generation = 0, 0, 0
    try:
        with contextlib.closing(build.open_corpus(state.project.workspace)) as corpus:
            counts, generation = corpus.stats(), corpus.generation
            documents = counts.documents if caller.access is None else corpus.listed(limit=1, access=caller.access)[1]
            chunks = counts.chunks
    except CorpusError as error:
        warnings.append(str(error))
    running, waiting = models.load
    return Status(
        version=__version__,
        project=state.project.path.name,
        model=name,
        base=settings.model.base,
        documents=documents,
        chunks=chunks if caller.access is None else None,
        generation=generation,
        queue=Queue(rows=settings.serve.rows, running=running, waiting=waiting, capacity=settings.serve.rows + settings.serve.waiting),
        warnings=warnings,
        caller=CallerBody(
            name=caller.name,
            scopes=[scope for scope in SCOPES if scope in caller.scopes],
            access=None if caller.access is None else list(caller.access),
        ),
        keys_required=state.keys_required,
        tracing=settings.traces.keep,
    )
