"""What every SQLite file of ragtune needs on opening, whoever else is opening it."""

from __future__ import annotations

import os
import sys
import time

if "tensorflow" in sys.modules and "_sqlite3" not in sys.modules and hasattr(os, "RTLD_DEEPBIND"):
    # TensorFlow shows the whole process an SQLite of its own, which has no full-text search: Python's is to bind to the system's.
    _flags = sys.getdlopenflags()
    sys.setdlopenflags(_flags | os.RTLD_DEEPBIND)
    try:
        import sqlite3
    finally:
        sys.setdlopenflags(_flags)
import sqlite3

BUSY_SECONDS = 30
"""How long a connection waits for another one's writing."""


def use_wal(db: sqlite3.Connection) -> None:
    """Switch a file to write-ahead logging, which it then keeps.

    SQLite's own time-out does not cover the switch: where two connections make it at once, one is told at once that the file is locked
    (https://www.sqlite.org/wal.html, "Sometimes Queries Return SQLITE_BUSY In WAL Mode"). So it is tried again here.

    Args:
        db: an open connection without a transaction.

    Raises:
        sqlite3.OperationalError: the file stayed locked for :data:`BUSY_SECONDS`.
    """
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_BUSY) & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            if time.monotonic() > until:
                raise
            time.sleep(0.005)


def forget_pages(db: sqlite3.Connection) -> bool:
    """Write a SQLite file anew, so that no free page or log holds what was deleted; whether no other reader stood in the way.

    Args:
        db: without a transaction.
    """
    db.execute("VACUUM")
    return not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
