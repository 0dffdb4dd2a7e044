"""The app: routers, errors, what guards them, and the page."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi
from fastapi.responses import PlainTextResponse

from ragtune import __version__
from ragtune.access import AccessStore
from ragtune.config import Settings
from ragtune.pipeline.traces import open_traces
from ragtune.project import Project
from ragtune.serve import errors
from ragtune.serve.answering import Answering
from ragtune.serve.api import ask, catalog, documents, jobs, monitor, promote, review, search, status, traces
from ragtune.serve.checks import Checks
from ragtune.serve.guard import Guard, check_query
from ragtune.serve.jobs import Jobs
from ragtune.serve.metrics import Metrics
from ragtune.serve.openai import chat, embeddings, models
from ragtune.serve.state import State
from ragtune.serve.streams import Places
from ragtune.serve.telemetry import open_telemetry
from ragtune.serve.uploads import sweep
from ragtune.traces.records import TraceRecord
from ragtune.traces.store import TraceStore

logger = logging.getLogger("ragtune.serve")

ROUTERS: tuple[APIRouter, ...] = (
    *(chat.router, embeddings.router, models.router),
    *(ask.router, search.router, status.router),
    *(documents.router, jobs.router, catalog.router),
    *(traces.router, review.router, monitor.router, promote.router),
)
WEB = Path(__file__).with_name("web")
"""The built page."""
FORGET_SECONDS = 600.0
"""Between two looks for traces that are too old."""
NO_PAGE = "The web page is not in this build of ragtune; its API is here, as /openapi.json describes it.\n"


def create_app(project: Project, model: str | None = None) -> FastAPI:
    """The app over a project.

    Args:
        project: that is served.
        model: what ``ragtune`` names; ``None`` takes the promoted model, else the newest tuned, else the base.
    """
    state = open_state(project, model)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        forgetting = asyncio.create_task(_forget(state.traces))
        yield
        forgetting.cancel()
        close_state(state)

    # Its own pages for the OpenAPI document would load scripts from elsewhere.
    app = FastAPI(
        title="ragtune",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        dependencies=[Depends(check_query)],
        generate_unique_id_function=lambda route: route.name,  # what generated clients call their functions
    )
    app.state.ragtune = state
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    serve = project.settings.serve
    app.add_middleware(Guard, serve=serve)
    if serve.origins:  # around the guard, so that pages can read its errors as well
        app.add_middleware(
            CORSMiddleware,
            allow_origins=serve.origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "X-Request-Id"],
        )
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    if (WEB / "index.html").is_file():
        app.frontend("/", directory=WEB, fallback="index.html")
    else:
        app.add_api_route("/", _no_page, include_in_schema=False)
    return app


def open_state(project: Project, model: str | None = None) -> State:
    """What the requests to a project's server share."""
    settings = _asking(project.settings)
    serve, traces = settings.serve, open_traces(project.workspace, settings)
    monitor = Metrics()

    checks, telemetry = Checks(project.workspace, settings, traces), open_telemetry()

    def record(trace: TraceRecord) -> str | None:
        monitor.observe(trace)
        id_ = None
        try:
            id_ = traces.record(trace)
        except sqlite3.Error:  # the answer goes out all the same
            logger.exception("a question leaves no trace: %s is full or locked", project.workspace.traces)
        else:
            checks.offer(id_)
        if telemetry is not None:
            telemetry.record(traces.kept(trace), id_)
        return id_

    answering = Answering(project.workspace, settings, model, record)
    monitor.watch_queue(lambda: answering.models.load)
    sweep(project.workspace.uploads)
    return State(
        project=project,
        access=AccessStore(project.workspace.keys),
        answering=answering,
        places=Places(serve.rows, serve.waiting),
        traces=traces,
        monitor=monitor,
        jobs=Jobs(project.workspace),
        checks=checks,
        telemetry=telemetry,
    )


def _asking(settings: Settings) -> Settings:
    """Settings for whoever asks a hosted model: where traces keep no texts, or blank some, its replies are not kept elsewhere either."""
    if settings.traces.keep and not settings.traces.redact:
        return settings
    return settings.model_copy(update={"chat": settings.chat.model_copy(update={"cache": False})})


def close_state(state: State) -> None:
    """Let go of files and threads."""
    state.jobs.close()
    state.places.close()
    state.answering.models.close()
    state.answering.retriever.close()
    state.access.close()
    state.checks.close()
    if state.telemetry is not None:
        state.telemetry.close()


async def _forget(traces: TraceStore) -> None:
    """Whatever grows too old goes, while nobody asks anything too."""
    while True:
        try:
            await run_sync(traces.tidy)
        except sqlite3.Error:
            logger.exception("traces that are too old are still there: %s is full or locked", traces.path)
        await asyncio.sleep(FORGET_SECONDS)


async def _no_page() -> PlainTextResponse:
    return PlainTextResponse(NO_PAGE)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The document without the status that FastAPI gives invalid requests: here they are 400, as OpenAI's clients know it."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes, summary="Cited answers from documents.")
        for path in made["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            made["components"]["schemas"].pop(name, None)
        app.openapi_schema = made
    return app.openapi_schema
