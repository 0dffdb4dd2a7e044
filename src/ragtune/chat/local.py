"""A chat model over the local engine: the one that evaluated the model also talks."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ragtune.protocols import Engine
from ragtune.types import GREEDY, Generation, Message, Passage, Reply, Sampling, Usage


class LocalChat:
    """A base model with one adapter, or none. It costs nothing.

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
        schema: Mapping[str, Any] | None = None,  # noqa: ARG002 - holding it to one takes an extra: the prompt asks for it, and it is checked
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Reply:
        """A whole answer."""
        if temperature:
            *_, reply = self.stream(messages, max_tokens=max_tokens, sampling=Sampling(temperature, seed=seed))
            assert isinstance(reply, Reply)  # noqa: S101 - for the type checker: the last of a stream is its reply
            return reply
        ((_, written),) = self._engine.generate([messages], adapter=self._adapter, max_new_tokens=max_tokens)
        return self._reply(written)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        quotable: Sequence[Passage] | None = None,
        max_tokens: int = 512,
        sampling: Sampling = GREEDY,
    ) -> Iterator[str | Reply]:
        """Pieces of an answer as they are written."""
        pieces = self._engine.stream(messages, quotable=quotable, adapter=self._adapter, max_new_tokens=max_tokens, sampling=sampling)
        try:
            for piece in pieces:
                yield piece if isinstance(piece, str) else self._reply(piece)
        finally:
            if isinstance(pieces, Generator):
                pieces.close()  # who stops listening frees the engine's row

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
