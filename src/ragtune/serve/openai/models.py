"""``/v1/models``: what can be asked by name."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi import Path as InPath

from ragtune.errors import NoSuchModelError
from ragtune.serve.errors import documented
from ragtune.serve.openai.schemas import ModelItem, Models
from ragtune.serve.state import Caller, State, get_state, require

router = APIRouter(prefix="/v1/models", tags=["OpenAI"])
Known = Annotated[State, Depends(get_state)]
Asking = Annotated[Caller, Depends(require("ask"))]


@router.get("", responses=documented(), summary="List models")
def models(state: Known, caller: Asking) -> Models:  # noqa: ARG001 - only its scope matters
    """The project's models: `ragtune` is the one that is served by default."""
    return Models(data=_items(state))


@router.get("/{model:path}", responses=documented(404), summary="Look a model up")
def model(
    model: Annotated[str, InPath(max_length=300)],
    state: Known,
    caller: Asking,  # noqa: ARG001
) -> ModelItem:
    """One model of the list."""
    for item in _items(state):
        if item.id == model:
            return item
    raise NoSuchModelError(f"there is no model {model} here: GET /v1/models lists those that there are")


def _items(state: State) -> list[ModelItem]:
    return [
        ModelItem(id=name, created=created, owned_by=name.partition(":")[0] if ":" in name else "ragtune")
        for name, created in state.answering.models.names()
    ]
