"""Inverted lists with FAISS: vectors are sorted into lists by their nearest centre, and a search reads the lists nearest to the question.

The lists hold the vectors themselves, or codes of them (a byte a dimension, or product quantisation). Codes only choose candidates: their
scores come from the exact vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from ragtune.index.choose import pq_parts
from ragtune.index.files import MappedIndex, read_index
from ragtune.protocols import Float32, Int64

Codes = Literal["ivf", "ivf-sq8", "ivf-pq"]
Exact = Callable[[Int64], tuple[Int64, Float32]]
"""The exact vectors of ids that rise, with those of the ids that there are."""
_FILTERED = 2
"""Times as many candidates under a filter: what it leaves may be far from the question, and codes tell less well between far vectors."""


class IvfStore(MappedIndex):
    """An ``IndexIVF`` of inner products.

    Args:
        index: trained.
        probes: lists that a search reads; a filter that leaves a share of the vectors has 1 / share times as many read.
        depth: candidates whose exact vectors are read, as a multiple of ``k``; ``None`` where the lists hold exact vectors.
        exact: where exact vectors are read; unused where the lists hold them.
    """

    def __init__(self, index: Any, *, probes: int = 1, depth: int | None = None, exact: Exact | None = None) -> None:
        self._index = index
        self._probes, self._depth, self._exact = probes, depth, exact

    @classmethod
    def train(cls, kind: Codes, sample_nd: Float32, lists: int, exact: Exact | None = None) -> IvfStore:
        """An empty store whose centres and codes fit a sample of the vectors.

        Args:
            kind: what the lists hold.
            sample_nd: some of the vectors; 50 a list are plenty.
            lists: how many.
            exact: where exact vectors are read, for kinds that hold codes.
        """
        dimension = sample_nd.shape[1]
        # Not the fast-scan variant of PQ: in FAISS 1.15 removing vectors spoils codes that stay (tests/index/test_index_kinds.py).
        codes = {"ivf": "Flat", "ivf-sq8": "SQ8", "ivf-pq": f"PQ{pq_parts(dimension)}x4"}[kind]
        index: Any = faiss.index_factory(dimension, f"IVF{lists},{codes}", faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid = 1  # a warning on stderr, and nothing else
        if kind == "ivf-pq":
            index.do_polysemous_training = False  # most of the training's time, for a way of searching that is not used here
        index.train(np.ascontiguousarray(sample_nd, np.float32))
        return cls(index, exact=exact, depth=None if kind == "ivf" else 4)

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return int(self._index.nlist)

    @property
    def wear(self) -> float:
        """Imbalance of the lists: 1 where all are of one length, n where a search reads n times as many vectors as it would then."""
        return float(self._index.invlists.imbalance_factor())

    def set(self, **setting: int) -> None:
        """Choose how much a search reads: ``probes``, and ``depth`` where the lists hold codes."""
        self._probes, self._depth = setting["probes"], setting.get("depth")

    def remove(self, ids_n: Int64) -> None:
        """Remove ids; unknown ones are passed over."""
        if len(ids_n):
            self._change()
            self._index.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(ids_n, np.int64)))

    def search(self, queries_qd: Float32, k: int, *, among: Int64 | None = None) -> tuple[Float32, Int64]:
        """Scores and ids ``[q, k]``, best first; -inf and -1 where there are fewer than k."""
        queries_qd = np.ascontiguousarray(queries_qd, np.float32)
        share = 1.0 if among is None else min(1.0, max(1, len(among)) / max(1, len(self)))
        chosen = None if among is None else faiss.IDSelectorBatch(np.ascontiguousarray(among, np.int64))
        there = len(self) if among is None else min(len(among), len(self))
        depth = self._depth if among is None or self._depth is None else _FILTERED * self._depth
        wanted = k if depth is None else max(k, min(k * depth, there))
        probes = min(self.lists, ceil(self._probes / share))
        scores_qk, ids_qk = self._search(queries_qd, wanted, probes, chosen)
        short_q = (ids_qk[:, : min(k, there)] < 0).any(axis=1)
        if probes < self.lists and short_q.any():  # the lists that were read hold fewer: read them all
            scores_qk[short_q], ids_qk[short_q] = self._search(queries_qd[short_q], wanted, self.lists, chosen)
        if self._depth is not None:
            scores_qk, ids_qk = self._rerank(queries_qd, ids_qk, k)
        scores_qk[ids_qk < 0] = -np.inf
        return scores_qk, ids_qk

    @classmethod
    def load(cls, folder: Path, *, probes: int, depth: int | None = None, exact: Exact | None = None, mapped: bool = True) -> IvfStore:
        """Read what :meth:`save` wrote; mapped, it is copied into memory when it is first changed.

        Raises:
            CorpusError: it is missing, torn or another kind.
        """
        store = cls(read_index(folder, faiss.IndexIVF, mapped=mapped), probes=probes, depth=depth, exact=exact)
        store._mapped = mapped
        return store

    def _search(self, queries_qd: Float32, k: int, probes: int, chosen: Any) -> tuple[Float32, Int64]:
        parameters = faiss.SearchParametersIVF(nprobe=probes, sel=chosen)  # type: ignore[call-arg] # its Python wrapper takes them
        found: tuple[Float32, Int64] = self._index.search(queries_qd, k, params=parameters)
        return found

    def _rerank(self, queries_qd: Float32, candidates_qc: Int64, k: int) -> tuple[Float32, Int64]:
        """The best of the candidates by their exact vectors."""
        assert self._exact is not None  # noqa: S101 # whoever makes a store of codes gives it
        scores_qk = np.full((len(queries_qd), k), -np.inf, np.float32)
        ids_qk = np.full((len(queries_qd), k), -1, np.int64)
        candidates_n = np.unique(candidates_qc[candidates_qc >= 0])
        ids_n, vectors_nd = self._exact(candidates_n) if len(candidates_n) else (candidates_n, queries_qd[:0])
        if not len(ids_n):
            return scores_qk, ids_qk
        for query, candidates_c in enumerate(candidates_qc):
            places = np.minimum(np.searchsorted(ids_n, candidates_c), len(ids_n) - 1)
            places = places[ids_n[places] == candidates_c]  # what is gone from the corpus has no vector
            scores_n = vectors_nd[places] @ queries_qd[query]
            order = np.lexsort((ids_n[places], -scores_n))[:k]
            scores_qk[query, : len(order)] = scores_n[order]
            ids_qk[query, : len(order)] = ids_n[places][order]
        return scores_qk, ids_qk


def remembering(exact: Exact) -> Exact:
    """Exact vectors that are read once and kept, for as long as many searches for the same are made."""
    known: dict[int, Float32] = {}

    def read(ids_n: Int64) -> tuple[Int64, Float32]:
        lacking = [id_ for id_ in ids_n.tolist() if id_ not in known]
        if lacking:
            found_n, vectors_nd = exact(np.array(lacking))
            known.update(zip(found_n.tolist(), vectors_nd, strict=True))
        there = [id_ for id_ in ids_n.tolist() if id_ in known]
        return np.array(there, np.int64), np.array([known[id_] for id_ in there], np.float32)

    return read


__all__ = ["Codes", "Exact", "IvfStore", "remembering"]
