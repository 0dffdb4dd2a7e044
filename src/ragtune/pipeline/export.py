"""A dataset as files for other trainers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from ragtune.config import Settings
from ragtune.dataset.columns import as_columns
from ragtune.dataset.export import export_openai, export_raft, export_trl, export_vertex, hub_rows
from ragtune.dataset.store import Dataset, read_dataset
from ragtune.errors import ProjectError
from ragtune.pipeline.contexts import split_groups
from ragtune.pipeline.records import ExportResult
from ragtune.pipeline.train import validation_groups
from ragtune.types import ContextGroup
from ragtune.workspace import Manifest, Workspace, write_new

ExportFormat = Literal["trl", "openai", "vertex", "raft", "huggingface"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
_CHATS = {"trl": export_trl, "openai": export_openai, "vertex": export_vertex}


def export_dataset(
    workspace: Workspace, settings: Settings, name: str | None, format_: str, output: Path, *, split: str = "train", epoch: int = 0
) -> ExportResult:
    """Write a dataset in the format of another trainer.

    Training questions stand in the contexts of one epoch, by the settings of training; validation questions in those that the loss is
    watched on. ``huggingface`` writes all splits into a folder, the test as it is retrieved.

    Args:
        workspace: with a dataset.
        settings: train is read.
        name: of the dataset; ``None`` takes the newest.
        format_: one of :data:`FORMATS`.
        output: a file, of ``huggingface`` a folder of them; none that holds something else is replaced.
        split: ``train`` or ``validation``.
        epoch: from 0; contexts are drawn anew in each.

    Raises:
        ProjectError: there is no such dataset, format or split, the split is empty, or another file is there.
    """
    if format_ not in FORMATS:
        raise ProjectError(f"there is no format {format_!r} to export: choose one of {', '.join(FORMATS)}")
    if split not in ("train", "validation"):
        raise ProjectError(f"{split!r} is no split to train on: export train or validation")
    if output.is_file() if format_ == "huggingface" else output.is_dir():
        wanted = "a folder is written" if format_ == "huggingface" else "a file is written"
        raise ProjectError(f"{output} is there already, and as {format_} {wanted}: choose another path")
    source = workspace.find("datasets", name)
    data = read_dataset(workspace.artifact("datasets", source.name))
    if format_ == "huggingface":
        return ExportResult(source.name, format_, str(output), _to_folder(data, settings, source, output, epoch))
    if split == "validation":
        groups: Sequence[ContextGroup] = validation_groups(data, source, settings, without_context=False)
    else:
        groups = split_groups(data, source, settings, split, epoch)
    if not groups:
        raise ProjectError(f"the {split} split of {source.name} has no question to export: add questions, or change its share")
    if format_ == "raft":
        written = export_raft(groups, [*data.train, *data.validation], data.passages, output)
    else:
        written = _CHATS[format_](groups, output)
    return ExportResult(source.name, format_, str(output), {split: written})


def _to_folder(data: Dataset, settings: Settings, source: Manifest, folder: Path, epoch: int) -> dict[str, int]:
    """``train.parquet`` and so on, which ``datasets.load_dataset`` knows by their names; an empty split has no file."""
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    rows = {
        split: list(hub_rows(groups, examples, data.fields))
        for split, examples in splits.items()
        if (groups := split_groups(data, source, settings, split, epoch))
    }
    write_new({folder / f"{split}.parquet": as_columns(own) for split, own in rows.items()})
    return {split: len(own) for split, own in rows.items()}
