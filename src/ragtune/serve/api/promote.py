"""``/api/models/{name}/promote``, ``/api/rollback`` and ``/api/audit``: which model serves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from ragtune.errors import LockedError, ProjectError
from ragtune.pipeline.promote import check_name
from ragtune.pipeline.records import Promotion
from ragtune.serve.errors import ApiError, documented
from ragtune.serve.records import Body
from ragtune.serve.state import Caller, State, get_state, require

router = APIRouter(tags=["models"])


class Note(BaseModel):
    """Why, for whoever looks later."""

    model_config = ConfigDict(extra="forbid", strict=True)

    note: str = Field("", max_length=10_000)


class Asked(Note):
    """What a model is held to."""

    against: str | None = Field(None, max_length=1000, description="An evaluation, or a model, that the model's newest is compared with.")
    fail_if: list[Annotated[str, Field(max_length=200)]] = Field(
        default=[], max_length=20, description="Conditions on the difference, as `retrieved.f1 < -0.02`: where one holds, nothing changes."
    )


class ServedBody(Body):
    """What serves now, and what did before."""

    served: str
    previous: str
    refused: list[str] = Field(description="Conditions that hold and must not, so that nothing was changed.")
    warnings: list[str]


class AuditBody(Body):
    """A line of the log."""

    at: str
    who: str
    action: Literal["promote", "rollback", "refused"]
    model: str
    previous: str
    note: str
    gate: dict[str, Any] | None = Field(description="What the model was compared with, and which conditions were found.")


class AuditsBody(Body):
    """The log, the newest first."""

    entries: list[AuditBody]


@router.post("/api/models/{name:path}/promote", responses=documented(404, 409), summary="Let a model serve")
def promote(
    name: str,
    state: Annotated[State, Depends(get_state)],
    caller: Annotated[Caller, Depends(require("admin"))],
    body: Asked | None = None,
) -> ServedBody:
    """For whoever names none, from the next question on; `against` compares what was evaluated before, and evaluates nothing."""
    asked = body or Asked()
    try:
        check_name(state.project.workspace, name)
    except ProjectError as error:
        raise ApiError(404, str(error), code="model_not_found", param="name") from None
    done = state.project.promote(name, note=asked.note, against=asked.against, fail_if=asked.fail_if, by=caller.name, evaluate=False)
    return _served(done)


@router.post("/api/rollback", responses=documented(409), summary="Take the last promotion back")
def rollback(
    state: Annotated[State, Depends(get_state)],
    caller: Annotated[Caller, Depends(require("admin"))],
    body: Note | None = None,
) -> ServedBody:
    """The model serves again that served before it."""
    try:
        done = state.project.rollback(note=body.note if body else "", by=caller.name)
    except LockedError:
        raise
    except ProjectError as error:
        raise ApiError(409, str(error), code="nothing_to_take_back") from None
    return _served(done)


def _served(done: Promotion) -> ServedBody:
    return ServedBody(served=done.served, previous=done.previous, refused=list(done.refused), warnings=list(done.warnings))


@router.get("/api/audit", responses=documented(), summary="Who promoted which model?")
def audit(state: Annotated[State, Depends(get_state)], caller: Annotated[Caller, Depends(require("admin"))]) -> AuditsBody:  # noqa: ARG001 - who asks need only be allowed to
    """Promotions, their withdrawals, and those that a gate refused."""
    return AuditsBody(entries=[AuditBody(**asdict(each)) for each in reversed(state.project.audit())])
