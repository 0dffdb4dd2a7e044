"""The parts of an evaluation: all its questions with the models that answer them, or a fold's with the model of that fold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ragtune.config import Settings
from ragtune.dataset.audit import NEAR, TRAINED, nearest_questions, trained_evidence
from ragtune.dataset.store import Dataset, read_dataset
from ragtune.errors import EvaluationError
from ragtune.pipeline.arms import Contest, check_unseen, set_up_folds
from ragtune.pipeline.cells import sample_questions
from ragtune.pipeline.folds import Fold, make_folds, plan_folds, train_fold
from ragtune.pipeline.records import FoldsPlan
from ragtune.progress import Progress
from ragtune.types import Arm, Example
from ragtune.workspace import Manifest, Workspace


@dataclass(frozen=True, slots=True)
class Part:
    """Questions that the same models are asked: all of them, or a fold's. Its models may have yet to be trained."""

    data: Dataset
    examples: list[Example]
    models: Callable[[], Mapping[Arm, Manifest]]


def plan(workspace: Workspace, settings: Settings, model: str | None, dataset: str | None, folds: int) -> FoldsPlan:
    """What a cross-fitted evaluation would train; nothing is trained."""
    contest = set_up_folds(workspace, settings, model, dataset)
    data = read_dataset(workspace.artifact("datasets", contest.source.name))
    made = make_folds(workspace, contest.settings, contest.source, data, folds, write=False)
    return plan_folds(workspace, contest.settings, contest.source, made)


def whole(workspace: Workspace, contest: Contest, data: Dataset, split: str) -> list[Part]:
    """One part: the questions of a split, or a seeded sample of them.

    Raises:
        EvaluationError: there are none, or a model was trained on one of them.
    """
    settings = contest.settings
    examples = sample_questions(data.test if split == "test" else data.validation, settings.evaluate.max_questions, settings.evaluate.seed)
    if not examples:
        raise EvaluationError(f"the {split} split of {contest.source.name} is empty: add questions, or change dataset.{split}_share")
    check_unseen(workspace, contest, examples)
    return [Part(data, examples, lambda: contest.models)]


def by_fold(workspace: Workspace, contest: Contest, data: Dataset, folds: int, progress: Progress) -> list[Part]:
    """A part for each fold; what is still to be trained is told, and trained when its models are asked for."""
    settings, source = contest.settings, contest.source
    made = make_folds(workspace, settings, source, data, folds)
    progress.note(plan_folds(workspace, settings, source, made).words)
    every = [example for fold in made for example in fold.data.test]
    kept = {example.id for example in sample_questions(every, settings.evaluate.max_questions, settings.evaluate.seed)}

    def models(fold: Fold, number: int) -> Callable[[], Mapping[Arm, Manifest]]:
        return lambda: {"tuned": train_fold(workspace, settings, source, fold, number, folds, progress)}

    return [
        Part(fold.data, [example for example in fold.data.test if example.id in kept], models(fold, number))
        for number, fold in enumerate(made)
    ]


def known_questions(parts: Sequence[Part]) -> tuple[set[str], set[str]]:
    """Ids of the questions that resemble a training question of their part, and of those whose evidence its training answers quote."""
    near: set[str] = set()
    trained: set[str] = set()
    for part in parts:
        near |= {each.test for each in nearest_questions(part.data.train, part.examples) if each.similarity >= NEAR}
        trained |= {id_ for id_, share in trained_evidence(part.data.train, part.examples).items() if share >= TRAINED}
    return near, trained


def shared_out(settings: Settings, parts: int) -> Settings:
    """The settings of one part, of which samples are a part's share."""
    of = settings.evaluate
    shares = {"control_questions": math.ceil(of.control_questions / parts), "robustness": math.ceil(of.robustness / parts)}
    return settings.model_copy(update={"evaluate": of.model_copy(update=shares)})
