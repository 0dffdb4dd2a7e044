"""A chat model over the local engine: the one that evaluated the model also talks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ragtune.protocols import Engine
from ragtune.types import Generation, Message, Passage, Reply, Usage


class LocalChat:
    """A base model with one adapter, or none. It is greedy, so temperature and seed change nothing, and costs nothing.

    Args:
        engine: shared by every chat over the same base.
        name: shown to people, ``local:...``.
        adapter: folder of the adapter; ``None`` is the plain base.
    """

    def __init__(self, engine: Engine, name: str, adapter: Path | None = None) -> None:
        self._engine = engine
        self._adapter = adapter
        self.name = name

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        schema: Mapping[str, Any] | None = None,  # noqa: ARG002 - the engine writes freely
        temperature: float = 0.0,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
    ) -> Reply:
        """A whole greedy answer."""
        ((_, written),) = self._engine.generate([messages], adapter=self._adapter, max_new_tokens=max_tokens)
        return self._reply(written)

    def stream(
        self, messages: Sequence[Message], *, quotable: Sequence[Passage] | None = None, max_tokens: int = 512
    ) -> Iterator[str | Reply]:
        """Pieces of a greedy answer as they are written."""
        for piece in self._engine.stream(messages, quotable=quotable, adapter=self._adapter, max_new_tokens=max_tokens):
            yield piece if isinstance(piece, str) else self._reply(piece)

    def _reply(self, written: Generation) -> Reply:
        usage = Usage(written.prompt_tokens, written.completion_tokens)
        return Reply(
            written.text,
            usage,
            written.finished,
            self.name,
            written.seconds,
            0.0,
            abstain_logodds=written.abstain_logodds,
            logprob=written.logprob,
        )
