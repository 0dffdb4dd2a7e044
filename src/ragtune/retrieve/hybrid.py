"""The retriever that serves: dense and lexical candidates, fused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from ragtune.corpus import Corpus
from ragtune.protocols import Embedder, VectorStore
from ragtune.retrieve.fuse import FUSIONS, Scores, ordered, zscore_fusion
from ragtune.types import Chunk, Hit, Where

MOST = 20
"""Ranks that a dataset keeps for each question, and that may be asked for without each list being searched deeper."""


class HybridRetriever:
    """Fulfils the retriever's contract over a corpus and its vector store.

    Args:
        corpus: for the lexical side, and for the chunks themselves.
        embedder: the one that made the store's vectors.
        store: over the corpus's rows.
        candidates: how many each side contributes.
        fusion: ``zscore`` or ``rrf``.
        dense_weight: share of the dense side in the fused score, in [0, 1].
        where: which documents may be found; the others are left out on both sides before anything is ranked.
    """

    def __init__(
        self,
        corpus: Corpus,
        embedder: Embedder,
        store: VectorStore,
        *,
        candidates: int = 50,
        fusion: Literal["zscore", "rrf"] = "zscore",
        dense_weight: float = 0.5,
        where: Where | None = None,
    ) -> None:
        self._corpus = corpus
        self._embedder = embedder
        self._store = store
        self._candidates = candidates
        self._fuse = FUSIONS[fusion]
        self._weights = (dense_weight, 1 - dense_weight)
        self._where = where

    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """For each question its ``k`` best chunks; of those of a document that say the same under the same headings the first."""
        found = []
        for rankings in self.rankings(questions, k):
            scores = self._fuse(rankings, self._weights)
            order = ordered(scores)
            # A chunk that went after the store was made is passed over, so ask for a few more.
            chunks = _distinct(self._corpus.chunks(order[: k + 10]))
            if len(chunks) < k:
                chunks = _distinct(self._corpus.chunks(order))
            found.append([Hit(chunk, scores[chunk.row], rank) for rank, chunk in enumerate(chunks[:k], start=1)])
        return found

    def rankings(self, questions: Sequence[str], k: int) -> list[tuple[Scores, Scores]]:
        """For each question what is fused: the scores of the dense and of the lexical side, by row; a side without weight is left out."""
        # The same whatever k is: z-scores depend on how deep the lists are, and a dataset keeps more ranks than are served.
        depth = max(self._candidates, MOST, k)
        dense = self._dense(questions, depth)
        return [(near, self._lexical(question, depth, near)) for question, near in zip(questions, dense, strict=True)]

    def _lexical(self, question: str, depth: int, near: Iterable[int]) -> dict[int, float]:
        if not self._weights[1]:
            return {}
        found = dict(self._corpus.search_text(question, depth, self._where))
        if found and len(found) < depth and self._fuse is zscore_fusion:
            # Everything that matches was found, so the others' score is known: none. A word in one chunk alone then stands out.
            found.update((row, 0.0) for row in near if row not in found)
        return found

    def _dense(self, questions: Sequence[str], depth: int) -> list[dict[int, float]]:
        among = None if self._where is None else self._corpus.rows(self._where)
        count = len(self._store) if among is None else min(len(among), len(self._store))
        if not self._weights[0] or not count or not questions:
            return [{} for _ in questions]
        queries_qd = self._embedder.embed_queries(questions)
        # A store of another's need not know how to choose, as long as it is not asked to.
        chosen = {} if among is None else {"among": among}
        scores_qk, ids_qk = self._store.search(queries_qd, min(depth, count), **chosen)
        return [
            # The last digits depend on how many questions were multiplied at once; equal texts must stay equal.
            {int(row): round(float(score), 6) for row, score in zip(ids, scores, strict=True) if row >= 0}
            for ids, scores in zip(ids_qk, scores_qk, strict=True)
        ]


def _distinct(chunks: Iterable[Chunk]) -> list[Chunk]:
    kept: dict[tuple[str, str, str], Chunk] = {}
    for chunk in chunks:
        kept.setdefault((chunk.document, chunk.prefix, chunk.text.strip()), chunk)
    return list(kept.values())
