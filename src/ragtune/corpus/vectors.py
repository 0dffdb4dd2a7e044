"""Vectors under the hash of the text that they were made of. Called inside the corpus's own snapshots and transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np

from ragtune.protocols import Float32, Int64

_BATCH = 500  # values in one IN (...)


def missing(db: sqlite3.Connection, embedder: str) -> list[tuple[int, str]]:
    """First row and key of every text that has no vector of an embedder, by row."""
    return db.execute(
        "SELECT min(row), embedded FROM chunks "
        "WHERE embedded NOT IN (SELECT embedded FROM vectors WHERE embedder = ?) GROUP BY embedded ORDER BY min(row)",
        (embedder,),
    ).fetchall()


def put(db: sqlite3.Connection, embedder: str, keys: Sequence[str], vectors_nd: Float32) -> None:
    """Store vectors ``[n, d]`` under their texts' keys."""
    rows = [(key, embedder, vector.astype("<f4").tobytes()) for key, vector in zip(keys, vectors_nd, strict=True)]
    db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)


def read(db: sqlite3.Connection, embedder: str, rows: Sequence[int] | None) -> tuple[Int64, Float32]:
    """Rows ``[n]``, rising, and vectors ``[n, d]`` of all chunks, or of some; chunks without a vector are left out."""
    select = "SELECT row, vector FROM chunks JOIN vectors USING (embedded) WHERE embedder = ?"
    found: list[tuple[int, bytes]] = []
    if rows is None:
        found = db.execute(f"{select} ORDER BY row", (embedder,)).fetchall()
    else:
        for some in batches(sorted(rows)):
            found += db.execute(f"{select} AND row IN ({marks(some)}) ORDER BY row", (embedder, *some)).fetchall()
    ids_n = np.array([row for row, _ in found], dtype=np.int64)
    if not found:
        return ids_n, np.zeros((0, 0), np.float32)
    values = np.frombuffer(b"".join(vector for _, vector in found), dtype="<f4")
    return ids_n, values.reshape(len(found), -1).astype(np.float32)


def batches(rows: Sequence[int]) -> Iterator[list[int]]:
    """Rows in lists short enough for one statement."""
    for start in range(0, len(rows), _BATCH):
        yield [int(row) for row in rows[start : start + _BATCH]]


def marks(values: Sequence[int]) -> str:
    """A question mark for each value of an ``IN (...)``."""
    return ",".join("?" * len(values))
