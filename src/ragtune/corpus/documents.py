"""Writing documents and chunks, and the log of changes that the index follows. Called inside the corpus's own transactions."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence

from ragtune.corpus.records import embedding_text
from ragtune.types import JSON, Chunk, Document


def put_document(db: sqlite3.Connection, file: str, document: Document, chunks: Sequence[Chunk], given: Mapping[str, JSON]) -> None:
    """Write a document, its chunks, and the metadata that the project gives it, over what was there of its source."""
    values = {
        "source": document.source,
        "file": file,
        "title": document.title,
        "text": document.text,
        "hash": embedding_key(document.text),
        "media_type": document.media_type,
        "metadata": json.dumps(dict(document.metadata), ensure_ascii=False),
        "given": json.dumps(dict(given), ensure_ascii=False),
    }
    row = db.execute(
        "INSERT INTO documents (source, file, title, text, hash, media_type, metadata, given) "
        "VALUES (:source, :file, :title, :text, :hash, :media_type, :metadata, :given) "
        "ON CONFLICT (source) DO UPDATE SET file = :file, title = :title, text = :text, hash = :hash, media_type = :media_type, "
        "metadata = :metadata, given = :given, duplicate = NULL, kept = NULL, sketch = CASE hash WHEN :hash THEN sketch END RETURNING id",
        values,
    ).fetchone()[0]
    put_chunks(db, row, document, chunks)


def put_chunks(db: sqlite3.Connection, row: int, document: Document, chunks: Sequence[Chunk]) -> None:
    """Make a document's chunks these; one whose id and embedded text stay keeps its row.

    Raises:
        ValueError: a chunk is not the stretch of its document that it says it is.
    """
    known = {id_: rest for id_, *rest in db.execute("SELECT id, row, embedded FROM chunks WHERE document = ?", (row,))}
    wanted = {chunk.id: chunk for chunk in chunks}
    keys = {chunk.id: embedding_key(embedding_text(chunk)) for chunk in chunks}
    for id_, (old, embedded) in known.items():
        if keys.get(id_) != embedded:
            _drop_chunk(db, old)
    for id_, chunk in wanted.items():
        if document.text[chunk.start : chunk.end] != chunk.text:
            raise ValueError(f"chunk {id_} is not {document.source}[{chunk.start}:{chunk.end}]")
        place = (chunk.start, chunk.end, json.dumps(chunk.headings, ensure_ascii=False))
        if id_ in known and known[id_][1] == keys[id_]:
            db.execute('UPDATE chunks SET "start" = ?, "end" = ?, headings = ? WHERE id = ?', (*place, id_))
        else:
            _add_chunk(db, row, chunk, place, keys[id_])


def _add_chunk(db: sqlite3.Connection, document: int, chunk: Chunk, place: tuple[int, int, str], key: str) -> None:
    row = db.execute(
        'INSERT INTO chunks (id, document, "start", "end", headings, prefix, embedded) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING row',
        (chunk.id, document, *place, chunk.prefix, key),
    ).fetchone()[0]
    db.execute("INSERT INTO fulltext (rowid, prefix, text) VALUES (?, ?, ?)", (row, chunk.prefix, chunk.text))
    _log(db, row, added=True)


def drop_document(db: sqlite3.Connection, row: int) -> None:
    """Remove a document with its chunks."""
    for (chunk,) in db.execute("SELECT row FROM chunks WHERE document = ?", (row,)).fetchall():
        _drop_chunk(db, chunk)
    db.execute("DELETE FROM documents WHERE id = ?", (row,))


def _drop_chunk(db: sqlite3.Connection, row: int) -> None:
    db.execute("DELETE FROM chunks WHERE row = ?", (row,))
    db.execute("DELETE FROM fulltext WHERE rowid = ?", (row,))
    _log(db, row, added=False)


def _log(db: sqlite3.Connection, row: int, *, added: bool) -> None:
    db.execute("INSERT INTO changes SELECT value + 1, ?, ? FROM meta WHERE name = 'generation'", (row, added))


def embedding_key(text: str) -> str:
    """Hash of a text: the key of its vector."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
