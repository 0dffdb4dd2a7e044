"""A chat model over the local engine: the one that evaluated the model also talks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ragtune.protocols import Engine
from ragtune.types import Message, Passage


class LocalChat:
    """A base model with one adapter, or none.

    Args:
        engine: shared by every chat over the same base.
        name: shown to people, ``local:...``.
        adapter: folder of the adapter; ``None`` is the plain base.
    """

    def __init__(self, engine: Engine, name: str, adapter: Path | None = None) -> None:
        self._engine = engine
        self._adapter = adapter
        self.name = name

    def stream(self, messages: Sequence[Message], *, quotable: Sequence[Passage] | None = None, max_tokens: int = 256) -> Iterator[str]:
        """Pieces of a greedy answer as they are written."""
        return self._engine.stream(messages, quotable=quotable, adapter=self._adapter, max_new_tokens=max_tokens)
