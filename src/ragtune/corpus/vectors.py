"""Vectors under the hash of the text that they were made of. Called inside the corpus's own snapshots and transactions."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ragtune.protocols import Float32, Int64

_BATCH = 500  # values in one IN (...)
_LACKING = "NOT EXISTS (SELECT 1 FROM vectors WHERE vectors.embedded = chunks.embedded AND embedder = ?)"


def missing_rows(db: sqlite3.Connection, embedder: str) -> Int64:
    """Rows, rising, of chunks whose texts have no vector of an embedder; of equal texts the first."""
    found = db.execute(f"SELECT min(row) FROM chunks WHERE {_LACKING} GROUP BY embedded", (embedder,))  # noqa: S608
    rows_n = np.fromiter((row for (row,) in found), np.int64)
    rows_n.sort()
    return rows_n


def lacking(db: sqlite3.Connection, embedder: str) -> bool:
    """Whether any chunk's text has no vector of an embedder."""
    return bool(db.execute(f"SELECT EXISTS (SELECT 1 FROM chunks WHERE {_LACKING})", (embedder,)).fetchone()[0])  # noqa: S608


def put(db: sqlite3.Connection, embedder: str, keys: Sequence[str], vectors_nd: Float32) -> None:
    """Store vectors ``[n, d]`` under their texts' keys."""
    rows = [(key, embedder, vector.astype("<f4").tobytes()) for key, vector in zip(keys, vectors_nd, strict=True)]
    db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)


def read(db: sqlite3.Connection, embedder: str, rows: Sequence[int] | Int64 | None) -> tuple[Int64, Float32]:
    """Rows ``[n]``, rising, and vectors ``[n, d]`` of all chunks, or of some; chunks without a vector are left out."""
    select = "SELECT row, vector FROM chunks JOIN vectors USING (embedded) WHERE embedder = ?"
    if rows is None:
        most = db.execute("SELECT count(*) FROM chunks").fetchone()[0]
        return _matrix(db.execute(f"{select} ORDER BY row", (embedder,)), most)
    found = (db.execute(f"{select} AND row IN ({marks(some)}) ORDER BY row", (embedder, *some)) for some in batches(sorted(rows)))
    return _matrix(itertools.chain.from_iterable(found), len(rows))


def _matrix(found: Iterable[tuple[int, bytes]], most: int) -> tuple[Int64, Float32]:
    """Vectors one by one into one matrix, so that none is held twice."""
    ids_n = np.zeros(most, np.int64)
    vectors_nd = np.zeros((0, 0), np.float32)
    n = 0
    for row, vector in found:
        if not n:
            vectors_nd = np.zeros((most, len(vector) // 4), np.float32)
        ids_n[n], vectors_nd[n] = row, np.frombuffer(vector, dtype="<f4")
        n += 1
    return ids_n[:n], vectors_nd[:n]


def batches(rows: Sequence[int] | Int64) -> Iterator[list[int]]:
    """Rows in lists short enough for one statement."""
    for start in range(0, len(rows), _BATCH):
        yield [int(row) for row in rows[start : start + _BATCH]]


def marks(values: Sequence[int]) -> str:
    """A question mark for each value of an ``IN (...)``."""
    return ",".join("?" * len(values))
