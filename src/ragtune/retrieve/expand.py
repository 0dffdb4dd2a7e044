"""A chunk is found; more of its document is shown: its neighbours, or its section."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Literal

from ragtune.corpus import Corpus
from ragtune.passages import to_passage
from ragtune.protocols import Retriever
from ragtune.types import Chunk, Hit, Passage, Span

SECTION_CHUNKS = 5
"""Most chunks of a section that are shown together; a longer one is shown in parts of even length."""
_DOCUMENTS_KEPT = 256


class Expansion:
    """Chunks to passages of several chunks. A pure function of the chunk and its document, so that what is trained on is what is served.

    Args:
        corpus: of the chunks.
        mode: ``neighbours`` shows a chunk between the one before and the one after it, so two passages may share some of their text;
            ``section`` shows all chunks under the same heading, and every chunk is in just one passage.
    """

    def __init__(self, corpus: Corpus, mode: Literal["neighbours", "section"]) -> None:
        self._corpus = corpus
        self._mode = mode
        self._passages: dict[str, dict[str, Passage]] = {}

    def __call__(self, chunk: Chunk) -> Passage:
        """The passage that a chunk is shown in; a chunk that the corpus no longer holds, alone."""
        if chunk.document not in self._passages:
            if len(self._passages) >= _DOCUMENTS_KEPT:
                del self._passages[next(iter(self._passages))]
            chunks, text = self._corpus.chunks_of(chunk.document)
            groups = _neighbours(chunks) if self._mode == "neighbours" else _sections(chunks)
            self._passages[chunk.document] = {id_: _join(group, text) for id_, group in groups.items()}
        return self._passages[chunk.document].get(chunk.id) or to_passage(chunk)


class ExpandingRetriever:
    """What another retriever finds, without chunks that the passage of a better one shows already.

    Args:
        inner: finds the chunks.
        expansion: what is shown of each.
        candidates: how many are looked at for ``k`` that differ.
    """

    def __init__(self, inner: Retriever, expansion: Callable[[Chunk], Passage], candidates: int = 50) -> None:
        self._inner = inner
        self._expansion = expansion
        self._candidates = candidates

    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """For each question its ``k`` best chunks of different passages; fewer where the candidates are of fewer."""
        return [self._distinct(hits)[:k] for hits in self._inner.retrieve(questions, max(k, self._candidates))]

    def _distinct(self, hits: Sequence[Hit]) -> list[Hit]:
        shown: set[str] = set()
        kept: list[Hit] = []
        for hit in hits:
            if hit.chunk.id not in shown:
                kept.append(Hit(hit.chunk, hit.score, len(kept) + 1))
                shown.update(self._expansion(hit.chunk).chunk_ids)
        return kept


def _neighbours(chunks: Sequence[Chunk]) -> dict[str, Sequence[Chunk]]:
    return {chunk.id: chunks[max(0, at - 1) : at + 2] for at, chunk in enumerate(chunks)}


def _sections(chunks: Sequence[Chunk]) -> dict[str, Sequence[Chunk]]:
    groups: dict[str, Sequence[Chunk]] = {}
    for _, run in groupby(chunks, key=lambda chunk: chunk.headings):
        section = list(run)
        parts = -(-len(section) // SECTION_CHUNKS)
        for part in range(parts):
            own = section[part * len(section) // parts : (part + 1) * len(section) // parts]
            groups.update((chunk.id, own) for chunk in own)
    return groups


def _join(chunks: Sequence[Chunk], text: str) -> Passage:
    """One stretch of the document, from the first chunk's start to the furthest end: what stands between chunks is white space."""
    if len(chunks) == 1:
        return to_passage(chunks[0])
    first, end = chunks[0], max(chunk.end for chunk in chunks)
    ids = tuple(chunk.id for chunk in chunks)
    id_ = hashlib.blake2b("\0".join(ids).encode(), digest_size=8).hexdigest()
    span = Span(first.document, first.start, end)
    return Passage(id_, first.document, first.title, first.prefix, text[first.start : end], (span,), ids)
