"""Who answers: the base or a tuned model, local or hosted, for one question (``ask``) and for many (``evaluate``)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ragtune import build
from ragtune.chat.generate import generate
from ragtune.chat.local import LocalChat
from ragtune.config import Settings
from ragtune.engine.cached import CachedEngine
from ragtune.errors import EvaluationError
from ragtune.hosted.providers import is_hosted
from ragtune.protocols import ChatModel, Engine
from ragtune.types import Arm, Generation, Message, Passage
from ragtune.workspace import Manifest, Workspace

Prompts = Sequence[Sequence[Message]]
Quotable = Sequence[Sequence[Passage]]


class Generate(Protocol):
    """Answers to many prompts, as ``(index, generation)``, in any order."""

    def __call__(self, prompts: Prompts, quotable: Quotable) -> Iterator[tuple[int, Generation]]:
        """``quotable`` holds each prompt's passages, for a model whose quotes can be held to them."""


@dataclass(frozen=True, slots=True)
class Answerer:
    """One arm's model: its name and how it answers."""

    label: str
    generate: Generate


def adapter_of(workspace: Workspace, model: Manifest) -> Path:
    """The folder of a local model's weights: in the project, or where an adapter from elsewhere lies."""
    elsewhere = model.settings.get("adapter")
    return Path(elsewhere) if elsewhere else workspace.weights(model.name)


def tuned_chat(workspace: Workspace, settings: Settings, tuned: Manifest, engine: Callable[[Settings], Engine] = build.engine) -> ChatModel:
    """The chat model over a tuned model, wherever it was tuned; ``engine`` gives that of a local one's base."""
    hosted = tuned.settings.get("hosted")
    if hosted:
        return build.chat_model(workspace, settings, str(hosted))
    own = build.with_base_of(settings, tuned.settings["model"])
    return LocalChat(engine(own), f"{own.model.base} + {tuned.name}", adapter_of(workspace, tuned))


def answerers(workspace: Workspace, settings: Settings, models: Mapping[Arm, Manifest]) -> dict[Arm, Answerer]:
    """Who answers for each arm of an evaluation."""
    if not is_hosted(settings.model.base):
        return _local(workspace, settings, models)
    base = build.chat_model(workspace, settings, settings.model.base)
    made: dict[Arm, ChatModel] = {arm: base for arm in settings.evaluate.arms if arm in ("base", "base-fewshot")}
    made |= {arm: tuned_chat(workspace, settings, manifest) for arm, manifest in models.items()}
    return {arm: Answerer(chat.name, _over(chat, settings)) for arm, chat in made.items()}


def check_arms(workspace: Workspace, settings: Settings) -> None:
    """Before anything is made for them: a hosted ``dsf`` control is a tuning job of its own, which nothing starts on the way.

    Raises:
        EvaluationError: an arm would have no model.
    """
    made = any(model.settings.get("without_context") and model.settings.get("hosted") for model in workspace.manifests("models"))
    if is_hosted(settings.model.base) and "dsf" in settings.evaluate.arms and not made:
        raise EvaluationError(
            "the arm dsf needs a tuning job of its own, which costs money and is not started here: take it out of evaluate.arms, and "
            "after this run 'ragtune train --without-context' and 'ragtune evaluate' with it"
        )


def _local(workspace: Workspace, settings: Settings, models: Mapping[Arm, Manifest]) -> dict[Arm, Answerer]:
    engine = CachedEngine(build.engine(settings), workspace.generations, engine_key(settings))

    def over(manifest: Manifest | None) -> Generate:
        adapter = adapter_of(workspace, manifest) if manifest else None

        def answer(prompts: Prompts, quotable: Quotable) -> Iterator[tuple[int, Generation]]:
            return engine.generate(
                prompts,
                quotable=quotable if settings.generate.constrained_quotes else None,
                adapter=adapter,
                max_new_tokens=settings.generate.max_new_tokens,
                batch_size=settings.generate.batch_size,
            )

        return answer

    return {
        arm: Answerer(models[arm].name if arm in models else settings.model.base, over(models.get(arm))) for arm in settings.evaluate.arms
    }


def _over(chat: ChatModel, settings: Settings) -> Generate:
    def answer(prompts: Prompts, quotable: Quotable) -> Iterator[tuple[int, Generation]]:  # noqa: ARG001 - quotes are checked, not held
        return generate(chat, prompts, max_new_tokens=settings.generate.max_new_tokens, concurrency=settings.chat.concurrency)

    return answer


def engine_key(settings: Settings) -> str:
    """Whatever may change a local answer besides the prompt and adapter."""
    template = settings.model.chat_template
    own = "" if template is None else f":{hashlib.sha256(template.encode()).hexdigest()[:16]}"
    return f"{build.model_fingerprint(settings)}:{settings.model.dtype}:{device(settings)}{own}"


def device(settings: Settings) -> str:
    """Where the base model answers."""
    if is_hosted(settings.model.base):
        return "hosted"
    return str(getattr(build.engine(settings), "device", settings.model.device or "cpu"))
