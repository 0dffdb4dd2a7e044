"""Any chat model that LangChain knows: ``langchain:anthropic:claude-…`` is ``init_chat_model("claude-…", model_provider="anthropic")``."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import SecretStr

from ragtune.errors import ChatError, CutStreamError, KeyRefusedError, NoSuchModelError, RefusalError
from ragtune.hosted.failures import classify, is_lost_connection, is_never_sent, redact
from ragtune.stop import Until
from ragtune.types import GREEDY, Message, Passage, Reply, Sampling, Usage

_CUT = {"length", "max_tokens", "MAX_TOKENS"}
_REFUSED = {"content_filter", "refusal", "SAFETY", "PROHIBITED_CONTENT"}


class LangChainChat:
    """A LangChain chat model as one of ragtune's. It makes one attempt a call, as far as LangChain's integration lets that be set.

    Args:
        name: ``langchain:provider:model``, for messages.
        model: the LangChain model, see :func:`load`.
        headroom: tokens for reasoning, above those that a call is asked for: whether a model reasons, only LangChain knows.
    """

    def __init__(self, name: str, model: BaseChatModel, *, headroom: int = 0) -> None:
        self.name = name
        self.headroom = headroom
        self._model = model
        self._secrets = [value.get_secret_value() for value in vars(model).values() if isinstance(value, SecretStr)]

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        schema: Mapping[str, Any] | None = None,  # noqa: ARG002 - how integrations take one differs: the prompt asks for it, and it is checked
        temperature: float = 0.0,
        seed: int = 0,  # noqa: ARG002
    ) -> Reply:
        """A whole answer; see :class:`~ragtune.protocols.ChatModel`."""
        began = time.monotonic()
        try:
            # 0 was set when the model was made, as far as its integration takes one.
            warmer: dict[str, Any] = {"temperature": temperature} if temperature else {}
            answer = self._model.invoke(_turns(messages), max_tokens=max_tokens + self.headroom, **warmer)
        except Exception as error:
            raise self._translate(error) from None
        return self._reply(answer, time.monotonic() - began)

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
        whole: AIMessageChunk | None = None
        until = Until(sampling.stop)  # not every integration knows them
        pieces: list[str] = []
        try:
            for chunk in self._model.stream(_turns(messages), max_tokens=max_tokens + self.headroom, **_options(sampling)):
                whole = chunk if whole is None else whole + chunk
                if piece := until.take(str(chunk.text)):
                    pieces.append(piece)
                    yield piece
        except Exception as error:
            translated = self._translate(error)
            if whole is not None and not isinstance(translated, RefusalError):
                why = self._redact(f"{type(error).__name__}: {error}")
                raise CutStreamError(f"{self.name}: the connection ended in the middle of an answer ({why}): try again") from None
            raise translated from None
        if whole is None:
            raise CutStreamError(f"{self.name}: the stream ended before it began: try again")
        if rest := until.rest():
            pieces.append(rest)
            yield rest
        reply = self._reply(whole, time.monotonic() - began)
        yield replace(reply, text="".join(pieces), finished=until.stopped or reply.finished)

    def _reply(self, answer: AIMessage, seconds: float) -> Reply:
        about = answer.response_metadata
        finish = about.get("finish_reason") or about.get("stop_reason") or about.get("done_reason") or ""
        refusal = answer.additional_kwargs.get("refusal")
        counted: Any = answer.usage_metadata or {}
        usage = Usage(counted.get("input_tokens", 0), counted.get("output_tokens", 0))
        if refusal or finish in _REFUSED:
            why = self._redact(str(refusal or finish))
            tokens = (usage.prompt_tokens, usage.completion_tokens) if usage.prompt_tokens else None
            raise RefusalError(f"{self.name}: the model or its vendor's filter declines to answer ({why})", charged=True, tokens=tokens)
        return Reply(str(answer.text), usage, finish not in _CUT, about.get("model_name") or about.get("model") or self.name, seconds)

    def _translate(self, error: Exception) -> ChatError:
        """The integrations wrap different SDKs; what most of their errors share is a status, a code and a response."""
        said = self._redact(f"{type(error).__name__}: {error}")
        inner: BaseException | None = error
        while inner is not None:
            response = getattr(inner, "response", None)
            code = getattr(inner, "code", None)
            status = getattr(inner, "status_code", None) or getattr(response, "status_code", None) or (code if type(code) is int else None)
            if status is not None or is_lost_connection(inner):
                headers = getattr(response, "headers", None)
                return classify(
                    self.name,
                    status=status,
                    code=str(code or ""),
                    message=said,
                    headers=dict(headers) if headers else None,
                    reached=not is_never_sent(inner),
                )
            inner = inner.__cause__
        return ChatError(f"{self.name}: LangChain's model gives no answer ({said}): is it one for chat, and its address right?")

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = redact(text, secret)
        return redact(text)[:300]


def load(name: str, model: str, *, timeout: float = 120.0, base_url: str | None = None) -> BaseChatModel:
    """LangChain's chat model for ``provider:model``; it reads its key from the environment, as LangChain does.

    Args:
        name: ``langchain:provider:model``, for messages.
        model: ``provider:model`` as LangChain writes it.
        timeout: seconds.
        base_url: another address of the provider's API.

    Raises:
        ChatError: the provider's integration package is not installed.
        KeyRefusedError: there is no key in the environment.
        NoSuchModelError: LangChain cannot tell the provider, or the integration refuses the model.
    """
    provider, _, rest = model.partition(":")
    options: dict[str, Any] = {"temperature": 0.0, "timeout": timeout, "max_retries": 0}
    if provider in ("openai", "deepseek", "azure_openai"):
        options["stream_usage"] = True  # which is off where the address is not OpenAI's own
    if base_url:
        options["base_url"] = base_url
    while True:
        try:
            made = init_chat_model(rest, model_provider=provider, **options)
        except ImportError as error:
            raise ChatError(f"{name}: LangChain's package for it is not installed ({error})") from None
        except Exception as error:
            said = redact(str(error).strip().partition("\n")[0])
            if re.search(r"api[_ ]?key|credential", str(error), re.IGNORECASE):
                raise KeyRefusedError(f"{name}: LangChain finds no key ({said}): write it into .env or into the environment") from None
            # An integration that does not know one of the options refuses it by name.
            refused = next((option for option in options if option in str(error)), None)
            if refused is None:
                raise NoSuchModelError(f"{name}: LangChain cannot make this model ({said}): see its integrations") from None
            del options[refused]
            continue
        if not isinstance(made, BaseChatModel):
            raise NoSuchModelError(f"{name}: LangChain gives no chat model for it")
        return made


def _options(sampling: Sampling) -> dict[str, Any]:
    """What a call says of it; most integrations pass on what their vendor calls so. A form is asked for in the prompt and checked."""
    given = {
        "temperature": sampling.temperature or None,  # 0 was set when the model was made
        "top_p": sampling.top_p if sampling.top_p != 1 else None,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _turns(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [({"system": "system", "user": "human", "assistant": "ai"}[message.role], message.content) for message in messages]
