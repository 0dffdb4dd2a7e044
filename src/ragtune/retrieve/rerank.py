"""Ranking the first hits anew: by a model that reads question and chunk together, or so that they do not repeat each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ragtune.corpus import embedding_text
from ragtune.protocols import Float32, Reranker, Retriever
from ragtune.types import Hit

Float64 = NDArray[np.float64]


class RerankingRetriever:
    """What another retriever finds first, in the order of a reranker's scores.

    Args:
        inner: finds the candidates.
        reranker: scores them.
        candidates: how many are read; those behind them keep their order.
        weight: share of the reranker's score, in (0, 1]; the rest is the score that a chunk was found with, both as z-scores over the
            chunks that are read. 1 is the reranker's score alone, as it is.
    """

    def __init__(self, inner: Retriever, reranker: Reranker, candidates: int = 30, weight: float = 1.0) -> None:
        self._inner = inner
        self._reranker = reranker
        self._candidates = candidates
        self._weight = weight

    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """For each question its ``k`` best chunks."""
        rankings = self._inner.retrieve(questions, max(k, self._candidates))
        return [self._rerank(question, hits)[:k] for question, hits in zip(questions, rankings, strict=True)]

    def _rerank(self, question: str, hits: Sequence[Hit]) -> list[Hit]:
        read, rest = hits[: self._candidates], hits[self._candidates :]
        scores = self._reranker.score(question, [embedding_text(hit.chunk) for hit in read])
        if self._weight < 1 and read:
            own_n, found_n = _standardised(scores), _standardised([hit.score for hit in read])
            scores = [round(float(score), 6) for score in self._weight * own_n + (1 - self._weight) * found_n]
        order = sorted(range(len(read)), key=lambda i: (-scores[i], i))
        ranked = [Hit(read[i].chunk, scores[i], rank) for rank, i in enumerate(order, start=1)]
        # Those that were not read go on below the lowest score, as far apart as they were.
        return ranked + [replace(hit, score=min(scores) - (read[-1].score - hit.score)) for hit in rest]


def _standardised(scores: Sequence[float]) -> Float64:
    values_n: Float64 = np.asarray(scores, dtype=np.float64)
    values_n = values_n - values_n.mean()
    return np.divide(values_n, float(values_n.std()) or 1.0)


class DiverseRetriever:
    """Maximal marginal relevance over what another retriever finds (Carbonell and Goldstein, SIGIR 1998).

    A hit keeps the score that it was found with, so the scores need not fall with the ranks.

    Args:
        inner: finds the candidates.
        vectors_of: rows of chunks to their vectors by row.
        relevance: weight of relevance against novelty, in [0, 1].
        candidates: how many are chosen among.
    """

    def __init__(
        self, inner: Retriever, vectors_of: Callable[[Sequence[int]], dict[int, Float32]], *, relevance: float, candidates: int = 50
    ) -> None:
        self._inner = inner
        self._vectors_of = vectors_of
        self._relevance = relevance
        self._candidates = candidates

    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """For each question ``k`` chunks."""
        return [self._spread(hits)[:k] for hits in self._inner.retrieve(questions, max(k, self._candidates))]

    def _spread(self, hits: Sequence[Hit]) -> list[Hit]:
        head, rest = hits[: self._candidates], hits[self._candidates :]
        order = mmr_order([hit.score for hit in head], self._similarities(head), self._relevance)
        return [replace(hit, rank=rank) for rank, hit in enumerate([*(head[i] for i in order), *rest], start=1)]

    def _similarities(self, hits: Sequence[Hit]) -> Float32:
        vectors = self._vectors_of([hit.chunk.row for hit in hits])
        if not vectors:
            return np.zeros((len(hits), len(hits)), np.float32)
        unknown = np.zeros_like(next(iter(vectors.values())))
        vectors_nd = np.stack([vectors.get(hit.chunk.row, unknown) for hit in hits])
        return vectors_nd @ vectors_nd.T


def mmr_order(scores: Sequence[float], similarities_nn: Float32, relevance: float) -> list[int]:
    """Places in the order chosen: each next one has the most of ``relevance * score - (1 - relevance) * likeness to those before it``.

    Scores are brought to [0, 1] by their range, so that they weigh against cosines; equals come in the order given.
    """
    if not scores:
        return []
    values_n = np.asarray(scores, dtype=float)
    width = float(np.ptp(values_n)) or 1.0
    values_n = (values_n - values_n.min()) / width
    nearest_n = np.zeros(len(values_n))
    chosen: list[int] = []
    left = list(range(len(values_n)))
    while left:
        best = max(left, key=lambda i: (relevance * values_n[i] - (1 - relevance) * nearest_n[i], -i))
        chosen.append(best)
        left.remove(best)
        nearest_n = np.maximum(nearest_n, similarities_nn[best])
    return chosen
