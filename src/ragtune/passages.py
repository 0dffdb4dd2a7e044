"""Chunks to what the model is shown."""

from __future__ import annotations

from ragtune.types import Chunk, Passage, Span


def to_passage(chunk: Chunk) -> Passage:
    """A chunk under its heading line, as the model is shown it."""
    span = Span(chunk.document, chunk.start, chunk.end)
    return Passage(chunk.id, chunk.document, chunk.title, chunk.prefix, chunk.text, (span,), (chunk.id,))
