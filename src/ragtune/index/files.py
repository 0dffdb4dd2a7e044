"""A FAISS index as a file: written whole or not at all, checked before it is trusted, and mapped into memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from ragtune.errors import CorpusError
from ragtune.protocols import Float32, Int64
from ragtune.workspace import replacing

FILE = "vectors.faiss"
_BLOCK = 1 << 20


def write_index(index: Any, folder: Path) -> None:
    """Write an index in FAISS's own format, followed by its SHA-256, which FAISS's reader passes over.

    Another file takes the old one's place, so a process that has the old one mapped goes on with it.
    """
    with replacing(folder / FILE) as temporary:
        faiss.write_index(index, str(temporary))
        digest = _digest(temporary, temporary.stat().st_size)
        with temporary.open("ab") as file:
            file.write(digest)


def read_index(folder: Path, kind: type, *, mapped: bool = True) -> Any:
    """Read what :func:`write_index` wrote.

    Args:
        folder: that it was written to.
        kind: FAISS's class of it, under the ids.
        mapped: map the file: vectors are read when a search wants them, and shared between processes, and cannot be changed.

    Raises:
        CorpusError: it is missing, torn or another kind.
    """
    path = folder / FILE
    try:
        # FAISS trusts sizes in what it reads, so a damaged file could make it take any amount of memory: check before.
        size = path.stat().st_size - hashlib.sha256().digest_size
        with path.open("rb") as file:
            file.seek(max(0, size))
            stored = file.read()
        if _digest(path, size) != stored:
            raise CorpusError(f"the index in {folder} is damaged: run 'ragtune index'")
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
        inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap) else index
        if not isinstance(inner, kind):
            raise CorpusError(f"the index in {folder} is another kind: run 'ragtune index'")
        return index
    except (OSError, RuntimeError) as error:
        raise CorpusError(f"the index in {folder} cannot be read ({str(error).splitlines()[0]}): run 'ragtune index'") from None


def in_memory(index: Any) -> Any:
    """A copy of a mapped index that can be changed."""
    return faiss.deserialize_index(faiss.serialize_index(index))


class MappedIndex:
    """What stores over a FAISS index share; a mapped one is copied into memory when it is first changed."""

    _index: Any
    _mapped = False

    def __len__(self) -> int:
        """How many vectors it holds."""
        return int(self._index.ntotal)

    def add(self, ids_n: Int64, vectors_nd: Float32) -> None:
        """Add vectors under new ids."""
        if len(ids_n):
            self._change()
            self._index.add_with_ids(np.ascontiguousarray(vectors_nd, np.float32), np.ascontiguousarray(ids_n, np.int64))

    def save(self, folder: Path) -> None:
        """Write the index atomically, in FAISS's own format."""
        write_index(self._index, folder)

    def _change(self) -> None:
        if self._mapped:
            self._index, self._mapped = in_memory(self._index), False


def _digest(path: Path, size: int) -> bytes:
    """SHA-256 of a file's first bytes."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        left = max(0, size)
        while left and (block := file.read(min(left, _BLOCK))):
            found.update(block)
            left -= len(block)
    return found.digest()


__all__ = ["FILE", "MappedIndex", "in_memory", "read_index", "write_index"]
