"""Files of examples and what a hosted job needs around it, for the tests of tuning at a vendor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from made_groups import epoch_groups, group
from ragtune.dataset.export import export_openai, export_vertex
from ragtune.protocols import TuningService
from ragtune.train import jobs
from ragtune.types import ContextGroup

Export = Callable[[Sequence[ContextGroup], Path], int]


class Notes:
    """Progress that is kept."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.details: list[str] = []

    def start(self, stage: str, total: float | None = None) -> None:
        return

    def update(self, stage: str, done: float, detail: str = "") -> None:
        self.details.append(detail)

    def finish(self, stage: str, message: str) -> None:
        self.notes.append(message)

    def note(self, message: str) -> None:
        self.notes.append(message)


def examples(folder: Path, export: Export = export_openai) -> tuple[Path, Path]:
    """A file of 14 examples and one of two to watch."""
    training, validation = folder / "training.jsonl", folder / "validation.jsonl"
    export(epoch_groups(0), training)
    export([group(20), group(21)], validation)
    return training, validation


def submit(service: TuningService, folder: Path, record: jobs.TuningRecord, export: Export = export_openai) -> jobs.TuningRecord:
    training, validation = examples(folder, export)
    return jobs.submit(service, folder, record, training, validation, suffix="handbook", seed=7, pause_s=0.01, retries=0)


def follow(service: TuningService, folder: Path, record: jobs.TuningRecord, notes: Notes | None = None) -> jobs.TuningRecord:
    return jobs.follow(service, folder, record, poll_s=0.01, retries=0, progress=notes or Notes())


__all__ = ["Notes", "examples", "export_vertex", "follow", "submit"]
