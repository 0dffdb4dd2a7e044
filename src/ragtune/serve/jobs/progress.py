"""What a stage tells, written as events: a rate that a page can follow, the time left, and each step of a training."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ragtune.progress import Pace
from ragtune.serve.jobs.records import Event
from ragtune.workspace import Workspace

_EVERY_S = 1.0
Write = Callable[[str, Mapping[str, Any]], None]


class EventProgress:
    """Writes events of what it is told.

    Args:
        write: given an event's type and values.
        rows: asked for new steps of a training, whenever there is progress.
    """

    def __init__(self, write: Write, rows: TrainingRows) -> None:
        self._write = write
        self._rows = rows
        self._totals: dict[str, float | None] = {}
        self._pace = Pace()
        self._told: dict[str, float] = {}

    def start(self, stage: str, total: float | None = None) -> None:
        """A stage begins."""
        self._totals[stage] = total
        self._pace.start(stage)
        self._told.pop(stage, None)
        self._write("stage", {"stage": stage, "step": "started", "done": 0, "total": total})

    def update(self, stage: str, done: float, detail: str = "", left: float | None = None) -> None:
        """Now and then, and at the end."""
        if stage == "train":
            self._tell_rows()
        now = time.monotonic()
        total = self._totals.get(stage)
        pace = self._pace.left(stage, done, total)
        if now - self._told.get(stage, -_EVERY_S) < _EVERY_S and done != total:
            return
        self._told[stage] = now
        left = pace if left is None else left
        left = None if left is None else round(left, 1)
        self._write("progress", {"stage": stage, "done": done, "total": total, "message": detail, "seconds_left": left})

    def finish(self, stage: str, message: str) -> None:
        """A stage ended."""
        if stage == "train":
            self._tell_rows()
        self._write("stage", {"stage": stage, "step": "finished", "message": message})

    def note(self, message: str) -> None:
        """Something to know."""
        self._write("note", {"message": message})

    def _tell_rows(self) -> None:
        for row in self._rows.new():
            self._write("metrics", {**row, "steps": self._totals.get("train")})


class TrainingRows:
    """New lines of the metrics.jsonl of the model that is being trained.

    Args:
        workspace: in which this process alone trains.
        told: the steps that were told in an earlier sitting, by model.
    """

    def __init__(self, workspace: Workspace, told: Mapping[str, int]) -> None:
        self._models = workspace.folder / "models"
        self._since = time.time()
        self._told = dict(told)
        self._file: Path | None = None
        self._place = 0

    def new(self) -> list[Event]:
        """Rows that were not told yet."""
        found = self._newest()
        if found is None:
            return []
        if found != self._file:
            self._file, self._place = found, 0
        with found.open("rb") as file:
            file.seek(self._place)
            *lines, _unfinished = file.read().split(b"\n")
        self._place += sum(len(line) + 1 for line in lines)
        model = found.parent.name
        rows = [row for row in map(json.loads, lines) if row.get("step", 0) > self._told.get(model, 0)]
        if rows:
            self._told[model] = rows[-1]["step"]
        return [{"model": model, **metric_row(row)} for row in rows]

    def _newest(self) -> Path | None:
        if self._file is not None and not (self._file.parent / "manifest.json").exists():
            return self._file
        written = [(path.stat().st_mtime, path) for path in self._models.glob("*/metrics.jsonl")]
        return max((each for each in written if each[0] >= self._since - 1), default=(0.0, self._file))[1]


def metric_row(row: Mapping[str, Any]) -> Event:
    """A line of metrics.jsonl as the API names its values."""
    names = {"learning_rate": "rate", "answers_per_s": "answers_per_second"}
    return {names.get(name, name): value for name, value in row.items()}


class EventHandler(logging.Handler):
    """Passes on warnings of libraries and of ragtune."""

    def __init__(self, write: Write) -> None:
        super().__init__(logging.WARNING)
        self._tell = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write an event."""
        self._tell("log", {"level": record.levelname.lower(), "message": record.getMessage()})
