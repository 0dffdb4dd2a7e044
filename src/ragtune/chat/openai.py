"""Chat over OpenAI's protocol with its own SDK: OpenAI, DeepSeek, vLLM, llama.cpp, Ollama and every compatible server."""

from __future__ import annotations

import json
import re
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from ragtune.errors import ChatError, CutStreamError, RefusalError
from ragtune.hosted.failures import classify, not_a_chat_api, redact
from ragtune.hosted.meter import THINKING_TOKENS
from ragtune.hosted.openai import said_by, status_of, translate
from ragtune.stop import Until
from ragtune.types import GREEDY, Message, Passage, Reply, Sampling, Usage

_THINKS = re.compile(r"^(gpt-[5-9]|o\d)")
_UNKNOWN = re.compile(
    r"(un|not |n't )support|unrecogni[sz]ed|unknown|unexpected|unavailable|not (permitted|allowed)|extra (input|field)", re.IGNORECASE
)
_WRONG = re.compile(r"invalid|deprecated|only ", re.IGNORECASE)
_FORMATS = ("json_schema", "json_object", None)


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
        weakref.finalize(self, self._client.close)  # its connections are kept open between calls
        # What can be written in several ways, the best first; None leaves it out. A refused way is not offered again.
        limits = ("max_tokens", "max_completion_tokens")
        self._ways: dict[str, tuple[Any, ...]] = {
            "limit": limits[::-1] if _THINKS.match(model) else limits,
            "response_format": _FORMATS,
            "reasoning_effort": ("none", "minimal", "low", None) if not thinking and _THINKS.match(model) else (None,),
            "thinking": ({"type": "disabled"}, None) if not thinking and name.startswith("deepseek:") else (None,),
            "temperature": (True, None),
            "seed": (True, None),
            "top_p": (True, None),
            "stop": (True, None),
            "stream_options": ({"include_usage": True}, None),
        }
        self._may_think = thinking or name.startswith("deepseek:") or _THINKS.match(model) is not None
        self._answered = False
        self._refused = dict.fromkeys(self._ways, 0)
        self._lock = threading.Lock()

    @property
    def headroom(self) -> int:
        """Tokens for reasoning that the next call may have; which way a server takes is known from its first answer on."""
        if not self._answered:
            return THINKING_TOKENS * self._may_think
        return self._thinking_tokens(self._refused)

    def _thinking_tokens(self, ways: Mapping[str, int]) -> int:
        """Where reasoning is wanted, or cannot be switched off, an answer is not to be cut short by it."""
        off = self._ways["reasoning_effort"][ways["reasoning_effort"]] == "none" or self._ways["thinking"][ways["thinking"]] is not None
        return THINKING_TOKENS * (self._may_think and not off)

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
        answer: ChatCompletion = self._create(messages, max_tokens, Sampling(temperature, seed=seed, schema=schema), stream=False)
        if not getattr(answer, "choices", None):
            raise self._without_choices(answer)
        try:
            choice = answer.choices[0]
            self._check(choice.finish_reason, getattr(choice.message, "refusal", None), answer.usage)
            text, finished = choice.message.content or "", choice.finish_reason != "length"
        except AttributeError as error:
            raise not_a_chat_api(self.name, str(error)) from None
        return Reply(text, _usage(answer.usage), finished, answer.model or self._model, time.monotonic() - began)

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
        chunks = self._create(messages, max_tokens, sampling, stream=True)
        until = Until(sampling.stop)  # not every server knows them
        pieces: list[str] = []
        finish: str | None = None
        usage, model = Usage(), self._model
        try:
            for chunk in chunks:
                model = chunk.model or model
                if chunk.usage is not None:
                    usage = _usage(chunk.usage)
                for choice in chunk.choices or ():
                    finish = choice.finish_reason or finish
                    self._check(choice.finish_reason, getattr(choice.delta, "refusal", None), chunk.usage)
                    if piece := until.take(choice.delta.content or ""):
                        pieces.append(piece)
                        yield piece
        except openai.APIError as error:
            raise (self._cut(said_by(error)) if pieces else self._translate(error)) from None
        except (ValueError, AttributeError) as error:
            raise not_a_chat_api(self.name, type(error).__name__) from None
        finally:
            chunks.close()
        if finish is None and not pieces and usage == Usage():
            raise not_a_chat_api(self.name, "it has no pieces")
        if finish is None:
            raise self._cut("it sent no end")
        if rest := until.rest():
            pieces.append(rest)
            yield rest
        yield Reply("".join(pieces), usage, until.stopped or finish != "length", model, time.monotonic() - began)

    def _create(self, messages: Sequence[Message], max_tokens: int, sampling: Sampling, *, stream: bool) -> Any:
        while True:
            ways = self._sent(sampling, stream)
            try:
                made = self._client.chat.completions.create(
                    model=self._model,
                    messages=[{"role": message.role, "content": message.content} for message in messages],  # type: ignore[misc]
                    stream=stream,
                    **self._options(ways, max_tokens, sampling),
                )
                self._answered = True
                return made
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._give_way(error, ways):
                    raise self._translate(error) from None
            except openai.APIError as error:
                raise self._translate(error) from None
            except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
                raise not_a_chat_api(self.name, type(error).__name__) from None

    def _sent(self, sampling: Sampling, stream: bool) -> dict[str, int]:
        """Which way each thing is written that a call sends."""
        sent = {
            "response_format": sampling.schema is not None,
            "stream_options": stream,
            "top_p": sampling.top_p != 1,
            "stop": bool(sampling.stop),
            "seed": sampling.seed is not None or not sampling.temperature,
        }
        return {name: index for name, index in self._refused.items() if sent.get(name, True)}

    def _options(self, ways: Mapping[str, int], max_tokens: int, sampling: Sampling) -> dict[str, Any]:
        way = {name: self._ways[name][index] for name, index in ways.items()}
        options: dict[str, Any] = {way.pop("limit"): max_tokens + self._thinking_tokens(ways)}
        if thinking := way.pop("thinking"):
            options["extra_body"] = {"thinking": thinking}
        if form := way.pop("response_format", None):
            form = form if sampling.schema else "json_object"
            named = (
                {"json_schema": {"name": "answer", "schema": dict(sampling.schema or {}), "strict": True}} if form == "json_schema" else {}
            )
            options["response_format"] = {"type": form, **named}
        values = {"temperature": sampling.temperature, "seed": sampling.seed or 0, "top_p": sampling.top_p, "stop": list(sampling.stop)}
        options |= {name: value for name, value in values.items() if way.pop(name, None)}
        return {**options, **{name: value for name, value in way.items() if value is not None}}

    def _give_way(self, error: openai.APIStatusError, ways: Mapping[str, int]) -> bool:
        """Whether the server refused something that can be left out or written otherwise; then it will be, from now on.

        ``ways`` are those that were sent: by now another thread may have learned more.
        """
        others = ((name, index) for name, index in ways.items() if index + 1 < len(self._ways[name]))
        blamed = next((name for name, index in others if self._blames(error, name, index)), None)
        if blamed is None:
            return False
        with self._lock:
            self._refused[blamed] = max(self._refused[blamed], ways[blamed] + 1)
        return True

    def _blames(self, error: openai.APIStatusError, name: str, index: int) -> bool:
        if name == "response_format":
            return re.search(r"response_format|json_schema|schema|json_object|grammar", f"{error.param} {error.message}", re.I) is not None
        sent = self._ways[name][index] if name == "limit" else name
        if error.param != sent and not (not error.param and re.search(rf"\b{sent}\b", error.message)):
            return False
        # A limit that is known but too high is no reason to write it otherwise.
        unknown = _UNKNOWN.search(error.message) is not None
        return unknown if name == "limit" else unknown or bool(error.param) or _WRONG.search(error.message) is not None

    def _without_choices(self, answer: Any) -> ChatError:
        """Some routers answer with status 200 and the error of the server behind them."""
        said = getattr(answer, "error", None)
        if not isinstance(said, Mapping):
            return not_a_chat_api(self.name, "it has no choices")
        code = str(said.get("code") or "")
        return classify(
            self.name,
            status=status_of(code),
            code=code,
            message=str(said.get("message") or ""),
            secret=self._secret,
            key_variable=self._key_variable,
        )

    def _check(self, finish: str | None, refusal: str | None, counted: Any) -> None:
        if not refusal and finish != "content_filter":
            return
        why = (
            f"the model declines to answer ({redact(refusal, self._secret)[:200]})" if refusal else "the vendor's filter stopped the answer"
        )
        usage = _usage(counted)
        tokens = (usage.prompt_tokens, usage.completion_tokens) if usage.prompt_tokens else None
        raise RefusalError(f"{self.name}: {why}", charged=True, tokens=tokens)

    def _cut(self, why: str) -> CutStreamError:
        return CutStreamError(f"{self.name}: the connection ended in the middle of an answer ({redact(why, self._secret)}): try again")

    def _translate(self, error: openai.APIError) -> ChatError:
        return translate(self.name, error, secret=self._secret, key_variable=self._key_variable)


def _usage(usage: Any) -> Usage:
    return Usage(int(usage.prompt_tokens or 0), int(usage.completion_tokens or 0)) if usage is not None else Usage()
