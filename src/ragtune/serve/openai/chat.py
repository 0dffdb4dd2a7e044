"""``/v1/chat/completions``: the last user message is the question, earlier ones are what was said before."""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator
from contextlib import closing
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ragtune.serve.answering import Answered, Retrieved
from ragtune.serve.answering import Request as Question
from ragtune.serve.errors import ApiError, documented, error_body, to_http
from ragtune.serve.markdown import MarkdownStream
from ragtune.serve.models import Served
from ragtune.serve.openai.schemas import (
    ChatCompletion,
    ChatRequest,
    Choice,
    CompletionMessage,
    CompletionUsage,
    RagtuneOptions,
    schema_of,
)
from ragtune.serve.state import Caller, State, get_state, require
from ragtune.serve.streams import EventStream, collect, event
from ragtune.types import Message, Sampling, Where

router = APIRouter(tags=["OpenAI"])
_STREAM = {"description": "The completion; with stream, its chunks as server-sent events.", "content": {"text/event-stream": {}}}


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    responses={200: _STREAM, **documented(404, 409, 429, 502, 503, 504)},
    summary="Answer from the documents",
)
async def complete(
    request: Request,
    body: ChatRequest,
    state: Annotated[State, Depends(get_state)],
    caller: Annotated[Caller, Depends(require("ask", counted=True))],
) -> Any:
    """OpenAI's chat completion over the project's documents; the extra field `ragtune` of the answer holds the checked citations."""
    made = _Completion(state, caller, body)
    if body.stream:
        return EventStream(made.events(), lambda error: event(error_body(to_http(error))), state.places)
    pieces = await collect(made.pieces(), request.receive, state.places)
    return Response(made.whole("".join(pieces)).model_dump_json(), media_type="application/json")


class _Completion:
    """One answer in OpenAI's words."""

    def __init__(self, state: State, caller: Caller, body: ChatRequest) -> None:
        self._state = state
        self._caller = caller
        self._body = body
        self._own = body.ragtune or RagtuneOptions()
        self._schema = schema_of(body)
        self._question = self._asked()
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._name = "ragtune"
        self._fingerprint = ""
        self._answered: Answered | None = None

    def pieces(self) -> Generator[str]:
        """The content, piece by piece; after the last the answer is known."""
        # Once for the answer and what is said of it: another may be promoted at any time.
        served = self._state.answering.models.find(self._question.model, any_hosted=self._question.any_hosted)
        self._name, self._fingerprint = served.name, served.fingerprint
        made = self._plain(served) if not self._own.retrieve or self._schema is not None else self._cited(served)
        with closing(made) as pieces:
            yield from filter(None, pieces)

    def events(self) -> Generator[bytes]:
        """Chunks as server-sent events."""
        with closing(self.pieces()) as pieces:
            first: dict[str, Any] = {"role": "assistant"}
            for piece in pieces:
                yield self._chunk({**first, "content": piece})
                first = {}
        answered = self._answered
        assert answered is not None  # noqa: S101
        if first:
            yield self._chunk({**first, "content": ""})
        yield self._chunk({}, finish_reason="stop" if answered.finished else "length", ragtune=answered.body.model_dump(mode="json"))
        if self._body.stream_options and self._body.stream_options.include_usage:
            yield self._chunk(None, usage=self._usage().model_dump())
        yield b"data: [DONE]\n\n"

    def whole(self, content: str) -> ChatCompletion:
        """The completion."""
        answered = self._answered
        assert answered is not None  # noqa: S101
        return ChatCompletion(
            id=self._id,
            created=self._created,
            model=self._name,
            choices=[Choice(message=CompletionMessage(content=content), finish_reason="stop" if answered.finished else "length")],
            usage=self._usage(),
            system_fingerprint=self._fingerprint,
            ragtune=answered.body,
        )

    def _cited(self, served: Served) -> Generator[str]:
        """Quotes as they are checked, then the answer."""
        made = MarkdownStream(())
        fed = False
        with closing(self._state.answering.stream(self._question, served)) as pieces:
            for piece in pieces:
                if isinstance(piece, Retrieved):
                    made = MarkdownStream(piece.passages)
                elif isinstance(piece, str):
                    fed = True
                    yield made.feed(piece)
                else:
                    self._answered = piece
                    if not fed and not piece.answer.abstained:  # a gate held it back until it was whole
                        yield made.feed(piece.answer.raw)
                    yield made.end(piece.answer)

    def _plain(self, served: Served) -> Generator[str]:
        """What the model writes, as it is."""
        answering = self._state.answering
        if self._own.retrieve:
            asked: Generator[Retrieved | str | Answered] = answering.stream(self._question, served)
        else:
            asked = answering.chat(self._messages(), self._question, served)
        with closing(asked) as pieces:
            for piece in pieces:
                if isinstance(piece, Answered):
                    self._answered = piece
                elif isinstance(piece, str):
                    yield piece

    def _asked(self) -> Question:
        body, own, caller = self._body, self._own, self._caller
        if body.messages[-1].role != "user":
            raise ApiError(400, "the last message must be the user's: it is the question", param="messages")
        *before, last = self._messages()
        if not last.content.strip():
            raise ApiError(400, "the last message is empty: it is the question", param="messages")
        stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
        return Question(
            last.content,
            [turn for turn in before if turn.role != "system"],
            body.model,
            own.k,
            Where(caller.access, own.source, own.media_type) if caller.access is not None or own.source or own.media_type else None,
            Sampling(
                body.temperature or 0.0, 1.0 if body.top_p is None else body.top_p, body.seed, tuple(filter(None, stop)), self._schema
            ),
            body.max_completion_tokens or body.max_tokens,
            caller.name,
            own.conversation,
            "write" in caller.scopes,
            partial(self._state.limits.spend, caller.name, tokens_per_minute=caller.tokens_per_minute),
            partial(self._state.limits.reserve, caller.name, tokens_per_minute=caller.tokens_per_minute),
        )

    def _messages(self) -> list[Message]:
        """What was said in words: calls of tools and what came of them are passed over."""
        said = [turn for turn in self._body.messages if turn.role != "assistant" or turn.text.strip()]
        return [Message("system" if turn.role == "developer" else turn.role, turn.text) for turn in said if turn.role != "tool"]

    def _usage(self) -> CompletionUsage:
        assert self._answered is not None  # noqa: S101
        own = self._answered.body.usage
        return CompletionUsage(
            prompt_tokens=own.prompt_tokens,
            completion_tokens=own.completion_tokens,
            total_tokens=own.prompt_tokens + own.completion_tokens,
        )

    def _chunk(self, delta: dict[str, Any] | None, finish_reason: str | None = None, **more: Any) -> bytes:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]
        return event(
            {
                "id": self._id,
                "object": "chat.completion.chunk",
                "created": self._created,
                "model": self._name,
                "system_fingerprint": self._fingerprint,
                "choices": choices,
                **more,
            }
        )
