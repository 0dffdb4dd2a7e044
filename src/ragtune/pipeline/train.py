"""Tune the base model on a dataset: an adapter with its manifest, resumed where a killed run left it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from ragtune import build
from ragtune.config import Settings
from ragtune.dataset.draws import draw
from ragtune.dataset.recipe import SERVED, Recipe
from ragtune.dataset.shared import epoch_groups, served_contexts
from ragtune.dataset.store import Dataset, read_dataset
from ragtune.errors import ProjectError, TrainError
from ragtune.evaluate.answers import f1
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.consent import Confirm
from ragtune.pipeline.records import ModelResult, TrainingPlan
from ragtune.progress import Progress, counted
from ragtune.prompts import PROMPT_VERSION, build_completion, build_messages, parse_answer
from ragtune.protocols import CHECKPOINT, REHEARSED
from ragtune.train.schedule import validations
from ragtune.types import Branch, ContextGroup, Example, TrainResult
from ragtune.workspace import Manifest, Workspace, hash_file, library_versions, now, read_manifest, stage_key, write_json, write_manifest

VERSION = 1
_FIRST = {
    "rank", "alpha", "dropout", "learning_rate", "warmup", "epochs", "answers_per_step", "shared_contexts", "seed", "max_answers",
    "rehearsal",
}  # fmt: skip
"""Settings that are in every key."""
_WITHOUT_EFFECT = {"gradient_checkpointing", "watch_questions"}
"""Settings that change no weight."""
HIGH_FOR_FULL = 2e-4
"""A learning rate above which a whole model is likely to forget what it knew."""
VALIDATION_CONTEXTS = 40
"""Validation contexts whose loss is watched; more cost time and change little."""


FEW = 100
"""Training questions below which little is learnt: of the quotes of a small model that was tuned on 25, one in seven held the evidence."""


def train(
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
    """Train, or go on training, or give what an equal run made.

    Of a hosted base, what its vendor's job costs must be agreed to: by ``yes``, or by ``confirm`` when it is told.

    Raises:
        ProjectError: there is no dataset, or the name belongs to a model of other inputs.
        TrainError: the dataset cannot be trained on, or training diverged.
    """
    if is_hosted(settings.model.base):
        from ragtune.pipeline.train_hosted import train_hosted

        return train_hosted(workspace, settings, dataset, name, progress, without_context=without_context, yes=yes, confirm=confirm)
    source = workspace.find("datasets", dataset)
    folder = workspace.artifact("datasets", source.name)
    key, read = model_key(settings, source, folder, without_context)
    found = workspace.find_key("models", key)
    if found is not None and name in (None, found.name):
        _remove_checkpoint(workspace.artifact("models", found.name))
        progress.note(f"train: unchanged, model {found.name} is as these inputs make it")
        return ModelResult(found.name, str(workspace.artifact("models", found.name)), False, found.figures)
    name = name or _default_name(key, without_context)
    trainer = build.trainer(settings)
    output = claim(workspace, name, key)
    data = read_dataset(folder)
    examples = sample_training(data.train, settings)
    if not examples:
        raise TrainError("the dataset has no question that can be trained on: questions need evidence that stands in the documents")
    if len(data.train) >= FEW:  # else the dataset's note said it
        tell_of_few(len(examples), progress)
    if settings.train.method == "full" and settings.train.learning_rate > HIGH_FOR_FULL:
        progress.note(f"train.learning_rate = {settings.train.learning_rate:g} is meant for adapters: whole models take 1e-5 to 1e-4")
    groups = training_groups(data, examples, settings, source, without_context=without_context)
    check_trained(groups, settings)
    watch = watcher(data, source, settings, without_context)
    held_out = validation_groups(data, source, settings, without_context)
    result = trainer.train(groups, held_out, output, _live(progress), watch, _preparing(progress))
    figures: dict[str, Any] = {
        "train_loss": result.train_loss,
        "validation_loss": result.validation_loss,
        "questions": len(examples),
        "answers": result.answers,
        "steps": result.steps,
        "answers_per_second": result.answers / result.seconds if result.seconds else None,
        "tokens": result.tokens,
        "seconds": result.seconds,
        "predicted_seconds": result.predicted_seconds,
        "peak_memory": result.peak_memory,
        "predicted_memory": result.predicted_memory,
        "dtype": result.dtype,
        "backend": settings.train.backend,
    }
    if result.best_step is not None:
        figures["best_step"] = result.best_step
    inputs = {"dataset": source.name, "dataset_key": source.key, "base": build.model_fingerprint(settings)}
    write_manifest(
        output,
        Manifest("models", name, key, inputs, read, figures, now(), round(result.seconds, 3), library_versions(), result.device),
    )
    _remove_checkpoint(output)
    progress.finish("train", f"{_summary(result)}: model {name}")
    return ModelResult(name, str(output), True, figures)


def tell_of_few(questions: int, progress: Progress) -> None:
    """What to expect of few training questions, and what helps."""
    if questions < FEW:
        progress.note(
            f"{counted(questions, 'training question')}, and there should be {FEW} at least: expect a small model tuned on so few to "
            "quote the wrong place often; write more, or have a model write some with 'ragtune dataset --synthesise'"
        )


def plan_training(workspace: Workspace, settings: Settings, dataset: str | None, *, without_context: bool = False) -> TrainingPlan:
    """What :func:`train` would do and take; a few steps are timed, and nothing is kept.

    Raises:
        ProjectError: there is no dataset.
        TrainError: the dataset cannot be trained on.
    """
    source = workspace.find("datasets", dataset)
    folder = workspace.artifact("datasets", source.name)
    key = model_key(settings, source, folder, without_context)[0]
    found = workspace.find_key("models", key)
    data = read_dataset(folder)
    examples = sample_training(data.train, settings)
    groups = training_groups(data, examples, settings, source, without_context=without_context)
    trainer = build.trainer(settings)
    forecast = trainer.forecast(groups, validation_groups(data, source, settings, without_context))
    own_name = found.name if found else _default_name(key, without_context)
    has_texts = (workspace.artifact("models", own_name) / REHEARSED).is_file()
    watched = validations(settings.train.early_stopping) * settings.train.watch_questions * (forecast.seconds or 0.0) / forecast.answers
    return TrainingPlan(
        settings.model.base, source.name, settings.train.method, len(examples), settings.train.epochs, forecast, watched,
        found.name if found else None, trainer.rehearsal_seconds() if forecast.fits and not has_texts else 0.0,
    )  # fmt: skip


def _default_name(key: str, without_context: bool) -> str:
    return ("dsf-" if without_context else "tuned-") + key[:8]


def _summary(result: TrainResult) -> str:
    """What a run did and took, beside what was predicted."""
    loss = "" if result.validation_loss is None else f", validation loss {result.validation_loss:.3f}"
    foreseen = "" if result.predicted_seconds is None else f" (predicted {result.predicted_seconds:.0f})"
    memory = ""
    if result.peak_memory is not None and result.predicted_memory is not None:
        memory = f", {result.peak_memory / 1e9:.1f} GB at the peak (predicted {result.predicted_memory / 1e9:.1f})"
    kept = "" if result.best_step is None else f" at step {result.best_step}, whose weights are kept"
    losses = f"loss {result.train_loss:.3f}{loss}{kept}"
    return f"{result.answers} answers in {result.steps} steps, {result.seconds:.0f} s{foreseen}, {losses}{memory}"


def watcher(data: Dataset, source: Manifest, settings: Settings, without_context: bool) -> Callable[[Any, Any], float] | None:
    """From a model that is being trained to the mean F1 of its answers to a few validation questions; ``None`` where none are wanted."""
    answerable = {example.id: example.answers for example in data.validation if example.answers}
    groups = [group for group in validation_groups(data, source, settings, without_context) if group.branches[0].id in answerable]
    asked = groups[: settings.train.watch_questions]
    if not asked:
        return None
    prompts = [build_messages(group.branches[0].question, group.passages, history=group.branches[0].history) for group in asked]
    quotable = [group.passages or () for group in asked] if settings.generate.constrained_quotes else None

    def watch(model: Any, tokenizer: Any) -> float:
        written = build.engine_over(model, tokenizer).generate(
            prompts, quotable=quotable, max_new_tokens=settings.generate.max_new_tokens, batch_size=settings.generate.batch_size
        )
        parsed = ((parse_answer(generation.text), answerable[asked[index].branches[0].id]) for index, generation in written)
        return statistics.fmean(0.0 if answer.abstained else f1(answer.answer, references) for answer, references in parsed)

    return watch


def has_tuned(workspace: Workspace) -> bool:
    """Whether any model was tuned to answer from passages, were it on another prompt: controls answer nobody."""
    return not all(manifest.settings.get("without_context") for manifest in workspace.manifests("models"))


def find_tuned(workspace: Workspace, name: str | None) -> Manifest:
    """A model that was tuned to answer from passages, by name, or the newest.

    Raises:
        ProjectError: there is none, or it was tuned on another prompt than this ragtune would show it, or without passages.
    """
    if name is None:
        fitting = [manifest for manifest in workspace.manifests("models") if not _unfit(manifest)]
        if fitting:
            return fitting[-1]
    manifest = workspace.find("models", name)
    reason = _unfit(manifest)
    if reason:
        raise ProjectError(f"model {manifest.name} {reason}")
    return manifest


def _unfit(manifest: Manifest) -> str | None:
    if manifest.settings.get("without_context"):
        return "was tuned without passages, as a control for evaluations: run 'ragtune train' for one that answers from them"
    if manifest.settings.get("prompt") != PROMPT_VERSION:
        version = manifest.settings.get("prompt")
        return f"was tuned on prompts of version {version}, and this ragtune writes version {PROMPT_VERSION}: run 'ragtune train'"
    return None


def model_key(settings: Settings, source: Manifest, folder: Path, without_context: bool) -> tuple[str, dict[str, Any]]:
    """A model's key and the settings that went into it: equal bytes to train on and equal settings make an equal model."""
    read = {
        "train": read_settings(settings),
        "model": build.model_part(settings),
        "without_context": without_context,
        "prompt": PROMPT_VERSION,
        "k": source.settings["retrieve"]["k"],
    }
    inputs = {
        **{part: hash_file(folder / f"{part}.jsonl") for part in ("train", "validation", "passages")},
        "p": source.figures["p_oracle"],
        "base": build.model_fingerprint(settings),
    }
    return stage_key("train", VERSION, read, inputs), read


def read_settings(settings: Settings) -> dict[str, Any]:
    """The training settings that decide the weights; of those that came later only what is not the default, so that older keys stand."""
    own = settings.train
    chosen = own.model_dump(mode="json", include=_FIRST) | own.model_dump(mode="json", exclude=_FIRST, exclude_defaults=True)
    return {name: value for name, value in chosen.items() if name not in _WITHOUT_EFFECT}


def sample_training(examples: Sequence[Example], settings: Settings) -> list[Example]:
    """The training questions, or the seeded sample of them that ``train.max_answers`` allows."""
    limit = settings.train.max_answers
    if limit is None or limit >= len(examples):
        return list(examples)
    chosen = sorted(examples, key=lambda example: draw(settings.train.seed, "sample", example.id))[:limit]
    kept = {example.id for example in chosen}
    return [example for example in examples if example.id in kept]


def training_groups(
    data: Dataset, examples: Sequence[Example], settings: Settings, source: Manifest, *, without_context: bool = False
) -> Callable[[int], Sequence[ContextGroup]]:
    """From an epoch, counted from 0, to the context groups that are trained in it."""

    def groups(epoch: int) -> Sequence[ContextGroup]:
        if without_context:
            return _from_memory(examples, seed=settings.train.seed, epoch=epoch)
        return epoch_groups(
            examples,
            data.passages,
            epoch=epoch,
            total_epochs=settings.train.epochs,
            seed=settings.train.seed,
            p=source.figures["p_oracle"],
            k=source.settings["retrieve"]["k"],
            shared=settings.train.shared_contexts,
            recipe=recipe_of(settings),
        )

    return groups


def recipe_of(settings: Settings) -> Recipe:
    """What training contexts are made of."""
    train = settings.train
    return Recipe(
        distractors=train.distractors,
        count=train.distractor_count,
        ranks=train.distractor_ranks,
        order=train.order,
        false_negatives=train.false_negatives,
        absent=train.absent,
        answer=train.answer,
    )


def recipe_key(settings: Settings) -> dict[str, Any]:
    """What of the recipe is not as served: part of a model's key, which a served recipe leaves as it was before there was a choice."""
    return {name: value for name, value in asdict(recipe_of(settings)).items() if value != getattr(SERVED, name)}


def check_trained(groups: Callable[[int], Sequence[ContextGroup]], settings: Settings) -> None:
    """Refuse a run that a recipe leaves nothing of.

    Raises:
        TrainError: no question is trained in the first epoch.
    """
    if settings.train.absent == "drop" and not groups(0):
        raise TrainError("train.absent = drop leaves no question to train on: raise dataset.p_oracle, or take abstain")


def _from_memory(examples: Sequence[Example], *, seed: int, epoch: int) -> list[ContextGroup]:
    """The ``dsf`` control: the same answerable questions and answers, without passages, so nothing to quote."""
    order = sorted((example for example in examples if example.answers), key=lambda example: draw("order", seed, epoch, example.id))
    return [ContextGroup(None, (Branch(e.id, e.question, build_completion(e.answers[0]), e.history),)) for e in order]


def validation_groups(data: Dataset, source: Manifest, settings: Settings, without_context: bool) -> list[ContextGroup]:
    """What the validation loss is measured on."""
    chosen = sorted(data.validation, key=lambda example: draw("validation", example.id))[:VALIDATION_CONTEXTS]
    if without_context:
        return _from_memory(chosen, seed=0, epoch=0)
    return served_contexts(chosen, data.passages, k=source.settings["retrieve"]["k"], recipe=recipe_of(settings))


def claim(workspace: Workspace, name: str, key: str, kind: Literal["models", "retrievers"] = "models") -> Path:
    """The folder of an unfinished model; what other inputs left in it is an error, what the same left is gone on with.

    A run that was refused before it began leaves its key alone, which is in nobody's way.
    """
    output = workspace.artifact(kind, name)
    if read_manifest(output) is not None:
        raise ProjectError(f"a {kind[:-1]} named {name} exists and was made from other inputs: choose another --name")
    claim = output / "key.json"
    others = claim.is_file() and key not in claim.read_text(encoding="utf-8")
    if others and any(path != claim for path in output.iterdir()):
        raise ProjectError(f"{output} holds an unfinished run of other inputs: choose another --name, or remove that folder")
    write_json(claim, {"key": key})
    return output


def _remove_checkpoint(folder: Path) -> None:
    """After the manifest, not before: a kill between the two leaves the file to the next run, which finds the model finished."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _live(progress: Progress) -> Callable[[dict[str, float]], None]:
    started = False

    def on_step(line: dict[str, float]) -> None:
        nonlocal started
        if not started:
            progress.start("train", line.get("steps"))
            started = True
        detail = f"loss {line['loss']:.3f} · {line['answers_per_s']:.1f} answers/s · epoch {line['epoch']:.0f}"
        progress.update("train", line["step"], detail, left=line.get("eta_s"))

    return on_step


_PREPARED = {
    "rehearsal": "the base wrote what is rehearsed against forgetting",
    "timing": "some steps were tried, to predict how long all take",
}


def _preparing(progress: Progress) -> Callable[[str, int, int], None]:
    def on_prepare(what: str, done: int, total: int) -> None:
        if done == 0:
            progress.start(what, total)
        progress.update(what, done)
        if done == total:
            progress.finish(what, _PREPARED[what])

    return on_prepare
