"""``/api/ask``: a question with all that comes of it, as server-sent events."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from ragtune.serve.answering import Answered, Retrieved
from ragtune.serve.answering import Request as Question
from ragtune.serve.errors import documented, error_body, to_http
from ragtune.serve.records import PieceBody, RetrievedBody, Turn
from ragtune.serve.state import Caller, State, get_state, require
from ragtune.serve.streams import EventStream, event
from ragtune.types import Message, Where

router = APIRouter(tags=["ragtune"])


class AskBody(BaseModel):
    """A question."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: str = Field(min_length=1, max_length=20_000, pattern=r"\S")
    model: str | None = Field(None, min_length=1, max_length=300, description="As in /v1/models; null: ragtune.")
    k: int | None = Field(None, ge=1, le=50)
    history: list[Turn] = Field(default_factory=list, max_length=200)
    source: str | None = Field(None, max_length=1000)
    media_type: str | None = Field(None, max_length=200)
    conversation: str | None = Field(None, max_length=200)


_EVENT = {
    "type": "object",
    "properties": {
        "event": {"enum": ["retrieved", "piece", "answer", "error"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "By event: passages and seconds, text, Answer, error.",
        },
    },
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events: `retrieved` once, `piece` as the model writes, then `answer`, or `error`.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    }
}


@router.post(
    "/api/ask",
    response_class=StreamingResponse,
    responses={**_EVENTS, **documented(404, 409, 429, 502, 503, 504)},
    summary="Ask, with passages and citations",
)
async def ask(
    body: AskBody,
    state: Annotated[State, Depends(get_state)],
    caller: Annotated[Caller, Depends(require("ask", counted=True))],
) -> EventStream:
    """The passages found, what the model writes as it writes it, then the answer with its checked citations."""
    where = Where(caller.access, body.source, body.media_type)
    asked = Question(
        body.question,
        [Message(turn.role, turn.content) for turn in body.history],
        body.model,
        body.k,
        where if where != Where() else None,
        key=caller.name,
        conversation=body.conversation,
        any_hosted="write" in caller.scopes,
        spend=partial(state.limits.spend, caller.name, tokens_per_minute=caller.tokens_per_minute),
        reserve=partial(state.limits.reserve, caller.name, tokens_per_minute=caller.tokens_per_minute),
    )
    return EventStream(_events(state, asked), lambda error: event(error_body(to_http(error)), "error"), state.places)


def _events(state: State, asked: Question) -> Generator[bytes]:
    with closing(state.answering.stream(asked)) as pieces:
        for piece in pieces:
            if isinstance(piece, Retrieved):
                yield event(RetrievedBody(passages=piece.bodies, seconds=piece.seconds).model_dump(mode="json"), "retrieved")
            elif isinstance(piece, Answered):
                yield event(piece.body.model_dump(mode="json"), "answer")
            else:
                yield event(PieceBody(text=piece).model_dump(), "piece")
