"""One answer's tokens as pieces of text, up to the texts that end it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragtune.stop import Until

_INCOMPLETE = "\ufffd"


class Words:
    """The text of an answer while it is written.

    Args:
        decode: ids to their text.
        stop: texts before which the answer ends.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str]) -> None:
        self._decode = decode
        self._until = Until(stop)
        self._ids: list[int] = []
        self._given = ""
        self._ended = False
        self.text = ""
        """What was shown."""

    @property
    def stopped(self) -> bool:
        """Whether a stop text was met."""
        return self._until.stopped

    @property
    def ended(self) -> bool:
        """Whether the answer ended by itself or at a stop text, and not at a limit."""
        return self._ended or self.stopped

    def take(self, token: int | None) -> str:
        """What can be shown once this token is there; a character of several tokens when it is whole. ``None`` is the end."""
        if token is None:
            self._ended = True
            return ""
        self._ids.append(token)
        text = self._decode(self._ids)
        return "" if text.endswith(_INCOMPLETE) or not text.startswith(self._given) else self._show(text)

    def rest(self) -> str:
        """What is left to show when nothing more comes."""
        shown = self._show(self._decode(self._ids))
        if self.stopped:
            return shown
        rest = self._until.rest()
        self.text += rest
        return shown + rest

    def _show(self, text: str) -> str:
        fresh, self._given = text[len(self._given) :], text
        shown = self._until.take(fresh)
        self.text += shown
        return shown
