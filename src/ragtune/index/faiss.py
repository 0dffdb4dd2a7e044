"""Search with FAISS: a flat inner-product index under corpus rows as ids."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from ragtune.errors import CorpusError
from ragtune.protocols import Float32, Int64
from ragtune.workspace import write_bytes

FILE = "vectors.faiss"


class FaissStore:
    """An ``IndexFlatIP`` with ids: exact, and fast to some hundred thousand vectors.

    Args:
        dimension: of the vectors.
    """

    def __init__(self, dimension: int) -> None:
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))

    def __len__(self) -> int:
        """How many vectors it holds."""
        return int(self._index.ntotal)

    def add(self, ids_n: Int64, vectors_nd: Float32) -> None:
        """Add vectors under new ids."""
        if len(ids_n):
            self._index.add_with_ids(np.ascontiguousarray(vectors_nd, np.float32), np.ascontiguousarray(ids_n, np.int64))

    def remove(self, ids_n: Int64) -> None:
        """Remove ids; unknown ones are passed over."""
        if len(ids_n):
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

    def save(self, folder: Path) -> None:
        """Write the index atomically, in FAISS's own format, followed by its SHA-256, which FAISS's reader passes over."""
        data = faiss.serialize_index(self._index).tobytes()
        write_bytes(folder / FILE, data + hashlib.sha256(data).digest())

    @classmethod
    def load(cls, folder: Path) -> FaissStore:
        """Read what :meth:`save` wrote.

        Raises:
            CorpusError: it is missing or torn.
        """
        try:
            data = (folder / FILE).read_bytes()
            # FAISS trusts sizes in what it reads, so a damaged file could make it take any amount of memory: check before.
            if hashlib.sha256(data[:-32]).digest() != data[-32:]:
                raise CorpusError(f"the index in {folder} is damaged: run 'ragtune index'")
            index = faiss.deserialize_index(np.frombuffer(data[:-32], dtype=np.uint8))
        except (OSError, RuntimeError) as error:
            raise CorpusError(f"the index in {folder} cannot be read ({str(error).splitlines()[0]}): run 'ragtune index'") from None
        store = cls(index.d)
        store._index = index
        return store
