"""Several finished evaluations compared: a page and figures of their own, from what was stored; no model is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ragtune.config import Settings
from ragtune.errors import ConfigError
from ragtune.evaluate.predictions import read_predictions
from ragtune.evaluate.report_json import read_report_json
from ragtune.evaluate.several import Evaluated, compare_evaluations
from ragtune.evaluate.several_page import render_several
from ragtune.evaluate.stored import read_passages
from ragtune.pipeline.evaluation_page import PAGE, asked, training_steps, tuned_model
from ragtune.pipeline.records import ComparisonResult
from ragtune.pipeline.rules import other_rules
from ragtune.progress import Progress
from ragtune.types import JSON
from ragtune.workspace import Manifest, Workspace, now, stage_key, write_bytes, write_json

VERSION = 1


def compare(workspace: Workspace, settings: Settings, names: Sequence[str], progress: Progress) -> ComparisonResult:
    """Compare evaluations with the first of them, on the questions that all asked.

    Args:
        workspace: that holds them.
        settings: the seed of the resampling is read.
        names: of two or more.
        progress: told what goes on.

    Raises:
        ConfigError: one is named twice.
        ProjectError: one is not there, or unfinished.
        EvaluationError: they have no question in common, or their files are damaged.
    """
    if len(set(names)) < len(names):
        raise ConfigError(f"an evaluation is named twice in {' '.join(names)}: name each once")
    manifests = [workspace.find("evaluations", name) for name in names]
    progress.start("report", len(manifests))
    evaluated = []
    for number, manifest in enumerate(manifests, start=1):
        evaluated.append(_read(workspace, manifest))
        progress.update("report", number, manifest.name)
    found = compare_evaluations(evaluated, seed=settings.evaluate.seed)
    found = replace(found, notes=(*other_rules(workspace, manifests), *found.notes))
    key = stage_key("compare", VERSION, {}, [[manifest.name, manifest.key] for manifest in manifests])
    folder = workspace.folder / "evaluations" / f"compare-{key[:8]}"
    created = now()
    write_json(folder / "report.json", asdict(found))
    write_bytes(folder / PAGE, render_several(found, evaluated, created[:16].replace("T", " ") + " UTC").encode())
    progress.finish("report", f"{len(manifests)} evaluations on {found.common} common questions")
    return ComparisonResult(str(folder), found)


def _read(workspace: Workspace, manifest: Manifest) -> Evaluated:
    folder = workspace.artifact("evaluations", manifest.name)
    return Evaluated(
        manifest.name,
        read_report_json(folder / "report.json"),
        read_predictions(folder / "predictions.jsonl"),
        read_passages(folder),
        asked(workspace, manifest),
        dict(_made_with(workspace, manifest)),
        training_steps(workspace, tuned_model(workspace, manifest)),
    )


def _made_with(workspace: Workspace, manifest: Manifest) -> Iterator[tuple[str, JSON]]:
    """Settings of the evaluation, its model and its dataset, by their names; then what they were made from, by and on."""
    made = {"model": tuned_model(workspace, manifest)}
    made["dataset"] = next((each for each in workspace.manifests("datasets") if each.name == manifest.inputs["dataset"]), None)
    for each in (made["dataset"], made["model"], manifest):
        yield from _flat(each.settings if each else {})
    for what, found in made.items():
        yield f"{what} (artifact)", found.name if found else None
    yield "corpus (hash)", str(manifest.inputs.get("corpus", ""))[:16]
    yield "questions (hash)", str(manifest.inputs.get("questions", ""))[:16]
    for name, value in manifest.versions.items():
        yield f"{name} (version)", value
    yield "device", manifest.device


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, JSON]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
