"""Vectors of hosted embedders that were paid for and are in no corpus: questions, and what a failed call left over."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from ragtune.protocols import Float32
from ragtune.sqlite import BUSY_SECONDS, use_wal

_TABLES = (
    "CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID",  # little-endian float32
    "CREATE TABLE IF NOT EXISTS dimensions (embedder TEXT PRIMARY KEY, dimension INTEGER NOT NULL) WITHOUT ROWID",
)
_BATCH = 500  # values in one IN (...)


class VectorCache:
    """Vectors by key, and embedders' dimensions by fingerprint; any number of threads and processes may share the file.

    Args:
        path: the SQLite file; made when absent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            for table in _TABLES:
                db.execute(table)

    def find(self, keys: Sequence[str]) -> dict[str, Float32]:
        """The vectors that are known."""
        found: dict[str, Float32] = {}
        with self._open() as db:
            for start in range(0, len(keys), _BATCH):
                some = keys[start : start + _BATCH]
                rows = db.execute(f"SELECT key, vector FROM vectors WHERE key IN ({', '.join('?' * len(some))})", some)  # noqa: S608
                found.update((key, np.frombuffer(vector, "<f4").astype(np.float32)) for key, vector in rows)
        return found

    def keep(self, vectors: Mapping[str, Float32]) -> None:
        """Keep vectors; what is kept already stays as it is."""
        with self._open() as db, db:
            rows = [(key, vector.astype("<f4").tobytes()) for key, vector in vectors.items()]
            db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    def dimension(self, embedder: str) -> int | None:
        """Length of an embedder's vectors, once it has given one."""
        with self._open() as db:
            row = db.execute("SELECT dimension FROM dimensions WHERE embedder = ?", (embedder,)).fetchone()
        return int(row[0]) if row else None

    def keep_dimension(self, embedder: str, dimension: int) -> None:
        """Keep the length of an embedder's vectors; the first one counts."""
        with self._open() as db, db:
            db.execute("INSERT OR IGNORE INTO dimensions VALUES (?, ?)", (embedder, dimension))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS)) as db:
            use_wal(db)
            yield db
