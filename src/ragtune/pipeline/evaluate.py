"""Ask every arm the held-out questions in every context, score the answers, and write the report."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ragtune import build
from ragtune.config import Settings
from ragtune.dataset.store import Dataset, read_dataset
from ragtune.errors import EvaluationError, ProjectError
from ragtune.evaluate.abstention import PRECISIONS, threshold_metrics
from ragtune.evaluate.contamination import contamination, contamination_words
from ragtune.evaluate.forgetting import GENERAL, ForgettingCell, forgetting
from ragtune.evaluate.html import render_html
from ragtune.evaluate.report import Report, ThresholdCell
from ragtune.evaluate.report_json import read_report_json, write_report_json
from ragtune.evaluate.robustness import robustness
from ragtune.evaluate.score import score
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.answerers import adapter_of, device
from ragtune.pipeline.arms import Contest, set_up, set_up_folds
from ragtune.pipeline.cells import CONTROLS, plan_cells
from ragtune.pipeline.confidence import Calibration, make_gate
from ragtune.pipeline.consent import Confirm, agree_to
from ragtune.pipeline.evaluation_page import PAGE, page_meta
from ragtune.pipeline.judge import Judged, check_judge, judge, judge_key
from ragtune.pipeline.parts import Part, by_fold, known_questions, shared_out, whole
from ragtune.pipeline.predict import bills, calibrate_arms, predict
from ragtune.pipeline.readings import count_reading
from ragtune.pipeline.records import EvaluationResult
from ragtune.pipeline.robustness import changed_cells, changed_lines, predict_changed
from ragtune.pipeline.rules import evaluation_key
from ragtune.progress import Progress, listed
from ragtune.prompts import PROMPT_VERSION
from ragtune.types import Arm, Example, Message, Prediction
from ragtune.workspace import (
    Manifest,
    Workspace,
    hash_file,
    library_versions,
    now,
    read_manifest,
    stage_key,
    write_bytes,
    write_manifest,
)

ALL = "all"
"""Stands for the split of an evaluation whose folds are asked every question of a dataset."""
_FEW, _SELDOM = 5, 0.5
"""Questions without their evidence, and the share of them, below which abstaining is said to be seldom."""
_READ_AS = 1
"""The version in the key of a reading, which a new way to score does not change: the same answers are no new reading."""


def evaluate(
    workspace: Workspace,
    settings: Settings,
    model: str | None,
    name: str | None,
    split: str,
    progress: Progress,
    *,
    other: str | None = None,
    dataset: str | None = None,
    folds: int | None = None,
    yes: bool = False,
    confirm: Confirm | None = None,
) -> EvaluationResult:
    """Evaluate, go on with an interrupted evaluation, or give what equal inputs made.

    Args:
        workspace: with a tuned model.
        settings: evaluate and generate are read; the dataset's own settings decide what is shown.
        model: the tuned model's name, or the folder of a PEFT adapter; ``None`` takes the newest that was tuned with context.
        name: of the evaluation; ``None`` makes one from the key.
        split: ``test``, of which each reading is counted, or ``validation``.
        progress: told what goes on.
        other: a second model or adapter of the same base, as the arm ``other``.
        dataset: whose questions are asked; ``None`` takes those of the model's own.
        folds: ask all questions of the dataset, those of each of so many folds of a model that is trained without their documents.
        yes: spend what hosted models and a judge cost, up to ``chat.max_cost``.
        confirm: asked before money is spent, where ``yes`` was not said.

    Raises:
        EvaluationError: the split is empty or unknown, none of its questions can be asked, or there is no hosted model for an arm.
        ConsentError: it costs money and nobody agreed to it.
    """
    started = time.monotonic()
    if split not in ("test", "validation"):
        raise EvaluationError(f"there is no split {split!r} to evaluate on: use test or validation")
    if folds and other:
        raise EvaluationError("each fold has a model of its own: leave out the second --model")
    contest = set_up_folds(workspace, settings, model, dataset) if folds else set_up(workspace, settings, model, other, dataset, progress)
    settings, source = contest.settings, contest.source
    folder = workspace.artifact("datasets", source.name)
    key, read, inputs = _key(contest, folder, split, folds)
    found = workspace.find_key("evaluations", key)
    newest = workspace.find("datasets", None)
    if dataset is None and newest.name != source.name:
        progress.note(
            f"asked are the questions of {source.name}, with which the model was made; {newest.name} is newer: 'ragtune train' tunes "
            f"on it, and  '--dataset {newest.name}' asks its questions of a model that was not"
        )
    if found is not None and name in (None, found.name):
        progress.note(f"evaluate: unchanged, {found.name} is as these inputs make it")
        return load_evaluation(workspace, found.name, made=False)
    name = name or f"{'folds' if folds else split}-{key[:8]}"
    output = workspace.artifact("evaluations", name)
    if read_manifest(output) is not None:
        raise ProjectError(f"an evaluation named {name} exists and was made from other inputs: choose another --name")
    check_judge(workspace, settings)
    data = read_dataset(folder)
    parts = by_fold(workspace, contest, data, folds, progress) if folds else whole(workspace, contest, data, split)
    examples = [example for part in parts for example in part.examples]
    k = int(source.settings["retrieve"]["k"])
    share = shared_out(settings, len(parts))
    cells = [plan_cells(part.data, part.examples, share, k) for part in parts]
    if not any(cells):
        raise EvaluationError(
            f"none of these questions has evidence that was found, without which there is no context {listed(settings.evaluate.contexts)}: "
            "add retrieved to evaluate.contexts"
        )
    changed = [changed_cells(part.data, part.examples, share, k) for part in parts]
    again = [cell for changes in changed for own in changes.values() for cell in own]
    cost = list(bills(workspace, settings, [cell for own in cells for cell in own], contest.models, data.passages, ungraded=again))
    agree_to(cost, settings, yes=yes, confirm=confirm, progress=progress)
    readings = 0 if split == "validation" else count_reading(workspace, examples, stage_key("evaluate", _READ_AS, read, inputs))
    models = [part.models() for part in parts]  # all trained before the first is asked
    predictions: list[Prediction] = []
    otherwise: dict[str, list[Prediction]] = {}
    calibrations: dict[Arm, Calibration] = {}
    for who, own, changes in zip(models, cells, changed, strict=True):
        calibrations |= calibrate_arms(workspace, settings, who, progress)
        gates = {arm: make_gate(settings, calibration, who[arm].name) for arm, calibration in calibrations.items()}
        predictions += predict(workspace, settings, own, who, progress, data.passages, gates=gates)
        for change, answers in predict_changed(workspace, settings, changes, who, progress, data.passages, gates).items():
            otherwise.setdefault(change, []).extend(answers)
    report = _report(contest, parts, predictions, otherwise, readings, split, folds)
    report = replace(
        report,
        notes=(*report.notes, *_not_withheld(settings, models[0], calibrations)),
        forgetting=() if folds else _forgetting(workspace, settings, contest.models),
        thresholds=tuple(_thresholds(predictions, calibrations, settings.evaluate.seed)),
    )
    judged = judge(workspace, settings, predictions, data.passages, progress)
    if judged is not None:
        report = replace(report, judge=judged.report)
    seconds = time.monotonic() - started
    manifest = Manifest(
        "evaluations", name, key, inputs, read, _figures(report), now(), round(seconds, 3), library_versions(), device(settings)
    )
    if otherwise:
        write_bytes(output / "robustness.jsonl", changed_lines(otherwise).encode())
    _write(output, manifest, report, predictions, data, examples, workspace, judged, otherwise)
    progress.finish("evaluate", f"{len(predictions)} answers by {len(report.arms)} arms, {seconds:.0f} s: {name}")
    return EvaluationResult(name, str(output), True, report)


def _report(
    contest: Contest,
    parts: Sequence[Part],
    predictions: Sequence[Prediction],
    otherwise: Mapping[str, Sequence[Prediction]],
    readings: int,
    split: str,
    folds: int | None,
) -> Report:
    """Every figure but those that models or judges must be asked for anew."""
    settings, source, data = contest.settings, contest.source, parts[0].data
    seed, k = settings.evaluate.seed, int(source.settings["retrieve"]["k"])
    examples = [example for part in parts for example in part.examples]
    retrieved = {
        example.id: [data.passages[candidate.passage].spans for candidate in example.candidates] for example in examples if example.evidence
    }
    report = score(predictions, examples, retrieved, data.passages, cuts=sorted({1, 3, 5, k, 10}), test_readings=readings, seed=seed)
    # Of folds each question is in the test split of one.
    full = sum(len(part.data.validation if split == "validation" else part.data.test) for part in parts)
    known = contamination(predictions, *known_questions(parts), seed=seed)
    return replace(
        report,
        notes=(
            *report.notes,
            *_never_abstains(report),
            *_notes(settings, source, full, examples, split, folds),
            *filter(None, [contamination_words(known)]),
        ),
        contamination=known,
        models={**report.models, "tuned": f"{folds} folds"} if folds and "tuned" in report.models else report.models,
        unasked=_unasked(source),
        robustness=robustness(predictions, otherwise, seed=seed),
    )


def _never_abstains(report: Report) -> Iterator[str]:
    """A tuned model that answers whatever it is shown."""
    for cell in report.abstention:
        recall = cell.metrics.get("recall")
        if cell.arm == "tuned" and cell.context == "retrieved" and recall is not None and recall.n >= _FEW and recall.value < _SELDOM:
            yield (
                f"The tuned model abstained on {recall.value:.0%} of the {recall.n} questions whose evidence it was not shown. Set "
                "generate.precision to withhold answers that are not sure enough: the report's section Abstention says what that does."
            )


def load_evaluation(workspace: Workspace, name: str | None, *, made: bool = False) -> EvaluationResult:
    """A finished evaluation."""
    manifest = workspace.find("evaluations", name)
    folder = workspace.artifact("evaluations", manifest.name)
    return EvaluationResult(manifest.name, str(folder), made, read_report_json(folder / "report.json"))


def _thresholds(predictions: Sequence[Prediction], calibrations: Mapping[Arm, Calibration], seed: int) -> Iterator[ThresholdCell]:
    """What thresholds that were chosen on validation do to these questions."""
    for arm, calibration in calibrations.items():
        served = [each for each in predictions if each.arm == arm and each.context == "retrieved"]
        for wanted in PRECISIONS:
            chosen = calibration.threshold(wanted)
            if chosen is not None and served:
                coverage, precision = threshold_metrics(served, chosen.logodds, seed=seed)
                yield ThresholdCell(arm, wanted, chosen.precision, chosen.logodds, coverage, precision)


def _not_withheld(settings: Settings, models: Mapping[Arm, Manifest], calibrations: Mapping[Arm, Calibration]) -> Iterator[str]:
    """That a precision is set and some arm answers all the same, as nothing tells how sure it is."""
    free = [arm for arm in models if arm not in calibrations]
    if settings.generate.precision is not None and free:
        yield (
            f"generate.precision = {settings.generate.precision:g} withheld no answer of {' and '.join(free)}: only models that were tuned "
            "here with passages are calibrated, on 20 validation questions or more, and no models of folds."
        )


def _forgetting(workspace: Workspace, settings: Settings, models: Mapping[Arm, Manifest]) -> tuple[ForgettingCell, ...]:
    """How likely general answers are to the base and to each model made of it; servers do not tell."""
    if is_hosted(settings.model.base):
        return ()
    pairs = [([Message("user", question)], answer) for question, answer in GENERAL]
    engine = build.engine(settings)
    adapters: dict[Arm, Path | None] = {"base": None}
    adapters |= {arm: adapter_of(workspace, manifest) for arm, manifest in models.items()}
    return forgetting({arm: engine.nll(pairs, adapter=adapter) for arm, adapter in adapters.items()}, seed=settings.evaluate.seed)


def _write(
    output: Path,
    manifest: Manifest,
    report: Report,
    predictions: Sequence[Prediction],
    data: Dataset,
    examples: Sequence[Example],
    workspace: Workspace,
    judged: Judged | None,
    otherwise: Mapping[str, Sequence[Prediction]],
) -> None:
    if judged is not None:
        write_bytes(output / "grades.jsonl", judged.lines().encode())
    write_bytes(output / "predictions.jsonl", "".join(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in predictions).encode())
    used = sorted({id_ for own in (predictions, *otherwise.values()) for prediction in own for id_ in prediction.passages})
    write_bytes(
        output / "passages.jsonl", "".join(json.dumps(asdict(data.passages[id_]), ensure_ascii=False) + "\n" for id_ in used).encode()
    )
    write_report_json(report, output / "report.json")
    page = render_html(
        report,
        predictions,
        {id_: data.passages[id_] for id_ in used},
        examples,
        page_meta(workspace, manifest),
        gradings=judged.gradings if judged is not None else (),
    )
    write_bytes(output / PAGE, page.encode())
    write_manifest(output, manifest)


def _key(contest: Contest, folder: Path, split: str, folds: int | None) -> tuple[str, dict[str, Any], dict[str, Any]]:
    settings, source, models = contest.settings, contest.source, contest.models
    read = {
        # An evaluation without what was not asked for stays what it is.
        "evaluate": settings.evaluate.model_dump(mode="json", exclude=None if settings.evaluate.robustness else {"robustness"}),
        "generate": settings.generate.model_dump(mode="json", exclude={"precision"} if settings.generate.precision is None else None),
        "model": build.model_part(settings),
        "prompt": PROMPT_VERSION,
        "k": source.settings["retrieve"]["k"],
        "split": ALL if folds else split,
        **({"folds": folds, "train": settings.train.model_dump(mode="json")} if folds else {}),
        **judge_key(settings),
        **({"thinking": settings.chat.thinking} if is_hosted(settings.model.base) else {}),
    }
    inputs = {
        "dataset": source.name,
        "questions": [hash_file(folder / f"{part}.jsonl") for part in ("test", "validation")]
        if folds
        else hash_file(folder / f"{split}.jsonl"),
        "train": hash_file(folder / "train.jsonl"),
        "passages": hash_file(folder / "passages.jsonl"),
        "models": {arm: manifest.key for arm, manifest in models.items()},
        "model_names": {arm: manifest.name for arm, manifest in models.items()},
        "corpus": source.inputs["corpus"],
        **({"base": build.model_fingerprint(settings)} if folds or not models else {}),  # else it is in the models' keys
    }
    return evaluation_key(read, inputs), read, inputs


def _notes(settings: Settings, source: Manifest, full: int, examples: Sequence[Example], split: str, folds: int | None) -> Iterator[str]:
    if folds:
        unit = source.figures.get("groups", {}).get("unit", "document")
        yield (
            f"Cross-fitted: every question was asked of that one of {folds} models which was tuned without its {unit}. The figures are of "
            "tuning on this dataset, not of one model, and tuning settings that were chosen on its validation questions flatter them."
        )
        split = "dataset's"
    if split == "validation":
        yield "These are validation questions, on which choices are made: the figures flatter what was chosen. Only a test split is proof."
    if len(examples) < full:
        yield f"A sample of {len(examples)} of the {full} {split} questions was asked (evaluate.max_questions)."
    written = source.figures.get("synthesised", {})
    authors = sum(map(Counter, written.values()), Counter()) if folds else Counter(written.get(split, {}))
    for author, count in authors.items():
        whose = f"The {split} questions were" if count == full else f"{count} of the {full} {split} questions were"
        yield f"{whose} written by {author} from the documents: they say less than questions that people ask."
    for capability, count in _unasked(source).items():
        yield f"{count} questions were not asked, because their documents need {capability} to be read."
    if source.figures.get("stale"):
        yield (
            f"{source.figures['stale']} questions were left out, because their evidence was not found in the documents: "
            "the dataset's manifest lists them."
        )
    controls = [context for context in CONTROLS if context in settings.evaluate.contexts]
    if controls and len(examples) > settings.evaluate.control_questions:
        context = "is a control" if len(controls) == 1 else "are controls"
        yield f"{listed(controls)} {context}, asked on a sample of {settings.evaluate.control_questions} questions."


def _unasked(source: Manifest) -> dict[str, int]:
    """Questions of a dataset that never became examples, as their documents are not read, by the capability that it would take."""
    return dict(Counter(source.figures.get("unread", {}).values()))


def _figures(report: Report) -> dict[str, Any]:
    named = report.named
    return {
        "decision": report.decision,
        "sentence": report.sentence,
        "questions": report.questions,
        "test_readings": report.test_readings,
        "named": asdict(named) if named else None,
        "closed_book": asdict(report.closed_book) if report.closed_book else None,
    }
