"""Which documents of a corpus may be found, by what a search asks for. Read inside the corpus's own snapshots."""

from __future__ import annotations

import json
import sqlite3

from ragtune.types import JSON, Where

IN_DOCUMENTS = "document IN (SELECT value FROM json_each(?))"
"""For what :func:`documents_where` gives, of the table chunks."""


def documents_where(db: sqlite3.Connection, where: Where) -> str:
    """Ids of the documents that may be found, as a JSON list."""
    statement = "SELECT id, metadata, given FROM documents WHERE duplicate IS NULL AND source GLOB ? AND media_type GLOB ?"
    found = db.execute(statement, (where.source or "*", where.media_type or "*"))
    return json.dumps([id_ for id_, metadata, given in found if where.access is None or _may_see(metadata, given, where.access)])


def effective(metadata: str, given: str) -> dict[str, JSON]:
    """A document's metadata: what the project says of it above what its file says, both as they are stored."""
    merged: dict[str, JSON] = json.loads(metadata)  # not in SQL: SQLite refuses NaN, which a hostile file may hold
    return merged if given == "{}" else {**merged, **json.loads(given)}


def access_tags(value: JSON) -> frozenset[str]:
    """The tags in a document's ``access``: a list, or text with commas between them as front matter has it."""
    if isinstance(value, str):
        value = list(value.strip("[] ").split(","))
    values = value if isinstance(value, list) else [] if value is None else [value]
    return frozenset(tag for tag in (str(each).strip(" \"'") for each in values) if tag)


def decides(given: str) -> tuple[JSON, JSON]:
    """What of the given metadata, as they are stored, decides whether a document is left out."""
    metadata: dict[str, JSON] = json.loads(given)
    return metadata.get("access"), metadata.get("language")


def tags_of(metadata: str, given: str) -> frozenset[str]:
    """Who may see a document, by its metadata as they are stored; no tags where it is open to all."""
    if '"access"' not in metadata and '"access"' not in given:
        return frozenset()
    return access_tags(effective(metadata, given).get("access"))


def _may_see(metadata: str, given: str, access: tuple[str, ...]) -> bool:
    tags = tags_of(metadata, given)
    return not tags or not tags.isdisjoint(access)
