"""Jobs over HTTP: ask for one, watch it, stop it, resume it; and the presets that a page offers."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Literal

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, HTTPException
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field

from ragtune.errors import JobError
from ragtune.serve.api.shared import errors_as_json, whole
from ragtune.serve.errors import documented
from ragtune.serve.jobs import Job
from ragtune.serve.jobs.presets import PRESETS, Preset
from ragtune.serve.jobs.records import FINISHED
from ragtune.serve.state import Caller, State, asked_by, get_state, require

_POLL_S = 0.3
_CHECK_S = 1.0
"""How often whoever watches a job is asked for a key that is still good: a job can take hours."""
router = APIRouter(tags=["jobs"])
Serving = Annotated[State, Depends(get_state)]


class JobRequest(BaseModel):
    """What is to be done."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["ingest", "dataset", "synthesise", "train", "evaluate", "run"]
    arguments: dict[str, Any] = Field({}, description="As docs/jobs.md lists them by kind.")
    settings: dict[str, Any] = Field({}, description="Settings for this job alone, by dotted name.", examples=[{"train.epochs": 2}])


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[Job]


class PresetList(BaseModel):
    """Jobs to choose from."""

    presets: list[Preset]


def reader(caller: Annotated[Caller, Depends(require("read"))]) -> Caller:
    """A caller who may look at jobs."""
    return whole(caller)


def writer(caller: Annotated[Caller, Depends(require("write"))]) -> Caller:
    """A caller who may ask for them."""
    return whole(caller)


def job_of(id: str, state: Serving) -> Job:  # noqa: A002 - the name in the path
    """The job that a path names."""
    job = state.jobs.find(id)
    if job is None:
        raise HTTPException(404, f"there is no job {id!r}: it was removed, or is beyond those that are kept")
    return job


Named = Annotated[Job, Depends(job_of)]


@router.post("/api/jobs", responses=documented(409))
def create_job(wanted: JobRequest, state: Serving, caller: Annotated[Caller, Depends(writer)]) -> Job:
    """Ask for a job. It starts when those before it have ended; what is wrong with it is said at once."""
    if wanted.arguments.get("yes") and "admin" not in caller.scopes:
        raise HTTPException(403, '"yes" spends money, which asks for a key of the scope admin')
    with _conflicts():
        return state.jobs.create(wanted.kind, wanted.arguments, wanted.settings)


@router.get("/api/jobs", responses=documented(), dependencies=[Depends(reader)])
def list_jobs(state: Serving) -> JobList:
    """Jobs that are kept, the newest first."""
    return JobList(jobs=state.jobs.all())


@router.get("/api/jobs/{id}", responses=documented(404), dependencies=[Depends(reader)])
def show_job(job: Named) -> Job:
    """One job as it stands."""
    return job


@router.get("/api/jobs/{id}/events", response_class=EventSourceResponse, responses=errors_as_json(404), dependencies=[Depends(reader)])
async def watch_job(
    job: Named,
    state: Serving,
    who: Annotated[Callable[[], Caller], Depends(asked_by)],
    last_event_id: Annotated[str | None, Header(description="Goes on after this event.")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """What a job told and tells, until it has ended. Of earlier progress only the last is sent."""
    place = int(last_event_id) if last_event_id and re.fullmatch(r"\d{1,15}", last_event_id) else 0
    checked = time.monotonic()
    while not state.draining:
        if time.monotonic() - checked > _CHECK_S:
            checked = time.monotonic()
            if not await run_sync(_may_read, who):
                return
        now = await run_sync(state.jobs.find, job.id)
        found, place = await run_sync(state.jobs.events, job.id, place)
        for number, event in found:
            yield ServerSentEvent(data=event, event=str(event.get("type", "note")), id=str(number))
        if now is None or (now.state in FINISHED and not found):
            return
        await anyio.sleep(0 if found else _POLL_S)


@router.post("/api/jobs/{id}/stop", responses=documented(404, 409), dependencies=[Depends(writer)])
def stop_job(job: Named, state: Serving) -> Job:
    """Stop a job; what it did stays. It ends when what it is at lets it, after ten seconds in any case."""
    with _conflicts():
        return state.jobs.stop(job.id)


@router.post("/api/jobs/{id}/resume", responses=documented(404, 409))
def resume_job(job: Named, state: Serving, caller: Annotated[Caller, Depends(writer)]) -> Job:
    """Do a job again that failed or was stopped: it goes on where it was."""
    if job.arguments.get("yes") and "admin" not in caller.scopes:
        raise HTTPException(403, "this job spends money, which asks for a key of the scope admin")
    with _conflicts():
        return state.jobs.resume(job.id)


@router.delete("/api/jobs/{id}", status_code=204, responses=documented(404, 409), dependencies=[Depends(writer)])
def remove_job(job: Named, state: Serving) -> None:
    """Forget a job that has ended; what it made stays."""
    with _conflicts():
        state.jobs.remove(job.id)


@router.get("/api/presets", responses=documented(), dependencies=[Depends(reader)])
def list_presets() -> PresetList:
    """Jobs to choose from, from a quick look to a thorough one."""
    return PresetList(presets=list(PRESETS))


def _may_read(who: Callable[[], Caller]) -> bool:
    try:
        return "read" in whole(who()).scopes
    except HTTPException:
        return False


@contextlib.contextmanager
def _conflicts() -> Iterator[None]:
    """Turn what a job's state does not allow into 409."""
    try:
        yield
    except JobError as error:
        raise HTTPException(409, str(error)) from None
