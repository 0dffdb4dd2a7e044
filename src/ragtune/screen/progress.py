"""What goes on: bars with the time left, and waiting."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Collection, Iterator
from datetime import timedelta

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from ragtune.progress import Pace
from ragtune.screen import console

_EVERY_S = 20.0
_LONG_S, _SILENT_S = 2.0, 5.0
"""From when on a terminal, and a log, is told what is waited for."""


class _TimeLeft(ProgressColumn):
    """Nothing where it is not known."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        left = task.fields["left"]
        return Text("" if left is None else f"{timedelta(seconds=round(left))} left", style="progress.remaining")


class LiveProgress:
    """Draws bars with the time left on a terminal; elsewhere writes a line now and then.

    Args:
        shown: stages whose result the command prints itself, so that they end without a line.
    """

    def __init__(self, shown: Collection[str] = ()) -> None:
        self._shown = shown
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, float | None] = {}
        self._pace = Pace()
        self._said: dict[str, float] = {}

    def start(self, stage: str, total: float | None = None) -> None:
        """Draw a bar."""
        self._said[stage] = time.monotonic()
        self._pace.start(stage)
        self._totals[stage] = total
        if not console.err.is_terminal:
            return
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description:<10}"),
                BarColumn(bar_width=28),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                _TimeLeft(),
                TextColumn("[dim]{task.fields[detail]}"),
                console=console.err,
                transient=True,
            )
            self._bars.start()
            atexit.register(self._bars.stop)  # an error or Ctrl-C must not leave the cursor hidden
        self._tasks[stage] = self._bars.add_task(stage, total=total, detail="", left=None)

    def update(self, stage: str, done: float, detail: str = "", left: float | None = None) -> None:
        """Move a bar."""
        pace = self._pace.left(stage, done, self._totals.get(stage))
        left = pace if left is None else left
        if self._bars is not None and stage in self._tasks:
            self._bars.update(self._tasks[stage], completed=done, detail=detail, left=left)
        elif stage in self._said and time.monotonic() - self._said[stage] > _EVERY_S:
            self._said[stage] = time.monotonic()
            total = self._totals[stage]
            ahead = "" if left is None else f", {left:.0f} s left"
            console.err.print(
                f"  {stage}: {done:g}{f' of {total:g}' if total else ''}{ahead}{f' ({detail})' if detail else ''}",
                markup=False,
                soft_wrap=True,
            )

    def finish(self, stage: str, message: str) -> None:
        """Replace a bar by a line."""
        if self._bars is not None and stage in self._tasks:
            self._bars.remove_task(self._tasks.pop(stage))
            if not self._tasks:
                self._bars.stop()
                self._bars = None
        if stage not in self._shown:
            console.err.print(Text.assemble(("✓ ", "green"), (f"{stage:<10}", "bold"), " ", message), soft_wrap=True)

    def note(self, message: str) -> None:
        """Write a line."""
        console.err.print(Text.assemble(("· ", "yellow"), message), soft_wrap=True)


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Tell what is going on, where it goes on for long: a terminal for as long as it does, a log once."""
    status = console.err.status(f"{what} …")
    if console.err.is_terminal:
        timer = threading.Timer(_LONG_S, status.start)
    else:
        timer = threading.Timer(_SILENT_S, console.err.print, [f"  {what} …"])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()
