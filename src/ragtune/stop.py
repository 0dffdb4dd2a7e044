"""Texts that end an answer: a filter for streams, which never shows a part of one."""

from __future__ import annotations

from collections.abc import Sequence


class Until:
    """Lets text through until a stop text; holds back what may be the start of one.

    Args:
        stop: the texts; none lets everything through.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = stop
        self._held = ""
        self.stopped = False

    def take(self, piece: str) -> str:
        """What can be shown once this piece is there."""
        if self.stopped:
            return ""
        text = self._held + piece
        places = [place for word in self._stop if (place := text.find(word)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        held = max(
            (size for word in self._stop for size in range(1, min(len(word), len(text) + 1)) if text.endswith(word[:size])), default=0
        )
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """What was held back and no stop text came of."""
        held, self._held = self._held, ""
        return held
