"""What the project made, as the API shows it: datasets, models with their training, evaluations with their questions.

Figures come from manifests, which are small. Answers of an evaluation are read once and kept while it is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ragtune.config import Settings
from ragtune.errors import ProjectError
from ragtune.evaluate.answers import exact_match
from ragtune.evaluate.comparison import compare_questions, question_score
from ragtune.evaluate.predictions import read_predictions
from ragtune.evaluate.stored import read_passages
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.evaluation_page import asked as examples_of
from ragtune.pipeline.train import find_tuned
from ragtune.serve.jobs.progress import metric_row
from ragtune.types import CONTEXTS, Example, Passage, Prediction
from ragtune.workspace import Manifest, Workspace


def datasets(workspace: Workspace) -> list[dict[str, Any]]:
    """Finished ones, the newest first, with how many questions each split has."""
    return [
        {
            "name": each.name,
            "created": each.created,
            **{split: int(each.figures.get("questions", {}).get(split, 0)) for split in ("train", "validation", "test")},
            "figures": dict(each.figures),
        }
        for each in reversed(workspace.manifests("datasets"))
    ]


def models(workspace: Workspace, settings: Settings, served: str) -> list[dict[str, Any]]:
    """The base, then tuned ones, the newest first, unfinished ones before them."""
    base = settings.model.base
    first = _model("base", "hosted" if is_hosted(base) else "base", base, served=served == "base", servable=True)
    finished = [_tuned(workspace, each, served) for each in reversed(workspace.manifests("models"))]
    unfinished = [_model(path.parent.name, "tuned", base, unfinished=True) for path in _unfinished(workspace)]
    return [first, *unfinished, *finished]


def training(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    """The steps of a model's training, of one that is under way too.

    Raises:
        ProjectError: there is no such model.
    """
    folder = workspace.artifact("models", name)
    if not folder.is_dir():
        raise ProjectError(f"there is no model {name}")
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    rows = [json.loads(line) for line in lines[:-1]]  # the last is empty, or being written
    steps = next((each.figures.get("steps") for each in workspace.manifests("models") if each.name == name), None)
    known = {row["step"]: {**metric_row(row), "steps": steps} for row in rows}  # one that a killed run did twice counts once
    return [*known.values()]


def evaluations(workspace: Workspace) -> list[dict[str, Any]]:
    """Finished ones, the newest first, each with its decision in a sentence."""
    return [_evaluation(each) for each in reversed(workspace.manifests("evaluations"))]


@dataclass(frozen=True, slots=True)
class Asked:
    """An evaluation's answers by question, in the order of the report: what changed most comes first."""

    questions: tuple[Mapping[str, Any], ...]
    passages: Mapping[str, Passage]


def asked(workspace: Workspace, name: str, context: str | None = None) -> Asked:
    """The questions of an evaluation with all answers to them; what came of each is said of a context, by itself of the retrieved one.

    Raises:
        ProjectError: there is no such evaluation.
        EvaluationError: its files are damaged.
    """
    manifest = workspace.find("evaluations", name)
    folder = workspace.artifact("evaluations", manifest.name)
    files = [folder / "predictions.jsonl", folder / "passages.jsonl"]  # which a purge blanks
    changed = tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in files)
    return _asked(workspace.project, manifest.name, context if context in CONTEXTS else None, changed)


@lru_cache(maxsize=8)
def _asked(project: Path, name: str, context: str | None, _changed: tuple[int, ...]) -> Asked:
    workspace = Workspace(project)
    folder = workspace.artifact("evaluations", name)
    predictions, passages = read_predictions(folder / "predictions.jsonl"), read_passages(folder)
    manifest = workspace.find("evaluations", name)
    examples = {each.id: each for each in examples_of(workspace, manifest)}
    there = [each for each in predictions if context in (None, each.context)]
    compared: Any = compare_questions(there, passages, [*examples.values()])
    order = {each["id"]: each for each in compared["questions"]}
    by: dict[str, list[Prediction]] = {}
    for prediction in sorted(predictions, key=lambda each: each.seed):
        by.setdefault(prediction.id, []).append(prediction)
    ids = dict.fromkeys([*order, *by])
    return Asked(tuple(_question(by[id_], order.get(id_, {}), examples.get(id_)) for id_ in ids), passages)


def _question(predictions: list[Prediction], compared: Mapping[str, Any], example: Example | None) -> dict[str, Any]:
    first = predictions[0]
    arms: dict[str, dict[str, Any]] = {}
    for each in predictions:  # of several seeds the first
        arms.setdefault(each.arm, {}).setdefault(each.context, _answer(each))
    return {
        "id": first.id,
        "question": first.question,
        "history": [{"role": turn.role, "content": turn.content} for turn in first.history],
        "references": list(first.references),
        "kind": first.kind,
        "stratum": first.stratum,
        "rank": next((each.rank for each in example.candidates if each.oracle), None) if example else None,
        "evidence": [asdict(each) for each in example.evidence] if example else [],
        "outcome": compared.get("outcome"),
        "change": compared.get("change"),
        "arms": arms,
    }


def _answer(prediction: Prediction) -> dict[str, Any]:
    right = exact_match(prediction.answer, prediction.references) if not prediction.abstained else not prediction.references
    return {
        "answer": prediction.answer,
        "raw": prediction.raw,
        "f1": round(question_score(prediction), 4),
        "exact": float(right),
        "abstained": prediction.abstained,
        "withheld": prediction.withheld,
        "finished": prediction.finished,
        "quotes": [asdict(each) for each in prediction.quotes],
        "passages": list(prediction.passages),
    }


def chosen(
    found: Asked,
    *,
    context: str | None = None,
    arm: str | None = None,
    kind: str | None = None,
    query: str = "",
) -> list[Mapping[str, Any]]:
    """The questions that fit: asked in a context, of an arm, of a kind, with a text in question, references or answers."""
    low = query.casefold()
    return [
        each
        for each in found.questions
        if (kind is None or each["kind"] == kind)
        and (arm is None or arm in each["arms"])
        and (context is None or any(context in answers for name, answers in each["arms"].items() if arm in (None, name)))
        and (not low or _holds(each, low))
    ]


def narrowed(question: Mapping[str, Any], context: str | None, arm: str | None) -> dict[str, Any]:
    """A question with the answers of an arm, in a context, alone."""
    arms = {
        name: {at: answer for at, answer in answers.items() if context in (None, at)}
        for name, answers in question["arms"].items()
        if arm in (None, name)
    }
    return {**question, "arms": {name: answers for name, answers in arms.items() if answers}}


def shown(found: Asked, questions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The passages of some questions, by id; ``start`` is where the text begins in its document, ``spans`` where each part of it does."""
    ids = {id_ for each in questions for answers in each["arms"].values() for answer in answers.values() for id_ in answer["passages"]}
    return {id_: _passage(found.passages[id_]) for id_ in sorted(ids) if id_ in found.passages}


def _passage(passage: Passage) -> dict[str, Any]:
    return {
        "document": passage.document,
        "title": passage.title,
        "prefix": passage.prefix,
        "text": passage.text,
        "start": passage.spans[0].start if passage.spans else 0,
        "spans": [{"start": each.start, "end": each.end} for each in passage.spans],
    }


def _holds(question: Mapping[str, Any], low: str) -> bool:
    texts = [question["id"], question["question"], *question["references"]]
    texts += [answer["raw"] for answers in question["arms"].values() for answer in answers.values()]
    return any(low in text.casefold() for text in texts)


def _model(name: str, kind: str, base: str, **more: Any) -> dict[str, Any]:
    unknown: dict[str, Any] = {"created": None, "seconds": None, "figures": {}, "settings": {}, "dataset": None}
    return {"name": name, "kind": kind, "base": base, "served": False, "servable": False, "unfinished": False, **unknown, **more}


def _tuned(workspace: Workspace, manifest: Manifest, served: str) -> dict[str, Any]:
    try:
        servable = find_tuned(workspace, manifest.name).name == manifest.name
    except ProjectError:  # tuned for a control, or on another prompt
        servable = False
    return _model(
        manifest.name,
        "hosted" if manifest.settings.get("hosted") else "tuned",
        str(manifest.settings.get("model", {}).get("base", "")),
        served=manifest.name == served,
        servable=servable,
        created=manifest.created,
        seconds=manifest.seconds,
        figures=dict(manifest.figures),
        settings=dict(manifest.settings),
        dataset=manifest.inputs.get("dataset"),
    )


def _unfinished(workspace: Workspace) -> list[Path]:
    """What a training that goes on or was stopped wrote, the newest first."""
    found = [path for path in (workspace.folder / "models").glob("*/metrics.jsonl") if not (path.parent / "manifest.json").is_file()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _evaluation(manifest: Manifest) -> dict[str, Any]:
    named = manifest.figures.get("named")
    difference = named["difference"] if named else None
    return {
        "name": manifest.name,
        "created": manifest.created,
        "model": manifest.inputs.get("model_names", {}).get("tuned"),
        "split": manifest.settings.get("split"),
        "questions": manifest.figures.get("questions", 0),
        "decision": manifest.figures.get("sentence", ""),
        "verdict": manifest.figures.get("decision", "undecided"),
        "effect": {part: difference[part] for part in ("value", "low", "high")} if difference else None,
        "test_readings": manifest.figures.get("test_readings"),
    }
