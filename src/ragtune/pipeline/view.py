"""What a dataset teaches: its figures, and a page of its examples as the model sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragtune import build
from ragtune.config import Settings
from ragtune.dataset.page import ViewedGroup, render_view
from ragtune.dataset.statistics import Statistics, measure
from ragtune.dataset.store import Dataset, read_dataset
from ragtune.dataset.tokens import see
from ragtune.errors import ProjectError
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.contexts import split_groups
from ragtune.pipeline.records import ViewResult
from ragtune.pipeline.train import recipe_of, sample_training
from ragtune.prompts import build_messages, encode_completion, encode_prompt
from ragtune.types import ContextGroup, Example
from ragtune.workspace import Manifest, Workspace, now, write_bytes

VIEW = "view.html"
MEASURED = 200
"""Contexts whose tokens are counted."""
SPLITS = ("train", "validation", "test")


def dataset_statistics(workspace: Workspace, settings: Settings, name: str | None, epoch: int) -> Statistics:
    """The figures of a dataset; of a hosted base model, whose tokens only its vendor knows, without lengths.

    Raises:
        ProjectError: there is no such dataset.
    """
    source = workspace.find("datasets", name)
    data = read_dataset(workspace.artifact("datasets", source.name))
    tokenizer = None if is_hosted(settings.model.base) else build.tokenizer(settings)
    return _measure(data, source, settings, epoch, split_groups(data, source, settings, "train", epoch), tokenizer)


def view_dataset(
    workspace: Workspace,
    settings: Settings,
    name: str | None,
    *,
    split: str = "train",
    question: str | None = None,
    limit: int = 20,
    epoch: int = 0,
    output: Path | None = None,
) -> ViewResult:
    """Write a page of a dataset's examples, token by token, with its figures.

    Args:
        workspace: with a dataset.
        settings: model and train are read.
        name: of the dataset; ``None`` takes the newest.
        split: whose examples; training contexts are those of the epoch, others are as retrieved.
        question: only the context of this one, of whatever split.
        limit: contexts shown.
        epoch: from 0.
        output: the file; ``None`` is ``view.html`` in the dataset's folder.

    Raises:
        ProjectError: there is no such dataset, split or question, or the base model is hosted.
    """
    if is_hosted(settings.model.base):
        raise ProjectError(f"how {settings.model.base} is shown tokens only its vendor knows: add --set model.base=smollm2-135m-instruct")
    source = workspace.find("datasets", name)
    folder = workspace.artifact("datasets", source.name)
    data = read_dataset(folder)
    examples = {example.id: example for example in (*data.train, *data.validation, *data.test)}
    if question is not None:
        if question not in examples:
            raise ProjectError(f"dataset {source.name} has no example {question!r}; some that it has: {', '.join(list(examples)[:5])}")
        split = examples[question].split
    if split not in SPLITS:
        raise ProjectError(f"there is no split {split!r}: use {', '.join(SPLITS)}")
    groups = split_groups(data, source, settings, split, epoch)
    chosen = [group for group in groups if question in (None, *(branch.id for branch in group.branches))][:limit]
    if not chosen:
        raise ProjectError(f"{_why_empty(data, settings, split, question, epoch)}: there is nothing to show")
    tokenizer = build.tokenizer(settings)
    viewed = [ViewedGroup(see(tokenizer, group), group, examples) for group in chosen]
    trained = groups if split == "train" else split_groups(data, source, settings, "train", epoch)
    statistics = _measure(data, source, settings, epoch, trained, tokenizer)
    created = now()[:16].replace("T", " ") + " UTC"
    page = render_view(statistics, viewed, created, split=split, total=len(groups), model=settings.model.base)
    path = output or folder / VIEW
    write_bytes(path, page.encode())
    return ViewResult(source.name, str(path), sum(len(group.branches) for group in chosen), len(chosen))


def _why_empty(data: Dataset, settings: Settings, split: str, question: str | None, epoch: int) -> str:
    if question is None:
        return f"the {split} split is empty"
    if split == "train" and question not in {example.id for example in sample_training(data.train, settings)}:
        count = f"train.max_answers = {settings.train.max_answers}"
        return (
            f"{question} is not among the training questions that {count} samples: add --set train.max_answers={len(data.train)} to see it"
        )
    return f"{question} is left out of epoch {epoch}, as train.absent is drop"


def _measure(data: Dataset, source: Manifest, settings: Settings, epoch: int, groups: Sequence[ContextGroup], tokenizer: Any) -> Statistics:
    """Figures of a dataset whose training contexts are ``groups``."""
    splits: Mapping[str, Sequence[Example]] = {
        "train": sample_training(data.train, settings),
        "validation": data.validation,
        "test": data.test,
    }
    return measure(
        source.name,
        splits,
        groups,
        epoch=epoch,
        p=source.figures["p_oracle"],
        k=int(source.settings["retrieve"]["k"]),
        recipe=recipe_of(settings),
        tokens=_token_counts(groups, tokenizer) if tokenizer is not None else {},
    )


def _token_counts(groups: Sequence[ContextGroup], tokenizer: Any) -> dict[str, list[int]]:
    """Lengths of the parts of contexts that are spread over the epoch."""
    counts: dict[str, list[int]] = {"context": [], "question": [], "answer": []}
    every = max(1, len(groups) // MEASURED)
    for group in groups[::every][:MEASURED]:
        branch = group.branches[0]
        prompt = encode_prompt(tokenizer, build_messages(branch.question, group.passages, history=branch.history))
        counts["context"].append(len(prompt.context))
        counts["question"].append(len(prompt.branch))
        counts["answer"].append(len(encode_completion(tokenizer, branch.completion)))
    return counts
