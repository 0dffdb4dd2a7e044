"""An evaluation's page: what it says of where its figures come from, and how it is made again from what was stored."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ragtune.config import Settings
from ragtune.dataset.store import read_dataset
from ragtune.errors import ProjectError
from ragtune.evaluate.html import PageMeta, render_html
from ragtune.evaluate.page_training import Step
from ragtune.evaluate.predictions import read_predictions
from ragtune.evaluate.report_json import read_report_json
from ragtune.evaluate.stored import read_gradings, read_passages
from ragtune.types import JSON, Example
from ragtune.workspace import Manifest, Workspace, write_bytes

PAGE = "report.html"


def rewrite_page(workspace: Workspace, manifest: Manifest) -> Path:
    """Make ``report.html`` anew from the stored answers and figures; no model is asked and no figure computed.

    Returns:
        Where it is; in a project that cannot be written to, as it was.

    Raises:
        EvaluationError: the evaluation's files are missing or damaged.
    """
    folder = workspace.artifact("evaluations", manifest.name)
    predictions = read_predictions(folder / "predictions.jsonl")
    page = render_html(
        read_report_json(folder / "report.json"),
        predictions,
        read_passages(folder),
        asked(workspace, manifest),
        page_meta(workspace, manifest),
        gradings=read_gradings(folder, predictions),
    )
    with contextlib.suppress(PermissionError):
        write_bytes(folder / PAGE, page.encode())
    return folder / PAGE


def asked(workspace: Workspace, manifest: Manifest) -> list[Example]:
    """The questions of an evaluation with their gold evidence; none where their dataset is gone."""
    try:
        data = read_dataset(workspace.artifact("datasets", str(manifest.inputs["dataset"])))
    except ProjectError:
        return []
    parts = {"test": data.test, "validation": data.validation}
    return parts.get(manifest.settings["split"], [*data.train, *data.validation, *data.test])


def tuned_model(workspace: Workspace, manifest: Manifest) -> Manifest | None:
    """The model that an evaluation is about; ``None`` where it was removed since."""
    name = manifest.inputs.get("model_names", {}).get("tuned")
    return next((each for each in workspace.manifests("models") if each.name == name), None)


def training_steps(workspace: Workspace, tuned: Manifest | None) -> list[Step]:
    """What its training wrote down, a step each: the numbers alone."""
    metrics = workspace.artifact("models", tuned.name) / "metrics.jsonl" if tuned else None
    if metrics is None or not metrics.is_file():
        return []
    found = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines() if line]
    steps = [{name: value for name, value in step.items() if isinstance(value, int | float)} for step in found]
    return [*{step["step"]: step for step in steps if "step" in step}.values()]  # one that a killed run did twice counts once


def page_meta(workspace: Workspace, manifest: Manifest) -> PageMeta:
    """What the page says about where its figures come from."""
    tuned = tuned_model(workspace, manifest)
    lineage: dict[str, Mapping[str, JSON]] = {
        "Evaluation": {"name": manifest.name, "key": manifest.key, "device": manifest.device, **_words(manifest.inputs)},
    }
    if tuned is not None:
        lineage["Tuned model"] = {
            "name": tuned.name, "key": tuned.key, "device": tuned.device, **_words(tuned.inputs), **_words(tuned.figures),
        }  # fmt: skip
        lineage["Training settings"] = _words(tuned.settings.get("train", {}))
    lineage["Evaluation settings"] = {
        **_words(manifest.settings["evaluate"]),
        **_words(manifest.settings["generate"]),
        "k": manifest.settings["k"],
    }
    lineage["Versions"] = _words(manifest.versions)
    return PageMeta(
        manifest.name,
        manifest.created[:16].replace("T", " ") + " UTC",
        lineage,
        training_steps(workspace, tuned),
        _trained(tuned),
        [*_commands(manifest, tuned)],
    )


def _trained(tuned: Manifest | None) -> str:
    if tuned is None or not tuned.seconds:
        return ""
    answers = f" on {tuned.figures['answers']:,} answers" if "answers" in tuned.figures else ""
    size, unit = next(
        (size, unit) for size, unit in ((3600, "hours"), (60, "minutes"), (1, "seconds")) if tuned.seconds >= 2 * size or size == 1
    )
    return f"Training took {tuned.seconds / size:.0f} {unit} on {tuned.device}{answers}, once."


def _commands(manifest: Manifest, tuned: Manifest | None) -> Iterator[str]:
    """The commands that make model and evaluation again from the dataset, in a project whose settings are the defaults."""
    if tuned is not None:
        without = " --without-context" if tuned.settings.get("without_context") else ""
        train = tuned.settings.get("train", {})
        # Models of before there was rehearsal were trained without.
        settings = {**tuned.settings, "train": {**train, "rehearsal": train.get("rehearsal", 0.0)}}
        dataset = tuned.inputs.get("dataset", manifest.inputs["dataset"])
        yield f"ragtune train --dataset {dataset} --name {tuned.name}{without}{_changed(settings, ('train', 'model'))}"
    yield evaluate_command(manifest, tuned)


def evaluate_command(manifest: Manifest, tuned: Manifest | None) -> str:
    """The command that asks the questions: of the models by name, or of a model for each fold."""
    read = manifest.settings
    if "folds" in read:
        changed = _changed(read, ("train", "model", "evaluate", "generate", "judge"))
        return f"ragtune evaluate --folds {read['folds']} --dataset {manifest.inputs['dataset']}{changed}"
    names = manifest.inputs.get("model_names", {})
    models = [names.get("tuned")] if tuned or "other" in names else []
    arms = [arm for arm in read["evaluate"].get("arms", ()) if arm != "other"]  # which a second model is by itself
    if "other" in names:
        models.append(names["other"])
        read = {**read, "evaluate": {**read["evaluate"], "arms": arms}}
    about = "".join(f" --model {shlex.quote(str(name))}" for name in models)
    if "tuned" not in names or (tuned and tuned.inputs.get("dataset") != manifest.inputs["dataset"]):
        about += f" --dataset {manifest.inputs['dataset']}"
    return f"ragtune evaluate{about} --split {read['split']}{_changed(read, ('evaluate', 'generate', 'judge'))}"


def _changed(settings: Mapping[str, Any], sections: tuple[str, ...]) -> str:
    """``--set`` for each setting that differs from its default."""
    options = ""
    for section in sections:
        defaults = Settings.model_fields[section].get_default(call_default_factory=True).model_dump(mode="json")
        for name, value in settings.get(section, {}).items():
            if name in defaults and value != defaults[name] and value is not None:
                options += " --set " + shlex.quote(f"{section}.{name}={json.dumps(value, ensure_ascii=False)}")
    return options


def _words(values: Mapping[str, Any]) -> dict[str, JSON]:
    return {name: value if value is None or isinstance(value, int | float | str) else json.dumps(value) for name, value in values.items()}
