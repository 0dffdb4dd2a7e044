"""Which models an evaluation compares: tuned ones of the project, PEFT adapters from elsewhere, and the control without context."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ragtune import build
from ragtune.config import Settings, TrainSettings
from ragtune.conversation import search_text
from ragtune.dataset.store import read_dataset
from ragtune.errors import EvaluationError, ProjectError
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.train import find_tuned, train
from ragtune.pipeline.train_hosted import hosted_key
from ragtune.progress import Progress
from ragtune.types import Arm, Example
from ragtune.workspace import Manifest, Workspace, hash_file, stage_key

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Contest:
    """Who is asked what: settings with the base model, the dataset, and the models behind the arms asked that have weights of their own."""

    settings: Settings
    source: Manifest
    models: Mapping[Arm, Manifest]


def set_up(
    workspace: Workspace, settings: Settings, model: str | None, other: str | None, dataset: str | None, progress: Progress
) -> Contest:
    """Find the models and the dataset; train the control where it is wanted and not there.

    Args:
        workspace: with the models and datasets.
        settings: ``evaluate.arms`` says whether there is a control.
        model: the arm ``tuned``: a name, the folder of a PEFT adapter, or ``None`` for the newest that was tuned with context.
        other: the arm ``other``; ``None`` for none.
        dataset: whose questions are asked; ``None`` for the dataset that the model was tuned on, of an adapter from elsewhere the newest.
        progress: told what is trained.

    Raises:
        EvaluationError: the models have different bases, or the control cannot be had.
        ProjectError: there is no such model or dataset.
    """
    if "other" in settings.evaluate.arms and other is None:
        raise EvaluationError("the arm other is a second model: leave it out of evaluate.arms, and say --model twice")
    if other is not None and "tuned" not in settings.evaluate.arms:
        raise EvaluationError("of two models the first is the arm tuned: add it to evaluate.arms, or say --model once")
    tuned = find_model(workspace, settings, model, progress)
    settings = build.with_base_of(settings, tuned.settings["model"])
    models: dict[Arm, Manifest] = {"tuned": tuned}
    if other is not None:
        models["other"] = find_model(workspace, settings, other, progress)
        _same_base(tuned, models["other"])
        arms = tuple(arm for arm in settings.evaluate.arms if arm != "other")
        settings = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"arms": (*arms, "other")})})
    source = workspace.find("datasets", dataset or tuned.inputs.get("dataset"))
    if "dsf" in settings.evaluate.arms:
        if "adapter" in tuned.settings:
            raise EvaluationError("the arm dsf is tuned as the tuned model was, and how that was is not known of an adapter from elsewhere")
        # The control differs in its passages alone: it learns as much, as fast and from the same questions.
        alike = settings.model_copy(update={"train": _trained_with(tuned)})
        models["dsf"] = _control(workspace, alike, workspace.find("datasets", str(tuned.inputs["dataset"])), progress)
    return Contest(settings, source, {arm: manifest for arm, manifest in models.items() if arm in settings.evaluate.arms})


def set_up_folds(workspace: Workspace, settings: Settings, model: str | None, dataset: str | None) -> Contest:
    """The dataset that is parted, and settings to train each fold with: those of the model that the folds stand for, where one is named.

    Raises:
        EvaluationError: an arm is wanted that folds do not have, or not the one that they are for.
        ProjectError: there is no such model or dataset.
    """
    lacking = [arm for arm in settings.evaluate.arms if arm in ("dsf", "other")]
    if lacking:
        raise EvaluationError(f"folds have no arm {lacking[0]}: take it out of evaluate.arms")
    if "tuned" not in settings.evaluate.arms:
        raise EvaluationError("each fold has a tuned model of its own: add tuned to evaluate.arms, or leave out --folds")
    if model is not None:
        tuned = find_tuned(workspace, model)
        settings = build.with_base_of(settings, tuned.settings["model"])
        settings = settings.model_copy(update={"train": _trained_with(tuned)})
        dataset = dataset or str(tuned.inputs["dataset"])
    return Contest(settings, workspace.find("datasets", dataset), {})


def find_model(workspace: Workspace, settings: Settings, name: str | None, progress: Progress) -> Manifest:
    """A tuned model of the project, or an adapter from elsewhere as if it were one.

    Raises:
        ProjectError: there is neither, or the folder holds no adapter.
    """
    folder = Path(name) if name is not None else None
    known = any(each.name == name for each in workspace.manifests("models"))
    if folder is None or known or not (folder.is_dir() or folder.name != name):
        return find_tuned(workspace, name)
    if not (folder / _CONFIG).is_file() or not (folder / _WEIGHTS).is_file():
        raise ProjectError(f"{folder} holds no {_CONFIG} and {_WEIGHTS}: give the folder of a PEFT adapter, or the name of a model")
    base = settings.model.base
    if is_hosted(base):
        raise ProjectError(f"an adapter from a folder needs a local base model, and model.base is {base}: say --set model.base=MODEL")
    try:
        made_for = json.loads((folder / _CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise ProjectError(f"{folder / _CONFIG} is not the configuration of an adapter: {error}") from None
    progress.note(f"adapter {folder} was made for {made_for}, and is evaluated on {base}; what it was trained on is not known here")
    key = stage_key("adapter", 1, None, [hash_file(folder / _CONFIG), hash_file(folder / _WEIGHTS)])
    return Manifest("models", str(name), key, {}, {"model": build.model_part(settings), "adapter": str(folder.resolve())})


def _trained_with(tuned: Manifest) -> TrainSettings:
    """The settings that a model was trained with; what is not said is the default, but that there was a time before rehearsal."""
    return TrainSettings(**{"rehearsal": 0.0, **tuned.settings["train"]})


def check_unseen(workspace: Workspace, contest: Contest, examples: list[Example]) -> None:
    """No model may be asked what it was trained on: of another dataset's model that is not so by construction.

    Raises:
        EvaluationError: one would be.
    """
    for model in contest.models.values():
        own = model.inputs.get("dataset")
        if own is None or own == contest.source.name or not any(each.name == own for each in workspace.manifests("datasets")):
            continue
        known = {_asked(example) for example in read_dataset(workspace.artifact("datasets", own)).train}
        seen = [example.id for example in examples if _asked(example) in known]
        if seen:
            raise EvaluationError(
                f"{len(seen)} of the {len(examples)} questions of {contest.source.name} were training questions of model {model.name} "
                f"({', '.join(seen[:_NAMED])}{', …' if len(seen) > _NAMED else ''}): choose a --dataset whose questions no model has seen, "
                "such as one of questions with a fixed split"
            )


def _asked(example: Example) -> str:
    return search_text(example.question, example.history)


def _same_base(tuned: Manifest, other: Manifest) -> None:
    bases = [str(each.settings["model"]["base"]) for each in (tuned, other)]
    if bases[0] != bases[1]:
        raise EvaluationError(
            f"{tuned.name} was tuned from {bases[0]} and {other.name} from {bases[1]}, which one evaluation cannot hold: evaluate each, "
            f"then 'ragtune evaluate --model {tuned.name} --against {other.name}'"
        )
    if tuned.settings["model"].get("chat_template") != other.settings["model"].get("chat_template"):
        raise EvaluationError(
            f"{tuned.name} and {other.name} were tuned with different chat templates, and one evaluation writes prompts with one: evaluate "
            f"each, then 'ragtune evaluate --model {tuned.name} --against {other.name}'"
        )


def _control(workspace: Workspace, settings: Settings, source: Manifest, progress: Progress) -> Manifest:
    """The ``dsf`` control: trained here where it is not yet; of a hosted base only found, for its job is paid and to be asked about."""
    if not is_hosted(settings.model.base):
        return workspace.find("models", train(workspace, settings, source.name, None, progress, without_context=True).name)
    found = workspace.find_key("models", hosted_key(workspace, settings, source, without_context=True)[0])
    if found is None:
        raise EvaluationError(
            f"the arm dsf needs a tuning job of its own, which costs money and is not started here: run 'ragtune train --without-context "
            f"--dataset {source.name}' with the settings of the tuned model, or take dsf out of evaluate.arms"
        )
    return found
