"""A project's chat model as LangChain's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage, merge_message_runs
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field, PrivateAttr

from ragtune.errors import ChatError
from ragtune.pipeline.ask import find_chat
from ragtune.project import Project
from ragtune.protocols import ChatModel
from ragtune.stop import Until
from ragtune.types import Message, Passage, Reply, Role

_ROLES: Mapping[str, Role] = {"system": "system", "human": "user", "user": "user", "ai": "assistant", "assistant": "assistant"}


class ChatRagtune(BaseChatModel):
    """A model of a project: the one it tuned, its base, or a hosted one under the project's cap, cache and patience.

    It takes and gives text. It calls no tools and promises no schema: the models that ragtune tunes are taught to answer from passages.
    What stands after a stop sequence is written and thrown away.

    Args:
        project: whose settings and models are used.
        model: a tuned model's name, ``base``, or ``provider:model``; ``None`` is the newest tuned model, else the base. A call may
            say otherwise, as for ``temperature`` and ``max_tokens``: ``invoke(messages, model="base")``.
        temperature: 0 is greedy; local models are always.
        max_tokens: of an answer; ``None`` is the setting ``generate.max_new_tokens``.
        stop: an answer ends before the first of these.
        timeout: seconds to wait for a hosted model; ``None`` is the setting ``chat.timeout``.
        max_retries: further attempts where a hosted model's server is busy or gone; ``None`` is the setting ``chat.retries``.
        streaming: stream wherever LangChain lets the model choose.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    project: Project = Field(repr=False, exclude=True)
    model: str | None = None
    temperature: float = Field(0.0, ge=0)
    max_tokens: int | None = Field(None, ge=1)
    stop: list[str] | None = None
    timeout: float | None = Field(None, gt=0)
    max_retries: int | None = Field(None, ge=0)
    streaming: bool = False

    _hosted: dict[str, ChatModel] = PrivateAttr(default_factory=dict)

    @property
    def _llm_type(self) -> str:
        return "ragtune"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"project": str(self.project.path), "model": self._model_name(None)}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop or None, **kwargs)
        params["ls_model_name"] = self._model_name(kwargs.get("model"))
        return params

    def _model_name(self, model: str | None) -> str:
        tuned = self.project.workspace.manifests("models")
        return model or self.model or (tuned[-1].name if tuned else self.project.settings.model.base)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(stop, **kwargs)
        if call.quotable:  # quotes are held to passages while they are streamed only
            return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))
        reply = call.chat.complete(_turns(messages), max_tokens=call.max_tokens, temperature=call.temperature)
        until = Until(call.stop)
        text = until.take(reply.text) + until.rest()
        message = AIMessage(text, usage_metadata=_usage(reply), response_metadata=_about(reply, call.chat, until))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self._call(stop, **kwargs)
        until = Until(call.stop)
        for piece in call.pieces(_turns(messages)):
            if isinstance(piece, Reply):
                about = _about(piece, call.chat, until)
                last = AIMessageChunk(content=until.rest(), usage_metadata=_usage(piece), response_metadata=about, chunk_position="last")
                chunk = ChatGenerationChunk(message=last)
            else:
                chunk = ChatGenerationChunk(message=AIMessageChunk(content=until.take(piece)))
            if run_manager is not None and chunk.text:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _call(
        self,
        stop: list[str] | None,
        *,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        quotable: Sequence[Passage] | None = None,
    ) -> _Call:
        """What one call asks for; what is unknown is refused by name."""
        generate = self.project.settings.generate
        return _Call(
            self._chat(model or self.model),
            max_tokens or self.max_tokens or generate.max_new_tokens,
            self.temperature if temperature is None else temperature,
            [word for word in stop or self.stop or () if word],
            quotable if generate.constrained_quotes else None,
        )

    def _chat(self, model: str | None) -> ChatModel:
        if model in self._hosted:
            return self._hosted[model]
        settings = self.project.settings
        given = {"timeout": self.timeout, "retries": self.max_retries}
        limits = {name: value for name, value in given.items() if value is not None}
        settings = settings.model_copy(update={"chat": settings.chat.model_copy(update=limits)})
        chat, _ = find_chat(self.project.workspace, settings, model)
        if model is not None and ":" in model:  # its client keeps connections open
            self._hosted[model] = chat
        return chat


@dataclass(frozen=True, slots=True)
class _Call:
    chat: ChatModel
    max_tokens: int
    temperature: float
    stop: list[str]
    quotable: Sequence[Passage] | None

    def pieces(self, turns: Sequence[Message]) -> Iterator[str | Reply]:
        """Pieces and the reply; with a temperature in one piece, for streams are greedy."""
        if self.temperature:
            reply = self.chat.complete(turns, max_tokens=self.max_tokens, temperature=self.temperature)
            yield from (reply.text, reply)
        else:
            yield from self.chat.stream(turns, quotable=self.quotable, max_tokens=self.max_tokens)


def _turns(messages: Sequence[BaseMessage]) -> list[Message]:
    """Messages of LangChain as ragtune's; neighbours of one role become one, for many models want the roles to alternate."""
    turns = []
    for message in merge_message_runs(messages):
        role = _ROLES.get(message.role if isinstance(message, ChatMessage) else message.type)
        if role is None:
            raise ChatError(f"ragtune's chat models know no {message.type} messages: give system, human and ai messages")
        blocks = {block if isinstance(block, str) else block["type"] for block in message.content} if message.content else set()
        if not isinstance(message.content, str) and blocks - {"text"}:
            raise ChatError(f"ragtune's chat models read text only, not {', '.join(sorted(blocks - {'text'}))}")
        turns.append(Message(role, str(message.text)))
    return turns


def _usage(reply: Reply) -> UsageMetadata | None:
    """Tokens as counted, or nothing where they were not."""
    prompt, completion = reply.usage.prompt_tokens, reply.usage.completion_tokens
    return UsageMetadata(input_tokens=prompt, output_tokens=completion, total_tokens=prompt + completion) if prompt else None


def _about(reply: Reply, chat: ChatModel, until: Until) -> dict[str, Any]:
    """``cost`` is in US dollars, ``None`` where no price is known."""
    ended = until.stopped or reply.finished
    return {"model_name": reply.model or chat.name, "finish_reason": "stop" if ended else "length", "cost": reply.cost}
