"""The tables of corpus.db, and opening the file safely; what is in them is :mod:`ragtune.corpus.store`'s."""

from __future__ import annotations

import contextlib
import re
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ragtune.errors import CorpusError
from ragtune.sqlite import BUSY_SECONDS, use_wal

SCHEMA_VERSION = 4
_OLDEST = 2  # that is migrated
APPLICATION_ID = 0x52414754  # "RAGT", in the file's header
_BUGS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
_SCHEMA = """
CREATE TABLE files (
    name TEXT PRIMARY KEY,      -- path under the ingested folder
    hash TEXT NOT NULL,         -- SHA-256 of the file's bytes
    key TEXT NOT NULL,          -- of the readers and settings that read it
    skipped TEXT,               -- why nothing was read, else NULL
    repairs TEXT NOT NULL DEFAULT '{}'  -- JSON: what cleaning did to its text, and how often
) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL UNIQUE,
    file TEXT NOT NULL REFERENCES files (name) ON DELETE CASCADE,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    hash TEXT NOT NULL,         -- of the text
    media_type TEXT NOT NULL,
    metadata TEXT NOT NULL,     -- JSON: what its file says
    given TEXT NOT NULL DEFAULT '{}',   -- JSON: what the project's settings say, which counts above it
    duplicate TEXT,             -- why it is left out of the index, else NULL
    kept TEXT,                  -- source of the document that is kept in its place
    sketch BLOB                 -- of its shingles, for finding what is nearly the same; NULL: not made yet
);
CREATE INDEX documents_file ON documents (file);
CREATE TABLE chunks (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    "start" INTEGER NOT NULL,   -- code points of the document's text, which is where a chunk's text is
    "end" INTEGER NOT NULL,
    prefix TEXT NOT NULL,
    headings TEXT NOT NULL,     -- JSON list
    embedded TEXT NOT NULL      -- hash of the text that is embedded: the vector's key
);
CREATE INDEX chunks_document ON chunks (document, "start");
CREATE INDEX chunks_embedded ON chunks (embedded);
CREATE TABLE vectors (
    embedded TEXT NOT NULL,
    embedder TEXT NOT NULL,     -- fingerprint of the weights
    vector BLOB NOT NULL,       -- little-endian float32
    PRIMARY KEY (embedded, embedder)
) WITHOUT ROWID;
CREATE TABLE changes (generation INTEGER NOT NULL, row INTEGER NOT NULL, added INTEGER NOT NULL);
CREATE INDEX changes_generation ON changes (generation);
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE fulltext USING fts5 (prefix, text, tokenize = 'porter unicode61 remove_diacritics 2');
"""


_REASON = re.compile(r"(?s)nearly the same text as (?P<near>.*) \(\d+% alike\)|same text as (?P<same>.*)")  # as format 2 had it


def open_database(path: Path) -> sqlite3.Connection:
    """Open a corpus file; make it where there is none.

    A file that is not a corpus is left as it was found.

    Raises:
        CorpusError: the file is something else, damaged, or of another version.
    """
    with sqlite_errors(path):
        # Autocommit: transactions are opened by name, in store.py, and nowhere else.
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _check(db, path)
            use_wal(db)
            # FULL: what was committed survives a power cut, so no derived file can be of a generation that the corpus has lost.
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            db.close()
            raise
    return db


@contextlib.contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn what can be wrong with the file into :class:`CorpusError`; a bug of ours stays what it is."""
    try:
        yield
    except _BUGS:
        raise
    except sqlite3.OperationalError as error:
        if "no such module: fts5" in str(error):
            raise CorpusError("this process has an SQLite without full-text search: import ragtune before tensorflow") from error
        raise CorpusError(f"{path} cannot be used ({error}): see that the disk has room and no other program holds the file") from error
    except sqlite3.DatabaseError as error:
        raise CorpusError(f"{path} is not a corpus or is damaged ({error}): remove it and run 'ragtune ingest' again") from error


def _check(db: sqlite3.Connection, path: Path) -> None:
    if _is_new(db):
        db.execute("BEGIN IMMEDIATE")
        if _is_new(db):  # another process may have made it while we waited
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute("INSERT INTO meta VALUES ('generation', '0'), ('identity', ?)", (secrets.token_hex(8),))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise CorpusError(f"{path} is another program's database: move it away and run 'ragtune ingest' again")
    version = _pragma(db, "user_version")
    if version > SCHEMA_VERSION:
        raise CorpusError(f"{path} has format {version} and this ragtune reads format {SCHEMA_VERSION}: update ragtune")
    if _OLDEST <= version < SCHEMA_VERSION:
        _migrate(db)
    elif version < SCHEMA_VERSION:
        raise CorpusError(f"{path} has the old format {version}: remove it and run 'ragtune ingest' again")


def _migrate(db: sqlite3.Connection) -> None:
    """From format 3, which had no metadata of the project's own, and 2, which named the kept document in the words of a reason only.

    No text, chunk or vector is touched.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _pragma(db, "user_version")  # another process may have done it while we waited
        if version < 4:
            db.execute("ALTER TABLE documents ADD COLUMN given TEXT NOT NULL DEFAULT '{}'")
        if version < 3:
            db.execute("ALTER TABLE files ADD COLUMN repairs TEXT NOT NULL DEFAULT '{}'")
            db.execute("ALTER TABLE documents ADD COLUMN kept TEXT")
            db.execute("ALTER TABLE documents ADD COLUMN sketch BLOB")
            for id_, reason in db.execute("SELECT id, duplicate FROM documents WHERE duplicate IS NOT NULL").fetchall():
                match = _REASON.fullmatch(reason)
                db.execute("UPDATE documents SET kept = ? WHERE id = ?", (match and (match["near"] or match["same"]), id_))
            db.execute("DELETE FROM meta WHERE name = 'deduped'")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _is_new(db: sqlite3.Connection) -> bool:
    return _pragma(db, "application_id") == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
