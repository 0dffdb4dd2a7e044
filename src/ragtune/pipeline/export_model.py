"""A tuned model as one that other programs load."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from ragtune import build
from ragtune.config import Settings
from ragtune.errors import ProjectError
from ragtune.pipeline.records import ModelExport
from ragtune.workspace import Workspace

ModelFormat = Literal["safetensors", "tensorflow"]
MODEL_FORMATS: tuple[ModelFormat, ...] = get_args(ModelFormat)


def export_model(workspace: Workspace, settings: Settings, name: str | None, output: Path, format_: str) -> ModelExport:
    """Write a tuned model whole, its adapter merged into its base.

    Args:
        workspace: with a tuned model.
        settings: of the project; the base and its chat template are those that the model was tuned with.
        name: of the model; ``None`` takes the newest.
        output: a new folder.
        format_: ``safetensors``, as transformers loads it, in the base's number format; ``tensorflow``, a SavedModel in float32.

    Raises:
        ProjectError: there is no such model or format, its vendor has its weights, its base has changed, or ``output`` is there already.
        ModelError: the base cannot be read, or, for TensorFlow, is none that Keras has.
    """
    if format_ not in MODEL_FORMATS:
        raise ProjectError(f"there is no format {format_!r} to export a model in: choose one of {', '.join(MODEL_FORMATS)}")
    if output.exists():
        raise ProjectError(f"{output} is there already: choose another folder")
    tuned = workspace.find("models", name)
    if tuned.settings.get("hosted"):
        raise ProjectError(f"model {tuned.name} was tuned by its vendor, who keeps its weights: export one that was tuned here")
    own = build.with_base_of(settings, tuned.settings["model"])
    if build.model_fingerprint(own) != tuned.inputs["base"]:
        raise ProjectError(
            f"{own.model.base} is not what model {tuned.name} was tuned on, its weights have changed since: put those back, or run "
            "'ragtune train' again"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    build.write_model(own, workspace.weights(tuned.name), output, tensorflow=format_ == "tensorflow")
    return ModelExport(tuned.name, format_, str(output), sum(file.stat().st_size for file in output.rglob("*") if file.is_file()))
