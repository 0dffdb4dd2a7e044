"""Chat with Gemini through google-genai, Google's own SDK: by key from the Gemini API, or by Google's credentials from Vertex AI."""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google import genai
from google.genai import errors, types
from pydantic import ValidationError

from ragtune.errors import ChatError, CutStreamError, RefusalError
from ragtune.hosted.failures import not_a_chat_api, redact
from ragtune.hosted.gemini import translate
from ragtune.hosted.meter import THINKING_TOKENS
from ragtune.stop import Until
from ragtune.types import GREEDY, Message, Passage, Reply, Sampling, Usage

_REFUSALS = {"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "IMAGE_SAFETY", "LANGUAGE"}
_STOPS = 5
"""So many stop texts the API takes; what it writes after another is cut off here."""


class GeminiChat:
    """One Gemini model. It makes one attempt a call: waiting and trying again is the caller's (:mod:`ragtune.chat.metered`).

    Args:
        name: ``gemini:model``, for messages.
        model: as the API knows it; of Vertex AI also ``projects/…/endpoints/…``, which is what a tuned model is.
        client: see :func:`ragtune.hosted.gemini.connect`; closed with this object.
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
        weakref.finalize(self, client.close)  # its connections are kept open between calls
        self._secret = secret
        self._key_variable = key_variable
        # Which way a model's thinking is turned down differs between generations, and not every server takes a schema.
        low: list[types.ThinkingConfig | None] = [
            types.ThinkingConfig(thinking_budget=0),
            types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW),
        ]
        self._thinking = [None] if thinking else [*low, None]
        self._answered = False
        self._refused = {"thinking": 0, "schema": 0}
        self._lock = threading.Lock()

    @property
    def headroom(self) -> int:
        """Tokens for reasoning that the next call may have; whether it can be switched off is known from the first answer on."""
        return self._thinking_tokens(self._refused) if self._answered else THINKING_TOKENS

    def _thinking_tokens(self, ways: Mapping[str, int]) -> int:
        """Where reasoning is wanted, or can only be turned down, an answer is not to be cut short by it."""
        way = self._thinking[ways["thinking"]]
        return THINKING_TOKENS * (way is None or way.thinking_budget != 0)

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
            ways = dict(self._refused)
            try:
                answer = self._client.models.generate_content(
                    model=self._model,
                    contents=_contents(messages),
                    config=self._config(ways, messages, max_tokens, Sampling(temperature, seed=seed, schema=schema)),
                )
                break
            except Exception as error:
                if not self._give_way(error, ways):
                    raise self._translate(error) from None
        self._answered = True
        finish = self._check(answer)
        if not finish and not _text(answer):
            raise not_a_chat_api(self.name, "it has no candidates")
        return Reply(_text(answer), _usage(answer), finish != "MAX_TOKENS", answer.model_version or self._model, time.monotonic() - began)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        quotable: Sequence[Passage] | None = None,  # noqa: ARG002 - a hosted model's quotes are checked, not held
        max_tokens: int = 512,
        sampling: Sampling = GREEDY,
    ) -> Iterator[str | Reply]:
        """Pieces as they come, then the reply with what the server counted."""
        began = time.monotonic()
        until = Until(sampling.stop)
        pieces: list[str] = []
        finish = ""
        usage, model = Usage(), self._model
        while True:
            ways = dict(self._refused)
            try:
                for chunk in self._client.models.generate_content_stream(
                    model=self._model, contents=_contents(messages), config=self._config(ways, messages, max_tokens, sampling)
                ):
                    self._answered = True
                    finish = self._check(chunk) or finish
                    usage = _usage(chunk) if chunk.usage_metadata else usage
                    model = chunk.model_version or model
                    if piece := until.take(_text(chunk)):
                        pieces.append(piece)
                        yield piece
                break
            except RefusalError:
                raise
            except Exception as error:
                if pieces or not self._give_way(error, ways):
                    translated = self._translate(error)
                    raise (self._cut(str(error)) if pieces and isinstance(translated, ChatError) else translated) from None
        if not finish and not pieces and usage == Usage():
            raise not_a_chat_api(self.name, "it has no candidates")
        if not finish:
            raise self._cut("it sent no end")
        if rest := until.rest():
            pieces.append(rest)
            yield rest
        yield Reply("".join(pieces), usage, until.stopped or finish != "MAX_TOKENS", model, time.monotonic() - began)

    def _config(
        self,
        ways: Mapping[str, int],
        messages: Sequence[Message],
        max_tokens: int,
        sampling: Sampling,
    ) -> types.GenerateContentConfig:
        system = "\n\n".join(message.content for message in messages if message.role == "system")
        return types.GenerateContentConfig(
            system_instruction=system or None,
            max_output_tokens=max_tokens + self._thinking_tokens(ways),
            temperature=sampling.temperature,
            seed=sampling.seed if sampling.temperature else sampling.seed or 0,
            top_p=sampling.top_p if sampling.top_p != 1 else None,
            stop_sequences=list(sampling.stop)[:_STOPS] or None,
            response_mime_type="application/json" if sampling.schema is not None else None,
            response_json_schema=dict(sampling.schema) if sampling.schema and not ways["schema"] else None,
            thinking_config=self._thinking[ways["thinking"]],
        )

    def _give_way(self, error: Exception, ways: Mapping[str, int]) -> bool:
        """Whether the server refused something that can be left out or written otherwise; then it will be, from now on.

        ``ways`` are those that were sent: by now another thread may have learned more.
        """
        if not isinstance(error, errors.APIError) or error.code != 400:
            return False
        said = str(error.message).lower()
        for name, last in (("thinking", len(self._thinking) - 1), ("schema", 1)):
            if name in said and ways[name] < last:
                with self._lock:
                    self._refused[name] = max(self._refused[name], ways[name] + 1)
                return True
        return False

    def _check(self, answer: types.GenerateContentResponse) -> str:
        """The name of the finish reason, empty while there is none."""
        feedback = answer.prompt_feedback
        if feedback is not None and feedback.block_reason:
            raise RefusalError(f"{self.name}: the vendor's filter refuses the prompt ({feedback.block_reason.name})")
        reason = answer.candidates[0].finish_reason if answer.candidates else None
        if reason is not None and reason.name in _REFUSALS:
            usage = _usage(answer)
            tokens = (usage.prompt_tokens, usage.completion_tokens) if usage.prompt_tokens else None
            raise RefusalError(f"{self.name}: the vendor's filter stopped the answer ({reason.name})", charged=True, tokens=tokens)
        return reason.name if reason is not None else ""

    def _translate(self, error: Exception) -> Exception:
        """One of ragtune's errors; what is none of the server's doing is given back as it is."""
        # The SDK stumbles itself over an error that is not written as Google writes them.
        if isinstance(error, errors.UnknownApiResponseError | ValidationError | json.JSONDecodeError | AttributeError | TypeError):
            return not_a_chat_api(self.name, type(error).__name__)
        return translate(self.name, error, secret=self._secret, key_variable=self._key_variable)

    def _cut(self, why: str) -> ChatError:
        why = redact(why, self._secret)[:300]
        return CutStreamError(f"{self.name}: the connection ended in the middle of an answer ({why}): try again")


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
