"""The contexts of a dataset's splits: in training as an epoch draws them, in validation and test as they are served."""

from __future__ import annotations

from collections.abc import Sequence

from ragtune.config import Settings
from ragtune.dataset.raft import evaluation_context
from ragtune.dataset.store import Dataset
from ragtune.pipeline.train import sample_training, training_groups
from ragtune.types import Branch, ContextGroup, Example
from ragtune.workspace import Manifest


def split_groups(data: Dataset, source: Manifest, settings: Settings, split: str, epoch: int) -> Sequence[ContextGroup]:
    """Of ``train`` those that the settings train on; of the others each question's own."""
    if split == "train":
        return training_groups(data, sample_training(data.train, settings), settings, source)(epoch)
    k = int(source.settings["retrieve"]["k"])
    return [_served_group(data, example, k) for example in (data.validation if split == "validation" else data.test)]


def _served_group(data: Dataset, example: Example, k: int) -> ContextGroup:
    """A question of any split alone with its top k as retrieved, and what would be learnt were the evidence there."""
    shown = evaluation_context(example, "retrieved", k).passages or ()
    branch = Branch(example.id, example.question, example.completion, example.history)
    return ContextGroup(tuple(data.passages[id_] for id_ in shown), (branch,))
