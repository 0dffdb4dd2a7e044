"""Tune a hosted base model on a dataset: export, check, estimate, confirm, submit, follow. A killed run goes on and pays once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ragtune import build
from ragtune.config import Settings
from ragtune.dataset.export import export_openai, export_vertex
from ragtune.dataset.store import read_dataset
from ragtune.errors import TrainError, TuningJobError
from ragtune.hosted.providers import split_name
from ragtune.models.hosted import find_hosted, warn
from ragtune.pipeline.consent import Confirm, agree
from ragtune.pipeline.records import ModelResult, TuningPlan
from ragtune.pipeline.train import (
    check_trained,
    claim,
    read_settings,
    recipe_key,
    sample_training,
    training_groups,
    validation_groups,
)
from ragtune.progress import Progress
from ragtune.prompts import PROMPT_VERSION
from ragtune.train import jobs
from ragtune.train.rules import OPENAI, VERTEX, check_file
from ragtune.workspace import Manifest, Workspace, hash_file, library_versions, now, stage_key, write_manifest

VERSION = 1
_SHOWN = 5
"""Problems of a file that an error names."""


@dataclass(frozen=True, slots=True)
class _Work:
    """A model that is to be made: its name and folder, what it is made from, and the files that its vendor gets."""

    name: str
    key: str
    base: str
    output: Path
    source: Manifest
    read: dict[str, Any]
    questions: int
    training: Path
    validation: Path | None
    plan: TuningPlan


def train_hosted(
    workspace: Workspace,
    settings: Settings,
    dataset: str | None,
    name: str | None,
    progress: Progress,
    *,
    without_context: bool = False,
    yes: bool = False,
    confirm: Confirm | None = None,
) -> ModelResult:
    """Tune, or go on following a job, or give what an equal run made.

    Args:
        workspace: with a dataset.
        settings: ``model.base`` is ``provider:model``.
        dataset: its name; ``None`` takes the newest.
        name: of the model; ``None`` makes one from its inputs.
        progress: told what goes on.
        without_context: train the ``dsf`` control.
        yes: start the job, whatever it costs.
        confirm: told what the job will cost, where ``yes`` was not said. A job that was agreed to is not asked about again.

    Raises:
        ProjectError: there is no dataset, or the name belongs to a model of other inputs.
        TrainError: the dataset cannot be trained on.
        ConsentError: nobody agreed to what the job costs.
        TuningJobError: the job was not taken, failed or cancelled.
        ChatError: the vendor does not answer, or refuses the key.
    """
    settings = hosted_settings(settings)
    source = workspace.find("datasets", dataset)
    key, _ = hosted_key(workspace, settings, source, without_context)
    found = workspace.find_key("models", key)
    if found is not None and name in (None, found.name):
        progress.note(f"train: unchanged, model {found.name} is as these inputs make it")
        return ModelResult(found.name, str(workspace.artifact("models", found.name)), False, found.figures)
    work = _prepare(workspace, settings, source, name, without_context)
    if work.plan.problems:
        more = f" (and {len(work.plan.problems) - _SHOWN} more)" if len(work.plan.problems) > _SHOWN else ""
        raise TuningJobError(f"{work.base} would not be tuned on this: {'; '.join(work.plan.problems[:_SHOWN])}{more}")
    record = jobs.read_record(work.output)
    service = build.tuning_service(workspace, settings, work.base)
    if record is None or record.end in ("failed", "cancelled"):
        plan = "\n".join([*work.plan.warnings, work.plan.sentence])
        agree(plan, yes=yes or work.plan.dollars == 0, confirm=confirm, progress=progress)
        estimate = {"examples": work.plan.examples, "tokens": work.plan.tokens, "dollars": work.plan.dollars}
        record = jobs.write_record(work.output, jobs.new_record(work.base, estimate, record))
    elif record.job is not None:
        progress.note(f"train: going on with job {record.job} of {work.base}")
    poll_s, retries = settings.tuning.poll_seconds, settings.chat.retries
    record = jobs.submit(
        service,
        work.output,
        record,
        work.training,
        work.validation,
        suffix=settings.tuning.suffix,
        seed=settings.train.seed,
        pause_s=poll_s,
        retries=retries,
    )
    record = jobs.follow(service, work.output, record, poll_s=poll_s, retries=retries, progress=progress)
    return _finish(work, record, progress)


def plan_hosted(
    workspace: Workspace, settings: Settings, dataset: str | None, name: str | None, *, without_context: bool = False
) -> TuningPlan:
    """Export and check the files and say what a job would cost, without asking its vendor for anything."""
    settings = hosted_settings(settings)
    source = workspace.find("datasets", dataset)
    found = workspace.find_key("models", hosted_key(workspace, settings, source, without_context)[0])
    if found is not None and name in (None, found.name):
        return _plan_made(found, workspace.artifact("models", found.name))
    return _prepare(workspace, settings, source, name, without_context).plan


def _plan_made(found: Manifest, folder: Path) -> TuningPlan:
    """Of a finished model: what was sent, and that nothing will be."""
    validation = folder / "validation.jsonl"
    watched = len(validation.read_text(encoding="utf-8").splitlines()) if validation.is_file() else 0
    return TuningPlan(
        base=str(found.settings["model"]["base"]),
        training=str(folder / "training.jsonl"),
        examples=int(found.figures["answers"]),
        validation_examples=watched,
        tokens=int(found.figures["estimate"]["tokens"]),
        dollars=0.0,
        made=found.name,
    )


def hosted_settings(settings: Settings) -> Settings:
    """Settings as a hosted job takes them: Gemini on Vertex AI, epochs of [tuning], each question in a context of its own."""
    provider, model = split_name(settings.model.base)
    if provider.name == "gemini":
        settings = build.with_base(settings, f"vertex:{model}")
    train = {"epochs": settings.tuning.epochs or settings.train.epochs, "shared_contexts": False}
    return settings.model_copy(update={"train": settings.train.model_copy(update=train)})


def hosted_key(workspace: Workspace, settings: Settings, source: Manifest, without_context: bool) -> tuple[str, dict[str, Any]]:
    """A model's key and the settings that went into it; those that a vendor does not read, such as the rank, change no key."""
    folder = workspace.artifact("datasets", source.name)
    read = {
        "train": read_settings(settings),
        "model": build.model_part(settings),
        "without_context": without_context,
        "prompt": PROMPT_VERSION,
        "k": source.settings["retrieve"]["k"],
    }
    parts = {part: read["train"][part] for part in ("epochs", "seed", "max_answers")}
    keyed = {**read, "train": {**parts, **recipe_key(settings)}, "model": settings.model.base}
    inputs = {
        **{part: hash_file(folder / f"{part}.jsonl") for part in ("train", "validation", "passages")},
        "p": source.figures["p_oracle"],
    }
    return stage_key("train-hosted", VERSION, keyed, inputs), read


def _prepare(workspace: Workspace, settings: Settings, source: Manifest, name: str | None, without_context: bool) -> _Work:
    key, read = hosted_key(workspace, settings, source, without_context)
    name = name or ("dsf-" if without_context else "tuned-") + key[:8]
    output = claim(workspace, name, key)
    data = read_dataset(workspace.artifact("datasets", source.name))
    examples = sample_training(data.train, settings)
    if not examples:
        raise TrainError("the dataset has no question that can be trained on: questions need evidence that stands in the documents")
    vertex = split_name(settings.model.base)[0].name == "vertex"
    export, rules = (export_vertex, VERTEX) if vertex else (export_openai, OPENAI)
    groups = training_groups(data, examples, settings, source, without_context=without_context)
    check_trained(groups, settings)
    training, validation = output / "training.jsonl", output / "validation.jsonl"
    # One file of all epochs, trained on once, as each epoch draws contexts of its own.
    export([group for epoch in range(settings.train.epochs) for group in groups(epoch)], training)
    watched = export(validation_groups(data, source, settings, without_context), validation)
    checks = check_file(training, rules), check_file(validation, rules, training=False)
    base = settings.model.base
    plan = TuningPlan(
        base=base,
        training=str(training),
        examples=checks[0].examples,
        validation_examples=watched,
        tokens=checks[0].tokens,
        dollars=_dollars(settings, base, checks[0].tokens),
        warnings=tuple(warn(base, datetime.now(UTC).date(), tune=True)),
        problems=(*checks[0].problems, *checks[1].problems),
    )
    return _Work(name, key, base, output, source, read, len(examples), training, validation if watched else None, plan)


def _dollars(settings: Settings, base: str, tokens: int | None) -> float | None:
    known = find_hosted(base)
    price = settings.tuning.price if settings.tuning.price is not None else known.training_price if known else None
    return None if price is None or tokens is None else tokens * price / 1e6


def _finish(work: _Work, record: jobs.TuningRecord, progress: Progress) -> ModelResult:
    if record.end == "failed":
        raise TuningJobError(f"{work.base}: job {record.job} failed: {record.reason}. Mend that and run it again for a new job")
    if record.end == "cancelled":
        raise TuningJobError(f"{work.base}: job {record.job} was cancelled: run it again for a new job")
    if not record.model:
        raise TuningJobError(f"{work.base}: job {record.job} {record.status} without a model: look at the vendor for why")
    hosted = f"{split_name(work.base)[0].name}:{record.model}"
    loss, validation_loss = jobs.last_losses(work.output)
    figures: dict[str, Any] = {
        "train_loss": loss,
        "validation_loss": validation_loss,
        "questions": work.questions,
        "answers": work.plan.examples,
        "trained_tokens": record.trained_tokens,
        "estimate": dict(record.estimate),
        "hosted": hosted,
    }
    seconds = round(time.time() - datetime.fromisoformat(record.created).timestamp(), 3)
    inputs = {"dataset": work.source.name, "dataset_key": work.source.key, "base": f"hosted:{work.base}"}
    settings = {**work.read, "hosted": hosted, "job": record.job}
    manifest = Manifest("models", work.name, work.key, inputs, settings, figures, now(), seconds, library_versions(), "hosted")
    write_manifest(work.output, manifest)
    progress.finish("train", f"{record.trained_tokens or work.plan.tokens:,} tokens, {seconds:.0f} s: model {work.name} is {hosted}")
    return ModelResult(work.name, str(work.output), True, figures)
