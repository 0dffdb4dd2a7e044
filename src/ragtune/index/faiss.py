"""Exact search with FAISS: a flat inner-product index under corpus rows as ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from ragtune.index.files import FILE, MappedIndex, read_index
from ragtune.protocols import Float32, Int64


class FaissStore(MappedIndex):
    """An ``IndexFlatIP`` with ids: exact, and fast to some hundred thousand vectors.

    Args:
        dimension: of the vectors.
    """

    def __init__(self, dimension: int) -> None:
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))

    def remove(self, ids_n: Int64) -> None:
        """Remove ids; unknown ones are passed over."""
        if len(ids_n):
            self._change()
            self._index.remove_ids(np.ascontiguousarray(ids_n, np.int64))

    def search(self, queries_qd: Float32, k: int, *, among: Int64 | None = None) -> tuple[Float32, Int64]:
        """Scores and ids ``[q, k]``, best first; -inf and -1 where there are fewer than k."""
        chosen = None
        if among is not None:
            selector = faiss.IDSelectorBatch(np.ascontiguousarray(among, np.int64))
            chosen = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg] # its Python wrapper takes it
        scores_qk, ids_qk = self._index.search(np.ascontiguousarray(queries_qd, np.float32), k, params=chosen)
        scores_qk[ids_qk < 0] = -np.inf
        return scores_qk, ids_qk

    @classmethod
    def load(cls, folder: Path, *, mapped: bool = True) -> FaissStore:
        """Read what :meth:`save` wrote; mapped, it is copied into memory when it is first changed.

        Raises:
            CorpusError: it is missing, torn or another kind.
        """
        index = read_index(folder, faiss.IndexFlat, mapped=mapped)
        store = cls(index.d)
        store._index, store._mapped = index, mapped
        return store


__all__ = ["FILE", "FaissStore"]
