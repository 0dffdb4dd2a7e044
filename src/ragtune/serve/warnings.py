"""How a model is served otherwise than it was evaluated: then its figures are not those of what clients get."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ragtune import build
from ragtune.config import Settings
from ragtune.prompts import PROMPT_VERSION
from ragtune.workspace import Manifest, Workspace, library_versions

_ENGINE = ("ragtune", "torch", "transformers")


def evaluation_warnings(workspace: Workspace, settings: Settings, tuned: Manifest | None, device: str) -> Iterator[str]:
    """What differs from the newest evaluation of a served model, a line each.

    Args:
        workspace: of the project.
        settings: as it is served with.
        tuned: the model; ``None`` is the base.
        device: where it answers.
    """
    name = tuned.name if tuned else "the base model"
    found = _newest(workspace, settings, tuned)
    if found is None:
        yield f"{name} was never evaluated here, so nothing tells how well it answers: run 'ragtune evaluate'"
        return
    for what, (now, then) in _differences(settings, tuned, device, found).items():
        if now != then:
            yield f"{name} is served with {what} {now}, and was evaluated ({found.name}) with {then}: run 'ragtune evaluate' again"


def _newest(workspace: Workspace, settings: Settings, tuned: Manifest | None) -> Manifest | None:
    for evaluation in reversed(workspace.manifests("evaluations")):
        asked = evaluation.inputs.get("model_names", {})
        if tuned and tuned.name in asked.values() and tuned.key in evaluation.inputs.get("models", {}).values():
            return evaluation
        if tuned is None and evaluation.settings.get("model", {}).get("base") == settings.model.base:
            return evaluation
    return None


def _differences(settings: Settings, tuned: Manifest | None, device: str, found: Manifest) -> dict[str, tuple[Any, Any]]:
    then = found.settings
    model = then.get("model", {})
    versions = library_versions()
    k = tuned.settings.get("k") if tuned else settings.retrieve.k
    # Where its device differs the versions' difference is one line too many, but each is a reason of its own.
    compared: dict[str, tuple[Any, Any]] = {
        "device": (device, found.device),
        "model.dtype": (settings.model.dtype, model.get("dtype")),
        "model.chat_template": (build.model_part(settings).get("chat_template"), model.get("chat_template")),
        "prompt version": (PROMPT_VERSION, then.get("prompt")),
        "passages": (k, then.get("k")),
        "generate.constrained_quotes": (settings.generate.constrained_quotes, then.get("generate", {}).get("constrained_quotes")),
        "generate.max_new_tokens": (settings.generate.max_new_tokens, then.get("generate", {}).get("max_new_tokens")),
    }
    return compared | {package: (versions.get(package), found.versions.get(package)) for package in _ENGINE if package in found.versions}
