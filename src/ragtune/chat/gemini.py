"""Chat with Gemini through google-genai, Google's own SDK: by key from the Gemini API, or by Google's credentials from Vertex AI."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx2
from google import genai
from google.genai import errors, types

from ragtune.errors import CutStreamError, RefusalError, UnreachableError
from ragtune.hosted.failures import redact
from ragtune.hosted.gemini import translate
from ragtune.types import Message, Passage, Reply, Usage

_REFUSALS = {"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "IMAGE_SAFETY", "LANGUAGE"}


class GeminiChat:
    """One Gemini model. It makes one attempt a call: waiting and trying again is the caller's (:mod:`ragtune.chat.metered`).

    Args:
        name: ``gemini:model``, for messages.
        model: as the API knows it; of Vertex AI also ``projects/…/endpoints/…``, which is what a tuned model is.
        client: see :func:`ragtune.hosted.gemini.connect`.
        secret: the key, taken out of every message.
        key_variable: the variable that the key belongs into, for messages.
        thinking: let the model reason before it answers; else as little as it knows.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        client: genai.Client,
        secret: str | None = None,
        key_variable: str | None = None,
        thinking: bool = False,
    ) -> None:
        self.name = name
        self._model = model
        self._client = client
        self._secret = secret
        self._key_variable = key_variable
        # Which way a model's thinking is turned down differs between generations: the first that it takes is kept.
        self._thinking: list[types.ThinkingConfig | None] = (
            [None]
            if thinking
            else [types.ThinkingConfig(thinking_budget=0), types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW), None]
        )

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        schema: Mapping[str, Any] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Reply:
        """A whole answer; see :class:`~ragtune.protocols.ChatModel`."""
        began = time.monotonic()
        while True:
            try:
                answer = self._client.models.generate_content(
                    model=self._model, contents=_contents(messages), config=self._config(messages, max_tokens, schema, temperature, seed)
                )
                break
            except errors.APIError as error:
                if not self._give_way(error):
                    raise self._translate(error) from None
            except httpx2.HTTPError as error:
                raise self._translate(error) from None
        finish = self._check(answer)
        return Reply(_text(answer), _usage(answer), finish != "MAX_TOKENS", answer.model_version or self._model, time.monotonic() - began)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        quotable: Sequence[Passage] | None = None,  # noqa: ARG002 - a hosted model's quotes are checked, not held
        max_tokens: int = 512,
    ) -> Iterator[str | Reply]:
        """Pieces as they come, then the reply with what the server counted."""
        began = time.monotonic()
        pieces: list[str] = []
        finish = ""
        usage, model = Usage(), self._model
        while True:
            try:
                for chunk in self._client.models.generate_content_stream(
                    model=self._model, contents=_contents(messages), config=self._config(messages, max_tokens, None, 0.0, 0)
                ):
                    finish = self._check(chunk) or finish
                    usage = _usage(chunk) if chunk.usage_metadata else usage
                    model = chunk.model_version or model
                    piece = _text(chunk)
                    if piece:
                        pieces.append(piece)
                        yield piece
                break
            except errors.APIError as error:
                if pieces or not self._give_way(error):
                    raise self._translate(error) from None
            except httpx2.HTTPError as error:
                raise (self._cut(error) if pieces else self._translate(error)) from None
        if not finish:
            raise self._cut("it sent no end")
        yield Reply("".join(pieces), usage, finish != "MAX_TOKENS", model, time.monotonic() - began)

    def _config(
        self, messages: Sequence[Message], max_tokens: int, schema: Mapping[str, Any] | None, temperature: float, seed: int
    ) -> types.GenerateContentConfig:
        system = "\n\n".join(message.content for message in messages if message.role == "system")
        return types.GenerateContentConfig(
            system_instruction=system or None,
            max_output_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            response_mime_type="application/json" if schema is not None else None,
            response_json_schema=dict(schema) if schema is not None else None,
            thinking_config=self._thinking[0],
        )

    def _give_way(self, error: errors.APIError) -> bool:
        if error.code == 400 and "thinking" in str(error.message).lower() and len(self._thinking) > 1:
            self._thinking.pop(0)
            return True
        return False

    def _check(self, answer: types.GenerateContentResponse) -> str:
        """The name of the finish reason, empty while there is none."""
        feedback = answer.prompt_feedback
        if feedback is not None and feedback.block_reason:
            raise RefusalError(f"{self.name}: the vendor's filter refuses the prompt ({feedback.block_reason.name})")
        reason = answer.candidates[0].finish_reason if answer.candidates else None
        if reason is not None and reason.name in _REFUSALS:
            raise RefusalError(f"{self.name}: the vendor's filter stopped the answer ({reason.name})")
        return reason.name if reason is not None else ""

    def _translate(self, error: errors.APIError | httpx2.HTTPError) -> Exception:
        return translate(self.name, error, secret=self._secret, key_variable=self._key_variable) or error

    def _cut(self, why: object) -> UnreachableError:
        return CutStreamError(f"{self.name}: the connection ended in the middle of an answer ({redact(str(why), self._secret)}): try again")


def _contents(messages: Sequence[Message]) -> list[types.Content]:
    return [
        types.Content(role="model" if message.role == "assistant" else "user", parts=[types.Part(text=message.content)])
        for message in messages
        if message.role != "system"
    ]


def _text(answer: types.GenerateContentResponse) -> str:
    """What was written; the SDK's own ``text`` warns about parts of other kinds."""
    if not answer.candidates or answer.candidates[0].content is None:
        return ""
    return "".join(part.text or "" for part in answer.candidates[0].content.parts or () if not part.thought)


def _usage(answer: types.GenerateContentResponse) -> Usage:
    counted = answer.usage_metadata
    if counted is None:
        return Usage()
    return Usage(counted.prompt_token_count or 0, (counted.candidates_token_count or 0) + (counted.thoughts_token_count or 0))
