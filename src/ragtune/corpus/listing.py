"""A page of the documents, without their texts. Read inside the corpus's own snapshots."""

from __future__ import annotations

import sqlite3

from ragtune.corpus.filter import documents_where, effective, tags_of
from ragtune.corpus.records import Listed
from ragtune.types import Where

_MEANT = (
    "FROM documents WHERE (duplicate IS NULL OR kept IS NOT NULL) AND (source LIKE :like ESCAPE '\\' OR title LIKE :like ESCAPE '\\') "
    "AND (:seen IS NULL OR id IN (SELECT value FROM json_each(:seen)))"
)


def read(db: sqlite3.Connection, query: str, offset: int, limit: int, access: tuple[str, ...] | None) -> tuple[list[Listed], int]:
    """Documents by source, copies of others included, and how many there are in all.

    Args:
        db: of the corpus.
        query: what source or title hold, in any case of ASCII letters; empty is all.
        offset: documents passed over.
        limit: documents given, at most.
        access: tags of the asker; copies are then left out. ``None`` leaves out nothing.
    """
    like = "%" + "".join(f"\\{each}" if each in "\\%_" else each for each in query) + "%"
    values = {"like": like, "seen": None if access is None else documents_where(db, Where(access))}
    (total,) = db.execute(f"SELECT count(*) {_MEANT}", values).fetchone()
    rows = db.execute(
        "SELECT source, file, title, media_type, length(text), "  # noqa: S608
        "(SELECT count(*) FROM chunks WHERE document = documents.id), metadata, given, "
        f"kept {_MEANT} ORDER BY source LIMIT :limit OFFSET :offset",
        {**values, "limit": limit, "offset": offset},
    ).fetchall()
    return [_listed(*row) for row in rows], total


def _listed(
    source: str, file: str, title: str, media_type: str, characters: int, chunks: int, metadata: str, given: str, kept: str | None
) -> Listed:
    language = effective(metadata, given).get("language")
    return Listed(source, file, title, media_type, characters, chunks, str(language) if language else None, tags_of(metadata, given), kept)
