"""Cross-fitting: a model for each fold, tuned on the questions of the other document groups, and what that will take.

Folds have a workspace of their own, so that none of their datasets or models is taken for the project's newest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ragtune import build
from ragtune.config import Settings
from ragtune.dataset.folds import fold_dataset, fold_of_groups
from ragtune.dataset.store import Dataset, write_dataset
from ragtune.errors import EvaluationError
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.answerers import adapter_of
from ragtune.pipeline.records import FoldsPlan
from ragtune.pipeline.train import model_key, sample_training, train
from ragtune.prepare import near_pairs
from ragtune.progress import Progress
from ragtune.workspace import Manifest, Workspace, library_versions, now, read_manifest, stage_key, write_manifest

FEWEST = 2


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold: its dataset, of which the test split is asked, and the dataset's manifest in the folds' workspace."""

    data: Dataset
    source: Manifest


def folds_workspace(workspace: Workspace, source: Manifest, folds: int) -> Workspace:
    """Where a dataset's folds lie."""
    return Workspace(workspace.folder / "folds" / f"{source.name}-{folds}")


def make_folds(workspace: Workspace, settings: Settings, source: Manifest, data: Dataset, folds: int, *, write: bool = True) -> list[Fold]:
    """The folds' datasets, written where they are not there yet, unless they are only looked at.

    Raises:
        EvaluationError: the base is hosted, or there are fewer groups of documents than folds.
    """
    if is_hosted(settings.model.base):
        raise EvaluationError(
            f"each fold of {settings.model.base} would be a tuning job of its own, which costs money and is not started here: leave out "
            "--folds, or tune a local model"
        )
    every = [*data.train, *data.validation, *data.test]
    groups = {example.group for example in every if example.evidence}
    if not FEWEST <= folds <= len(groups):
        raise EvaluationError(
            f"{folds} folds cannot be made of the {len(groups)} groups of documents in {source.name}: "
            + (f"say --folds with 2 to {len(groups)}" if len(groups) >= FEWEST else "add questions on other documents")
        )
    fold_of = fold_of_groups(every, folds, settings.evaluate.seed)
    whole = source.figures.get("groups", {}).get("unit") != "section"
    inner = folds_workspace(workspace, source, folds)
    alike = _alike(workspace, settings)
    return [
        _fold(inner, source, fold_dataset(data, fold_of, number, whole_documents=whole, alike=alike), number, fold_of, alike, write=write)
        for number in range(folds)
    ]


def plan_folds(workspace: Workspace, settings: Settings, source: Manifest, made: Sequence[Fold]) -> FoldsPlan:
    """How many trainings there are to do, of how many answers, and about how long they take."""
    inner = folds_workspace(workspace, source, len(made))
    todo = [fold for fold in made if not _trained(inner, settings, fold)]
    answers = sum(settings.train.epochs * len(sample_training(fold.data.train, settings)) for fold in todo)
    rate = next(_rates([*inner.manifests("models")[::-1], *workspace.manifests("models")[::-1]], settings), None)
    return FoldsPlan(source.name, len(made), len(made) - len(todo), answers, None if rate is None else answers / rate)


def train_fold(
    workspace: Workspace, settings: Settings, source: Manifest, fold: Fold, number: int, folds: int, progress: Progress
) -> Manifest:
    """The model of a fold, trained or found, as a model of the project that evaluations can ask."""
    inner = folds_workspace(workspace, source, folds)
    made = inner.find("models", train(inner, settings, fold.source.name, None, progress).name)
    elsewhere = {**made.settings, "adapter": str(adapter_of(inner, made))}
    return replace(made, name=f"fold {number + 1} of {folds} ({made.name})", settings=elsewhere)


def _trained(inner: Workspace, settings: Settings, fold: Fold) -> bool:
    folder = inner.artifact("datasets", fold.source.name)
    there = read_manifest(folder)
    if there is None or there.key != fold.source.key:
        return False
    return inner.find_key("models", model_key(settings, fold.source, folder, False)[0]) is not None


def _alike(workspace: Workspace, settings: Settings) -> list[tuple[str, str]]:
    """Documents that say nearly the same, while there is a corpus that tells."""
    if not workspace.corpus.is_file():
        return []
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        return near_pairs(corpus.documents(), settings.prepare.near_duplicates)


def _fold(
    inner: Workspace,
    source: Manifest,
    data: Dataset,
    number: int,
    fold_of: dict[str, int],
    alike: Sequence[tuple[str, str]],
    *,
    write: bool,
) -> Fold:
    name = f"fold-{number + 1}"
    folder = inner.artifact("datasets", name)
    key = stage_key("fold", 2, {"fold": number}, {"dataset": source.key, "groups": fold_of, "alike": sorted(alike)})
    manifest = read_manifest(folder)
    if manifest is None or manifest.key != key:
        figures = {"p_oracle": source.figures["p_oracle"], "questions": {"train": len(data.train), "test": len(data.test)}}
        inputs = {**source.inputs, "dataset": source.name}
        manifest = Manifest("datasets", name, key, inputs, source.settings, figures, now(), 0.0, library_versions())
        if write:
            write_dataset(folder, [*data.train, *data.validation, *data.test], data.passages, data.fields)
            write_manifest(folder, manifest)
    return Fold(data, manifest)


def _rates(models: Sequence[Manifest], settings: Settings) -> Iterator[float]:
    """Answers a second of earlier trainings of this base with passages, the newest first."""
    for model in models:
        rate = model.figures.get("answers_per_second")
        if rate and model.settings["model"]["base"] == settings.model.base and not model.settings.get("without_context"):
            yield float(rate)
