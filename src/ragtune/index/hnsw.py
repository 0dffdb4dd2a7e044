"""A graph of near neighbours with FAISS (HNSW): fast and close to exact, slow to build, and nothing leaves it but by building it anew.

A removed vector stays in the graph as a way to others and is never found; its id becomes -1.
"""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from ragtune.index.files import MappedIndex, in_memory, read_index
from ragtune.protocols import Float32, Int64

NEIGHBOURS = 16
"""Links of a vector on each level; on the lowest twice as many."""
_CONSTRUCTION = 80
_EXACT_SHARE = 0.1
"""A search that would visit this share of the graph compares with every vector instead, which is as fast and exact."""


class HnswStore(MappedIndex):
    """An ``IndexHNSWFlat`` of inner products with ids.

    Args:
        dimension: of the vectors.
        visits: candidates that a search keeps (``efSearch``); a filter that leaves a share of the vectors has 1 / share times as many kept.
    """

    def __init__(self, dimension: int, *, visits: int = 64) -> None:
        graph = faiss.IndexHNSWFlat(dimension, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = _CONSTRUCTION
        self._use(faiss.IndexIDMap(graph), mapped=False)
        self._visits = visits

    def __len__(self) -> int:
        """How many vectors can be found."""
        return int(np.count_nonzero(self._ids_n >= 0))

    @property
    def wear(self) -> float:
        """Vectors in the graph for each that can be found."""
        return len(self._ids_n) / max(1, len(self))

    def set(self, **setting: int) -> None:
        """Choose how much a search reads: ``visits``."""
        self._visits = setting["visits"]

    def add(self, ids_n: Int64, vectors_nd: Float32) -> None:
        """Add vectors under new ids."""
        super().add(ids_n, vectors_nd)
        self._use(self._index, mapped=self._mapped)

    def remove(self, ids_n: Int64) -> None:
        """Remove ids; unknown ones are passed over."""
        gone = np.flatnonzero(np.isin(self._ids_n, ids_n) & (self._ids_n >= 0))
        if len(gone):
            self._change()
            faiss.rev_swig_ptr(self._index.id_map.data(), len(self._ids_n))[gone] = -1
            self._use(self._index, mapped=False)

    def search(self, queries_qd: Float32, k: int, *, among: Int64 | None = None) -> tuple[Float32, Int64]:
        """Scores and ids ``[q, k]``, best first; -inf and -1 where there are fewer than k."""
        found_n = self._ids_n >= 0 if among is None else np.isin(self._ids_n, among) & (self._ids_n >= 0)
        there = int(np.count_nonzero(found_n))
        share = max(1, there) / max(1, len(found_n))
        visits = ceil(max(self._visits, k) / share)
        # Bits of places, lowest first, which FAISS looks up without hashing. It keeps no reference to them, so this does.
        bits = np.packbits(found_n, bitorder="little")
        chosen = None if there == len(found_n) else faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type] # its wrapper takes an array
        queries_qd = np.ascontiguousarray(queries_qd, np.float32)
        graph = faiss.downcast_index(self._index.index)
        if visits >= _EXACT_SHARE * len(found_n):
            scores_qk, places_qk = _every(graph, queries_qd, k, chosen)
        else:
            parameters = faiss.SearchParametersHNSW(efSearch=visits, sel=chosen)  # type: ignore[attr-defined] # its stubs lack it
            scores_qk, places_qk = graph.search(queries_qd, k, params=parameters)
            short_q = (places_qk[:, : min(k, there)] < 0).any(axis=1)
            if short_q.any():
                scores_qk[short_q], places_qk[short_q] = _every(graph, queries_qd[short_q], k, chosen)
        ids_qk = np.where(places_qk < 0, -1, self._ids_n[places_qk]) if len(self._ids_n) else places_qk
        scores_qk[ids_qk < 0] = -np.inf
        return scores_qk, ids_qk

    @classmethod
    def load(cls, folder: Path, *, visits: int, mapped: bool = True) -> HnswStore:
        """Read what :meth:`save` wrote; mapped, it is copied into memory when it is first changed.

        Raises:
            CorpusError: it is missing, torn or another kind.
        """
        index = read_index(folder, faiss.IndexHNSW, mapped=mapped)
        store = cls(index.d, visits=visits)
        store._use(index, mapped=mapped)
        return store

    def _use(self, index: Any, *, mapped: bool) -> None:
        self._index, self._mapped = index, mapped
        self._ids_n: Int64 = faiss.vector_to_array(index.id_map)

    def _change(self) -> None:
        if self._mapped:
            self._use(in_memory(self._index), mapped=False)


def _every(graph: Any, queries_qd: Float32, k: int, chosen: Any) -> tuple[Float32, Int64]:
    parameters = faiss.SearchParameters(sel=chosen)  # type: ignore[call-arg] # its wrapper takes it
    found: tuple[Float32, Int64] = faiss.downcast_index(graph.storage).search(queries_qd, k, params=parameters)
    return found


__all__ = ["NEIGHBOURS", "HnswStore"]
