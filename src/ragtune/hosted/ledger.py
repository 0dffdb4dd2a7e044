"""What hosted models answered and what it cost, in one SQLite file: replies are never paid for twice, and a cap is never passed.

A call reserves the most that it can cost before it is made. Its true cost replaces the reservation afterwards; where the outcome is not
known (a killed process, a cut connection) the reservation stays, because the server may have charged it. Keys are never written here.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from ragtune.errors import RefusalError, SpendingCapError
from ragtune.sqlite import BUSY_SECONDS, use_wal
from ragtune.types import Reply, Usage

_TABLES = (
    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS spending (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, model TEXT NOT NULL, "
    "dollars REAL NOT NULL, settled INTEGER NOT NULL)",
)


class Ledger:
    """A project's replies and spending; any number of threads and processes may share the file.

    Args:
        path: the SQLite file; made when absent.
        cap: US dollars that all of the project's calls together may cost.
    """

    def __init__(self, path: Path, cap: float = math.inf) -> None:
        self._path = path
        self._cap = cap
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            for table in _TABLES:
                db.execute(table)

    def find(self, key: str) -> Reply | None:
        """A reply that was paid for before.

        Raises:
            RefusalError: what was paid for is a refusal.
        """
        with self._open() as db:
            row = db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        values = json.loads(row[0])
        if "refusal" in values:
            tokens = values["tokens"] and (values["tokens"][0], values["tokens"][1])
            raise RefusalError(values["refusal"], charged=True, tokens=tokens, cost=values["cost"])
        return Reply(**{**values, "usage": Usage(**values["usage"]), "cached": True})

    def keep(self, key: str, reply: Reply | RefusalError) -> None:
        """Keep a reply, or a refusal that may have been paid for; what is kept already stays as it is."""
        values = {"refusal": str(reply), "tokens": reply.tokens, "cost": reply.cost} if isinstance(reply, RefusalError) else asdict(reply)
        with self._open() as db:
            db.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, json.dumps(values, ensure_ascii=False)))

    def reserve(self, model: str, dollars: float) -> int:
        """Set the most that a call can cost aside; give the id to settle it by.

        Raises:
            SpendingCapError: with it, the project could have spent more than the cap.
        """
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            spent = self._spent(db)
            if spent + dollars > self._cap:
                db.execute("ROLLBACK")
                raise SpendingCapError(
                    f"{model}: the next call could cost up to ${dollars:.4f}, and ${spent:.4f} of the ${self._cap:.2f} of chat.max_cost "
                    "are spent or set aside: raise chat.max_cost, or stop here; what was answered is kept"
                )
            row = db.execute(
                "INSERT INTO spending (at, model, dollars, settled) VALUES (?, ?, ?, 0)", (time.time(), model, dollars)
            ).lastrowid
            db.execute("COMMIT")
        return int(row or 0)

    def settle(self, reservation: int, dollars: float) -> None:
        """Replace a reservation by what the call cost."""
        with self._open() as db:
            db.execute("UPDATE spending SET dollars = ?, settled = 1 WHERE id = ?", (dollars, reservation))

    @property
    def spent(self) -> float:
        """US dollars spent by the project, reservations whose outcome is not known included."""
        with self._open() as db:
            return self._spent(db)

    @staticmethod
    def _spent(db: sqlite3.Connection) -> float:
        return float(db.execute("SELECT COALESCE(SUM(dollars), 0) FROM spending").fetchone()[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)) as db:
            use_wal(db)
            yield db
