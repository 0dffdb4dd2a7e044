"""Tune an approximate index to a wanted recall, and measure it beside exact search, on vectors that are its own.

What is searched for are vectors of a sample, turned aside as far as questions lie from their passages, each left out of its own neighbours.
On one half of them the smallest setting is looked for that reaches the recall with the lower end of its 95 % interval; what is reported
comes from the other half.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from ragtune.index.choose import Kind
from ragtune.protocols import Float32, Int64, VectorStore

K = 10
"""Neighbours whose recall is measured."""
_ASIDE = 0.65
"""Cosine between a vector and what is searched for in its place. Passages are nearer to each other than questions are to them, and a search
for a passage finds more: with this, recall was as for questions (docs/decisions/0010-index-kinds.md)."""
_TIMED = 60
_DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_MOST_VISITS = 1024


@dataclass(frozen=True, slots=True)
class Measured:
    """An index beside exact search.

    Args:
        recall: mean share of the 10 exact neighbours that it finds.
        low: lower end of the mean's 95 % interval.
        high: upper end.
        n: vectors that were searched for.
        milliseconds: of one search for 10, median, on all cores that FAISS may use.
        exact_milliseconds: of comparing with every vector, at best: a block at a time, which the processor's cache may hold.
    """

    recall: float
    low: float
    high: float
    n: int
    milliseconds: float
    exact_milliseconds: float


class Sample:
    """Vectors to search for, with the exact neighbours of each, which are gathered as all vectors pass by in blocks.

    Args:
        queries_qd: what is searched for.
        own_q: the id of the vector that each was made from, which counts as no neighbour.
    """

    def __init__(self, queries_qd: Float32, own_q: Int64) -> None:
        self.queries_qd, self.own_q = queries_qd, own_q
        self._scores_qk = np.full((len(own_q), K), -np.inf, np.float32)
        self.ids_qk = np.full((len(own_q), K), -1, np.int64)
        self.exact_seconds = 0.0

    @classmethod
    def aside(cls, vectors_qd: Float32, own_q: Int64, seed: int = 0) -> Sample:
        """What lies as far from vectors, each in a random direction, as questions do."""
        drawn_qd = np.random.default_rng(seed).standard_normal(vectors_qd.shape).astype(np.float32)
        drawn_qd -= (drawn_qd * vectors_qd).sum(axis=1, keepdims=True) * vectors_qd
        drawn_qd /= np.linalg.norm(drawn_qd, axis=1, keepdims=True)
        return cls((_ASIDE * vectors_qd + math.sqrt(1 - _ASIDE**2) * drawn_qd).astype(np.float32), own_q)

    def see(self, ids_n: Int64, vectors_nd: Float32) -> None:
        """Take in a block of vectors."""
        scores_qn = self.queries_qd @ vectors_nd.T
        scores_qn[self.own_q[:, None] == ids_n] = -np.inf
        scores_qm = np.concatenate([self._scores_qk, scores_qn], axis=1)
        ids_qm = np.concatenate([self.ids_qk, np.broadcast_to(ids_n, scores_qn.shape)], axis=1)
        best = np.argpartition(-scores_qm, K - 1, axis=1)[:, :K]
        self._scores_qk, self.ids_qk = np.take_along_axis(scores_qm, best, 1), np.take_along_axis(ids_qm, best, 1)
        self.exact_seconds += statistics.median(_seconds(partial(np.matmul, vectors_nd, query)) for query in self.queries_qd[:5])

    def half(self, which: int) -> Sample:
        """Every other query."""
        part = Sample(self.queries_qd[which::2], self.own_q[which::2])
        part.ids_qk, part.exact_seconds = self.ids_qk[which::2], self.exact_seconds
        return part

    def recalls(self, store: VectorStore) -> Float32:
        """Of each query, the share of its exact neighbours that a store finds."""
        found_qk = store.search(self.queries_qd, K + 1)[1]
        shares = [
            len(set(true.tolist()) & set([id_ for id_ in found.tolist() if id_ != own][:K])) / K
            for found, true, own in zip(found_qk, self.ids_qk, self.own_q, strict=True)
        ]
        return np.array(shares, np.float32)


class TunableStore(VectorStore, Protocol):
    """A store that can read more or less, and wears as it is patched."""

    @property
    def wear(self) -> float:
        """About how much a search reads, against the least that it could; comparable with itself at another time."""

    def set(self, **setting: int) -> None:
        """Choose how much a search reads."""


def tune(store: TunableStore, kind: Kind, lists: int, sample: Sample, wanted: float) -> dict[str, int] | None:
    """Set a store to the least that reaches a recall, and give the setting; ``None`` where nothing does."""

    def reaches(**setting: int) -> bool:
        store.set(**setting)
        return interval(sample.recalls(store))[0] >= wanted

    if kind == "hnsw":
        return next(({"visits": visits} for visits in steps(16, _MOST_VISITS) if reaches(visits=visits)), None)
    if kind == "ivf":
        return next(({"probes": probes} for probes in steps(1, lists) if reaches(probes=probes)), None)
    least = next((probes for probes in steps(1, lists) if reaches(probes=probes, depth=_DEPTHS[-1])), None)
    if least is None:
        return None
    reaching: list[tuple[float, dict[str, int]]] = []
    for probes in {least, min(2 * least, lists)}:  # more lists, of which fewer candidates need to be read, may be faster
        depth = next(depth for depth in _DEPTHS if reaches(probes=probes, depth=depth) or depth == _DEPTHS[-1])
        reaching.append((milliseconds(store, sample), {"probes": probes, "depth": depth}))
    _, setting = min(reaching, key=lambda each: each[0])
    store.set(**setting)
    return setting


def measure(store: VectorStore, sample: Sample) -> Measured:
    """Recall and speed of a store as it is set."""
    recalls = sample.recalls(store)
    recall, low, high = (round(float(value), 4) for value in (recalls.mean(), *interval(recalls)))
    return Measured(recall, low, high, len(recalls), round(milliseconds(store, sample), 3), round(sample.exact_seconds * 1000, 3))


def steps(first: int, last: int) -> Sequence[int]:
    """Rising numbers, each a third or a half more than the one before."""
    rising = sorted({first * 2**power * part // 2 for power in range(24) for part in (2, 3)})
    return [*(step for step in rising if step < last), last]


def interval(values: Float32) -> tuple[float, float]:
    """95 % interval of a mean, by the normal approximation."""
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return max(0.0, float(values.mean()) - half), min(1.0, float(values.mean()) + half)


def milliseconds(store: VectorStore, sample: Sample) -> float:
    """Median time of one search."""
    return 1000 * statistics.median(_seconds(partial(store.search, query[None], K)) for query in sample.queries_qd[:_TIMED])


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


__all__ = ["K", "Measured", "Sample", "TunableStore", "interval", "measure", "milliseconds", "steps", "tune"]
