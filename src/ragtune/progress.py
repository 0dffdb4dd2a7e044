"""What a stage tells while it works; the command line draws it, a notebook may, a library call stays silent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol


class Progress(Protocol):
    """Told by stages; every stage starts, updates any number of times, and ends."""

    def start(self, stage: str, total: float | None = None) -> None:
        """A stage begins; ``total`` in units of work, ``None`` where it is not known."""

    def update(self, stage: str, done: float, detail: str = "", left: float | None = None) -> None:
        """``done`` units are behind, ``left`` seconds ahead where the stage knows better than its rate; ``detail`` is a short live text."""

    def finish(self, stage: str, message: str) -> None:
        """The stage ended; ``message`` says what it made."""

    def note(self, message: str) -> None:
        """Something that the user should know."""


_MEASURED_S = 5.0
"""Seconds of work that a rate is taken from: what is done in batches is told in bursts, in which a rate would be nonsense."""


class Pace:
    """How fast stages go, each counted from the first that is told of it: one that goes on from an earlier sitting has work done."""

    def __init__(self) -> None:
        self._began: dict[str, tuple[float, float]] = {}

    def start(self, stage: str) -> None:
        """A stage begins."""
        self._began.pop(stage, None)

    def left(self, stage: str, done: float, total: float | None) -> float | None:
        """The seconds that what is left of a stage takes; ``None`` where that is not known yet."""
        now = time.monotonic()
        began, before = self._began.setdefault(stage, (now, done))
        if not total or done <= before or now - began < _MEASURED_S:
            return None
        return (now - began) / (done - before) * (total - done)


def counted(number: int, what: str, several: str = "") -> str:
    """``1 file``, ``2 files``; ``several`` where that is not the word with an s."""
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


class Silent:
    """Says nothing."""

    def start(self, stage: str, total: float | None = None) -> None:
        """Say nothing."""

    def update(self, stage: str, done: float, detail: str = "", left: float | None = None) -> None:
        """Say nothing."""

    def finish(self, stage: str, message: str) -> None:
        """Say nothing."""

    def note(self, message: str) -> None:
        """Say nothing."""
