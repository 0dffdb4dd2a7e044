"""What a stage tells while it works; the command line draws it, a notebook may, a library call stays silent."""

from __future__ import annotations

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
