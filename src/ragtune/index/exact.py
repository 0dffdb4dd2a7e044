"""Exact search in NumPy: the reference that every other store is tested against."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from ragtune.errors import CorpusError
from ragtune.protocols import Float32, Int64
from ragtune.workspace import write_bytes


class ExactStore:
    """All vectors in one matrix.

    Args:
        dimension: of the vectors.
    """

    def __init__(self, dimension: int) -> None:
        self._ids: Int64 = np.zeros(0, np.int64)
        self._vectors: Float32 = np.zeros((0, dimension), np.float32)

    def __len__(self) -> int:
        """How many vectors it holds."""
        return len(self._ids)

    def add(self, ids_n: Int64, vectors_nd: Float32) -> None:
        """Add vectors under new ids."""
        if len(ids_n):  # nothing has no dimension
            self._ids = np.concatenate([self._ids, ids_n])
            self._vectors = np.concatenate([self._vectors, vectors_nd])

    def remove(self, ids_n: Int64) -> None:
        """Remove ids; unknown ones are passed over."""
        kept = ~np.isin(self._ids, ids_n)
        self._ids, self._vectors = self._ids[kept], self._vectors[kept]

    def search(self, queries_qd: Float32, k: int, *, among: Int64 | None = None) -> tuple[Float32, Int64]:
        """Scores and ids ``[q, k]``, best first, equal scores by id; -inf and -1 where there are fewer than k."""
        ids_n, vectors_nd = self._ids, self._vectors
        if among is not None:
            kept = np.isin(ids_n, among)
            ids_n, vectors_nd = ids_n[kept], vectors_nd[kept]
        scores_qn = queries_qd @ vectors_nd.T
        found_scores = np.full((len(queries_qd), k), -np.inf, np.float32)
        found_ids = np.full((len(queries_qd), k), -1, np.int64)
        for query, scores_n in enumerate(scores_qn):
            order = np.lexsort((ids_n, -scores_n))[:k]
            found_scores[query, : len(order)] = scores_n[order]
            found_ids[query, : len(order)] = ids_n[order]
        return found_scores, found_ids

    def save(self, folder: Path) -> None:
        """Write ``exact.npz`` atomically."""
        buffer = io.BytesIO()
        np.savez(buffer, ids=self._ids, vectors=self._vectors)
        write_bytes(folder / "exact.npz", buffer.getvalue())

    @classmethod
    def load(cls, folder: Path) -> ExactStore:
        """Read what :meth:`save` wrote.

        Raises:
            CorpusError: it is missing or torn.
        """
        try:
            with np.load(io.BytesIO((folder / "exact.npz").read_bytes()), allow_pickle=False) as data:
                store = cls(data["vectors"].shape[1])
                store.add(data["ids"], data["vectors"])
                return store
        except (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile) as error:
            raise CorpusError(f"the index in {folder} cannot be read ({error}): run 'ragtune index'") from None
