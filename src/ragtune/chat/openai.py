"""Chat over OpenAI's protocol with its own SDK: OpenAI, DeepSeek, vLLM, llama.cpp, Ollama and every compatible server."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from ragtune.errors import ChatError, CutStreamError, RefusalError, UnreachableError
from ragtune.hosted.failures import redact
from ragtune.hosted.openai import translate
from ragtune.types import Message, Passage, Reply, Usage

_THINKS = re.compile(r"^(gpt-[5-9]|o\d)")
_DROPPABLE = ("temperature", "seed", "reasoning_effort", "thinking", "stream_options")


class OpenAIChat:
    """One model of one server. It makes one attempt a call: waiting and trying again is the caller's (:mod:`ragtune.chat.metered`).

    A server that refuses an optional parameter is asked again without it, and not offered it any more.

    Args:
        name: ``provider:model``, for messages.
        model: as the server knows it.
        base_url: of the API, usually ending in ``/v1``.
        api_key: ``None`` where the server needs none.
        key_variable: the variable that the key belongs into, for messages.
        timeout: seconds to wait for the next bytes.
        thinking: let the model reason before it answers, where it can.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        key_variable: str | None = None,
        timeout: float = 120.0,
        thinking: bool = False,
    ) -> None:
        self.name = name
        self._model = model
        self._secret = api_key
        self._key_variable = key_variable
        self._client = openai.OpenAI(api_key=api_key or "none", base_url=base_url, timeout=timeout, max_retries=0)
        self._dropped: set[str] = set()
        self._limit_name = "max_completion_tokens" if _THINKS.match(model) else "max_tokens"
        self._formats = ["json_schema", "json_object", "none"]
        self._extra: dict[str, Any] = {}
        if not thinking and name.startswith("deepseek:"):
            self._extra["thinking"] = {"type": "disabled"}
        if not thinking and _THINKS.match(model):
            self._extra["reasoning_effort"] = "none"

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
        answer: ChatCompletion = self._create(messages, max_tokens, schema, temperature, seed, stream=False)
        if not getattr(answer, "choices", None):
            raise UnreachableError(f"{self.name}: the server's answer has no choices: is its address that of a chat API (chat.base_urls)?")
        choice = answer.choices[0]
        self._check(choice.finish_reason, getattr(choice.message, "refusal", None))
        usage = _usage(answer.usage)
        return Reply(
            choice.message.content or "", usage, choice.finish_reason != "length", answer.model or self._model, time.monotonic() - began
        )

    def stream(
        self,
        messages: Sequence[Message],
        *,
        quotable: Sequence[Passage] | None = None,  # noqa: ARG002 - a hosted model's quotes are checked, not held
        max_tokens: int = 512,
    ) -> Iterator[str | Reply]:
        """Pieces as they come, then the reply with what the server counted."""
        began = time.monotonic()
        chunks = self._create(messages, max_tokens, None, 0.0, 0, stream=True)
        pieces: list[str] = []
        finish: str | None = None
        usage, model = Usage(), self._model
        try:
            for chunk in chunks:
                model = chunk.model or model
                if chunk.usage is not None:
                    usage = _usage(chunk.usage)
                for choice in chunk.choices:
                    finish = choice.finish_reason or finish
                    self._check(choice.finish_reason, getattr(choice.delta, "refusal", None))
                    if choice.delta.content:
                        pieces.append(choice.delta.content)
                        yield choice.delta.content
        except openai.APIError as error:
            raise self._translate(error) from None
        except Exception as error:
            # What the transport raises between two chunks is not wrapped by the SDK.
            if not type(error).__module__.split(".")[0].startswith(("httpx", "httpcore", "h11", "ssl", "anyio")):
                raise
            raise self._cut(redact(str(error), self._secret)) from None
        finally:
            chunks.close()
        if finish is None:
            raise self._cut("it sent no end")
        yield Reply("".join(pieces), usage, finish != "length", model, time.monotonic() - began)

    def _create(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        schema: Mapping[str, Any] | None,
        temperature: float,
        seed: int,
        *,
        stream: bool,
    ) -> Any:
        while True:
            options = self._options(max_tokens, schema, temperature, seed, stream)
            try:
                return self._client.chat.completions.create(
                    model=self._model,
                    messages=[{"role": message.role, "content": message.content} for message in messages],  # type: ignore[misc]
                    **options,
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._give_way(error, options):
                    raise self._translate(error) from None
            except openai.APIError as error:
                raise self._translate(error) from None
            except (ValueError, AttributeError) as error:
                raise UnreachableError(
                    f"{self.name}: the server's answer is not one of a chat API ({type(error).__name__}): check chat.base_urls"
                ) from None

    def _options(self, max_tokens: int, schema: Mapping[str, Any] | None, temperature: float, seed: int, stream: bool) -> dict[str, Any]:
        options: dict[str, Any] = {self._limit_name: max_tokens, "temperature": temperature, "seed": seed, "stream": stream}
        if stream:
            options["stream_options"] = {"include_usage": True}
        if schema is not None and self._formats[0] == "json_schema":
            options["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema), "strict": True}}
        elif schema is not None and self._formats[0] == "json_object":
            options["response_format"] = {"type": "json_object"}
        body = {}
        for name, value in self._extra.items():
            if name == "reasoning_effort":
                options[name] = value
            else:
                body[name] = value
        for name in self._dropped:
            options.pop(name, None)
            body.pop(name, None)
        if body:
            options["extra_body"] = body
        return options

    def _give_way(self, error: openai.APIStatusError, options: dict[str, Any]) -> bool:
        """Whether the server refused something that can be left out or written otherwise; then it will be, from now on."""
        words = f"{error.param or ''} {error.message}"
        other = "max_completion_tokens" if self._limit_name == "max_tokens" else "max_tokens"
        if re.search(rf"\b{self._limit_name}\b", words) and re.search(
            r"unsupported|not supported|unrecogni[sz]ed|use ['\"`]?max", words, re.I
        ):
            self._limit_name = other
            return True
        sent = {*options, *options.get("extra_body", {})}
        for name in _DROPPABLE:
            if name in sent and re.search(rf"\b{name}\b", words):
                self._dropped.add(name)
                return True
        if "response_format" in options and re.search(r"response_format|json_schema|schema|json_object|grammar", words, re.I):
            self._formats.pop(0)
            return True
        return False

    def _check(self, finish: str | None, refusal: str | None) -> None:
        if refusal:
            raise RefusalError(f"{self.name}: the model declines to answer ({redact(refusal, self._secret)[:200]})")
        if finish == "content_filter":
            raise RefusalError(f"{self.name}: the vendor's filter stopped the answer")

    def _cut(self, why: str) -> CutStreamError:
        return CutStreamError(f"{self.name}: the connection ended in the middle of an answer ({why}): try again")

    def _translate(self, error: openai.APIError) -> ChatError:
        return translate(self.name, error, secret=self._secret, key_variable=self._key_variable)


def _usage(usage: Any) -> Usage:
    return Usage(int(usage.prompt_tokens or 0), int(usage.completion_tokens or 0)) if usage is not None else Usage()
