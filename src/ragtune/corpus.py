"""The SQLite store: documents, chunks, full text and vectors. THE TRUTH about the documents; everything else can be made from it again.

One process writes at a time (the workspace's lock sees to it), any number read. Every change is one transaction, so a killed process
leaves the store as it was before or after, never between. Row ids of chunks are never reused: they are the ids of the vector index.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragtune.corpus_filter import IN_DOCUMENTS, documents_where
from ragtune.corpus_schema import open_database, sqlite_errors
from ragtune.errors import CorpusError
from ragtune.protocols import Float32, Int64
from ragtune.sqlite import forget_pages
from ragtune.types import Chunk, Document, Reason, Where

_WORD = re.compile(r"\w+")
_QUERY_WORDS = 64  # a longer question is searched by its first words
_BATCH = 500  # values in one IN (...)
_TEXTS_KEPT = 64


@dataclass(frozen=True, slots=True)
class FileState:
    """What the corpus knows of a file: hash of its bytes, key of what read it, and why it was skipped if it was."""

    hash: str
    key: str
    skipped: str | None


@dataclass(frozen=True, slots=True)
class TextEntry:
    """A document without its text, for comparing texts.

    Args:
        source: of the document.
        media_type: of its file.
        hash: of its text.
        sketch: that was kept of its text; ``None`` where none was made yet.
        kept: source of the document that is kept in its place, where it is a duplicate.
        reason: why it is left out, where it is.
    """

    source: str
    media_type: str
    hash: str
    sketch: bytes | None = None
    kept: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of the corpus."""

    files: int
    documents: int
    chunks: int


def embedding_text(chunk: Chunk) -> str:
    """The text of a chunk as it is embedded and searched: its prefix on a line of its own, then its text."""
    return f"{chunk.prefix}\n{chunk.text}" if chunk.prefix else chunk.text


class Corpus:
    """The store in one SQLite file.

    Args:
        path: the file; made when absent.

    Raises:
        CorpusError: the file is something else, damaged, or written by a newer ragtune.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()  # one connection, which a server's threads share
        self._batching = False
        self._texts: dict[int, tuple[str, str]] = {}
        self._db = open_database(path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # Files and documents

    def files(self) -> dict[str, FileState]:
        """Every file that was read or skipped, by name."""
        with self._snapshot() as db:
            return {name: FileState(*rest) for name, *rest in db.execute("SELECT name, hash, key, skipped FROM files ORDER BY name")}

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Make all writes inside one transaction: a disk is waited for once, and a crash loses all of them."""
        with self._transaction():
            self._batching = True
            try:
                yield
            finally:
                self._batching = False

    def put_file(
        self,
        name: str,
        hash_: str,
        key: str,
        documents: Sequence[tuple[Document, Sequence[Chunk]]],
        skipped: str | None = None,
        repairs: Mapping[str, int] | None = None,
    ) -> None:
        """Replace everything of one file in one transaction; a chunk whose id and prefix stay keeps its row, and so its vector.

        Args:
            name: of the file.
            hash_: of its bytes.
            key: of the readers and settings.
            documents: what was read, each with its chunks; empty where it was skipped.
            skipped: why nothing was read.
            repairs: what cleaning did to its text, and how often.

        Raises:
            ValueError: a chunk is not the stretch of its document that it says it is.
        """
        with self._transaction() as db:
            db.execute(
                "INSERT INTO files (name, hash, key, skipped, repairs) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) "
                "DO UPDATE SET hash = excluded.hash, key = excluded.key, skipped = excluded.skipped, repairs = excluded.repairs",
                (name, hash_, key, skipped, json.dumps(dict(repairs or {}))),
            )
            self._revise()
            kept = {document.source for document, _ in documents}
            for source, row in db.execute("SELECT source, id FROM documents WHERE file = ?", (name,)).fetchall():
                if source not in kept:
                    self._drop_document(row)
            for document, chunks in documents:
                self._put_document(name, document, chunks)

    def remove_files(self, names: Iterable[str]) -> None:
        """Remove files with all that came from them."""
        with self._transaction() as db:
            for name in names:
                for (row,) in db.execute("SELECT id FROM documents WHERE file = ?", (name,)).fetchall():
                    self._drop_document(row)
                db.execute("DELETE FROM files WHERE name = ?", (name,))
                self._revise()

    def remove_documents(self, sources: Iterable[str]) -> list[str]:
        """Remove documents, and files that nothing is left of; the sources of those that were there."""
        removed = []
        with self._transaction() as db:
            for source in sources:
                for row, file in db.execute("SELECT id, file FROM documents WHERE source = ?", (source,)).fetchall():
                    self._drop_document(row)
                    db.execute("DELETE FROM files WHERE name = ? AND name NOT IN (SELECT file FROM documents)", (file,))
                    self._revise()
                    removed.append(source)
        return removed

    def forget_keys(self, names: Iterable[str]) -> None:
        """Have the next ingest read files again, whether they changed or not."""
        with self._transaction() as db:
            db.executemany("UPDATE files SET key = '' WHERE name = ?", [(name,) for name in names])

    def forget_deleted(self) -> bool:
        """Write the file anew, so that nothing of what was deleted is left in it or its log; false where another reader stands in the way.

        FTS5 keeps deleted words in its tables until they are merged, hence the rebuilding.
        """
        with self._transaction() as db:
            db.execute("INSERT INTO fulltext (fulltext) VALUES ('rebuild')")
        self._texts.clear()
        with self._lock, sqlite_errors(self.path):
            return forget_pages(self._db)

    def set_duplicate(self, source: str, reason: str | None, chunks: Sequence[Chunk], kept: str | None = None) -> None:
        """Mark a document as left out (a reason, what is kept instead, no chunks), or take it in again (``None``, with its chunks).

        Raises:
            CorpusError: there is no document of that source.
        """
        document = self.document(source)
        with self._transaction() as db:
            row = db.execute(
                "UPDATE documents SET duplicate = ?, kept = ? WHERE source = ? RETURNING id", (reason, kept, source)
            ).fetchone()[0]
            self._put_chunks(row, document, chunks)

    def documents(self) -> list[Document]:
        """Every document that is in the index, by source."""
        return self._documents("WHERE duplicate IS NULL")

    def all_documents(self) -> list[Document]:
        """Every document that was read, duplicates included, by source."""
        return self._documents("")

    def document(self, source: str) -> Document:
        """One document.

        Raises:
            CorpusError: there is none of that source.
        """
        found = self._documents("WHERE source = ?", (source,))
        if not found:
            raise CorpusError(f"there is no document {source!r} in the corpus")
        return found[0]

    def duplicates(self) -> list[Reason]:
        """Documents left out, with the reason."""
        return self._reasons("SELECT source, duplicate FROM documents WHERE duplicate IS NOT NULL ORDER BY source")

    def copies(self) -> dict[str, str]:
        """Documents left out, to the one that is kept in the place of each."""
        with self._snapshot() as db:
            return dict(db.execute("SELECT source, kept FROM documents WHERE duplicate IS NOT NULL AND kept IS NOT NULL ORDER BY source"))

    def texts(self) -> list[TextEntry]:
        """Every document that was read, without its text, by source."""
        with self._snapshot() as db:
            return [
                TextEntry(*row)
                for row in db.execute("SELECT source, media_type, hash, sketch, kept, duplicate FROM documents ORDER BY source")
            ]

    def sources(self) -> list[tuple[str, str]]:
        """Every document with its file, by source."""
        with self._snapshot() as db:
            return db.execute("SELECT source, file FROM documents ORDER BY source").fetchall()

    def put_sketches(self, sketches: Mapping[str, bytes]) -> None:
        """Keep sketches of texts by source; they go when the text changes."""
        with self._transaction() as db:
            db.executemany("UPDATE documents SET sketch = ? WHERE source = ?", [(sketch, source) for source, sketch in sketches.items()])

    def repairs(self) -> dict[str, int]:
        """What cleaning did to the texts of all files, and how often."""
        counts: Counter[str] = Counter()
        with self._snapshot() as db:
            for (made,) in db.execute("SELECT repairs FROM files WHERE repairs != '{}'"):
                counts.update(json.loads(made))
        return dict(sorted(counts.items()))

    def skipped(self) -> list[Reason]:
        """Files that could not be read, with the reason."""
        return self._reasons("SELECT name, skipped FROM files WHERE skipped IS NOT NULL ORDER BY name")

    # Chunks

    def chunks(self, rows: Sequence[int]) -> list[Chunk]:
        """Chunks by row, in the order asked for; rows that are gone are left out."""
        found: dict[int, Chunk] = {}
        with self._snapshot():
            for some in _batches(rows):
                found.update((chunk.row, chunk) for chunk in self._chunks(f"WHERE chunks.row IN ({_marks(some)})", some))
        return [found[int(row)] for row in rows if int(row) in found]

    def all_chunks(self) -> list[Chunk]:
        """Every chunk, by document and place."""
        with self._snapshot():
            return list(self._chunks('ORDER BY source, chunks."start", chunks.row', ()))

    def chunks_of(self, source: str) -> tuple[list[Chunk], str]:
        """A document's chunks by place, and its text; both are of one state of the corpus.

        Raises:
            CorpusError: there is no document of that source.
        """
        with self._snapshot() as db:
            document = self.document(source)
            row = db.execute("SELECT id FROM documents WHERE source = ?", (source,)).fetchone()[0]
            return list(self._chunks('WHERE chunks.document = ? ORDER BY chunks."start", chunks.row', (row,))), document.text

    def rows(self, where: Where) -> Int64:
        """Rows of the chunks that may be found, rising."""
        with self._snapshot() as db:
            found = db.execute(f"SELECT row FROM chunks WHERE {IN_DOCUMENTS} ORDER BY row", (documents_where(db, where),)).fetchall()  # noqa: S608
        return np.array([row for (row,) in found], dtype=np.int64)

    def search_text(self, query: str, k: int, where: Where | None = None) -> list[tuple[int, float]]:
        """The ``k`` best rows by BM25 among those that may be found, with a score that is higher for better, equal scores by row.

        Any of the query's words may match; quotation marks and operators in it mean nothing.
        """
        words = list(dict.fromkeys(_WORD.findall(query.lower())))[:_QUERY_WORDS]
        if not words or k < 1:
            return []
        expression = " OR ".join(f'"{word}"' for word in words)
        with self._snapshot() as db:
            among = "" if where is None else f"AND rowid IN (SELECT row FROM chunks WHERE {IN_DOCUMENTS})"  # noqa: S608
            values = (expression, k) if where is None else (expression, documents_where(db, where), k)
            rows = db.execute(
                f"SELECT rowid, -bm25(fulltext) FROM fulltext WHERE fulltext MATCH ? {among} ORDER BY bm25(fulltext), rowid LIMIT ?",  # noqa: S608
                values,
            )
            return [(int(row), float(score)) for row, score in rows]

    # Vectors

    def missing_vectors(self, embedder: str) -> list[tuple[str, str]]:
        """``(key, text)`` of every text that is in the corpus and has no vector of this embedder; each text once."""
        with self._snapshot() as db:
            lacking = dict(
                db.execute(
                    "SELECT min(row), embedded FROM chunks "
                    "WHERE embedded NOT IN (SELECT embedded FROM vectors WHERE embedder = ?) GROUP BY embedded ORDER BY min(row)",
                    (embedder,),
                ).fetchall()
            )
            return [(lacking[chunk.row], embedding_text(chunk)) for chunk in self.chunks(list(lacking))]

    def put_vectors(self, embedder: str, keys: Sequence[str], vectors_nd: Float32) -> None:
        """Store vectors ``[n, d]`` under their texts' keys."""
        rows = [(key, embedder, vector.astype("<f4").tobytes()) for key, vector in zip(keys, vectors_nd, strict=True)]
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)

    def vectors(self, embedder: str, rows: Sequence[int] | None = None) -> tuple[Int64, Float32]:
        """Rows ``[n]``, rising, and vectors ``[n, d]`` of all chunks, or of some; chunks without a vector are left out."""
        select = "SELECT row, vector FROM chunks JOIN vectors USING (embedded) WHERE embedder = ?"
        found: list[tuple[int, bytes]] = []
        with self._snapshot() as db:
            if rows is None:
                found = db.execute(f"{select} ORDER BY row", (embedder,)).fetchall()
            else:
                for some in _batches(sorted(rows)):
                    found += db.execute(f"{select} AND row IN ({_marks(some)}) ORDER BY row", (embedder, *some)).fetchall()
        ids_n = np.array([row for row, _ in found], dtype=np.int64)
        if not found:
            return ids_n, np.zeros((0, 0), np.float32)
        values = np.frombuffer(b"".join(vector for _, vector in found), dtype="<f4")
        return ids_n, values.reshape(len(found), -1).astype(np.float32)

    def dimension(self, embedder: str) -> int | None:
        """Length of an embedder's vectors, ``None`` while there are none."""
        with self._snapshot() as db:
            found = db.execute("SELECT length(vector) / 4 FROM vectors WHERE embedder = ? LIMIT 1", (embedder,)).fetchone()
        return int(found[0]) if found else None

    def drop_vectors(self, embedder: str) -> int:
        """Remove the vectors of an embedder; how many there were."""
        with self._transaction() as db:
            return db.execute("DELETE FROM vectors WHERE embedder = ?", (embedder,)).rowcount

    def collect_vectors(self) -> int:
        """Remove vectors that no chunk refers to; how many there were."""
        with self._transaction() as db:
            return db.execute("DELETE FROM vectors WHERE embedded NOT IN (SELECT embedded FROM chunks)").rowcount

    # Generations

    @property
    def identity(self) -> str:
        """Random, made with the file: generations of two corpora cannot be compared, and this tells them apart."""
        return self.meta("identity") or ""

    @property
    def generation(self) -> int:
        """A counter that every change of chunks raises."""
        return int(self.meta("generation") or 0)

    @property
    def revision(self) -> int:
        """A counter that every file that is put or removed raises, whether chunks change by it or not."""
        return int(self.meta("revision") or 0)

    def changes(self, since: int) -> dict[int, bool]:
        """Rows added (``True``) or removed (``False``) after a generation, net of what came and went.

        Raises:
            CorpusError: the corpus has not reached that generation, so it is another corpus's.
        """
        with self._snapshot() as db:
            if since > self.generation:
                raise CorpusError(f"{self.path} is at generation {self.generation}, not {since} or later: it was made anew")
            logged = db.execute("SELECT row, added FROM changes WHERE generation > ? ORDER BY rowid", (since,))
            return {int(row): bool(added) for row, added in logged}

    def meta(self, name: str) -> str | None:
        """A note kept with the corpus."""
        with self._snapshot() as db:
            found = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return found[0] if found else None

    def set_meta(self, name: str, value: str) -> None:
        """Keep a note with the corpus."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def stats(self) -> Stats:
        """Counts of files read, documents and chunks in the index."""
        with self._snapshot() as db:
            count = db.execute(
                "SELECT (SELECT count(*) FROM files WHERE skipped IS NULL), "
                "(SELECT count(*) FROM documents WHERE duplicate IS NULL), (SELECT count(*) FROM chunks)"
            ).fetchone()
        return Stats(*count)

    # Transactions

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """Everything read inside is of one state of the file, whatever another process writes meanwhile."""
        with self._lock, sqlite_errors(self.path):
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                self._db.execute("ROLLBACK")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One write, whole or not at all; raises the generation where chunks came or went."""
        with self._lock, sqlite_errors(self.path):
            db = self._db
            if self._batching:
                yield db
                return
            db.execute("BEGIN IMMEDIATE")
            try:
                before = db.execute("SELECT max(rowid) FROM changes").fetchone()
                yield db
                if db.execute("SELECT max(rowid) FROM changes").fetchone() != before:
                    db.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # SQLite itself rolls back when the disk is full
                    db.execute("ROLLBACK")
                raise

    # Inside a transaction

    def _revise(self) -> None:
        self._db.execute("INSERT INTO meta VALUES ('revision', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1")

    def _put_document(self, file: str, document: Document, chunks: Sequence[Chunk]) -> None:
        values = {
            "source": document.source,
            "file": file,
            "title": document.title,
            "text": document.text,
            "hash": _hash(document.text),
            "media_type": document.media_type,
            "metadata": json.dumps(dict(document.metadata), ensure_ascii=False),
        }
        row = self._db.execute(
            "INSERT INTO documents (source, file, title, text, hash, media_type, metadata) "
            "VALUES (:source, :file, :title, :text, :hash, :media_type, :metadata) "
            "ON CONFLICT (source) DO UPDATE SET file = :file, title = :title, text = :text, hash = :hash, media_type = :media_type, "
            "metadata = :metadata, duplicate = NULL, kept = NULL, sketch = CASE hash WHEN :hash THEN sketch END RETURNING id",
            values,
        ).fetchone()[0]
        self._put_chunks(row, document, chunks)

    def _put_chunks(self, row: int, document: Document, chunks: Sequence[Chunk]) -> None:
        known = {id_: rest for id_, *rest in self._db.execute("SELECT id, row, embedded FROM chunks WHERE document = ?", (row,))}
        wanted = {chunk.id: chunk for chunk in chunks}
        keys = {chunk.id: _hash(embedding_text(chunk)) for chunk in chunks}
        for id_, (old, embedded) in known.items():
            if keys.get(id_) != embedded:
                self._drop_chunk(old)
        for id_, chunk in wanted.items():
            if document.text[chunk.start : chunk.end] != chunk.text:
                raise ValueError(f"chunk {id_} is not {document.source}[{chunk.start}:{chunk.end}]")
            place = (chunk.start, chunk.end, json.dumps(chunk.headings, ensure_ascii=False))
            if id_ in known and known[id_][1] == keys[id_]:
                self._db.execute('UPDATE chunks SET "start" = ?, "end" = ?, headings = ? WHERE id = ?', (*place, id_))
            else:
                self._add_chunk(row, chunk, place, keys[id_])

    def _add_chunk(self, document: int, chunk: Chunk, place: tuple[int, int, str], key: str) -> None:
        row = self._db.execute(
            'INSERT INTO chunks (id, document, "start", "end", headings, prefix, embedded) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING row',
            (chunk.id, document, *place, chunk.prefix, key),
        ).fetchone()[0]
        self._db.execute("INSERT INTO fulltext (rowid, prefix, text) VALUES (?, ?, ?)", (row, chunk.prefix, chunk.text))
        self._log(row, added=True)

    def _drop_document(self, row: int) -> None:
        for (chunk,) in self._db.execute("SELECT row FROM chunks WHERE document = ?", (row,)).fetchall():
            self._drop_chunk(chunk)
        self._db.execute("DELETE FROM documents WHERE id = ?", (row,))

    def _drop_chunk(self, row: int) -> None:
        self._db.execute("DELETE FROM chunks WHERE row = ?", (row,))
        self._db.execute("DELETE FROM fulltext WHERE rowid = ?", (row,))
        self._log(row, added=False)

    def _log(self, row: int, *, added: bool) -> None:
        self._db.execute("INSERT INTO changes SELECT value + 1, ?, ? FROM meta WHERE name = 'generation'", (row, added))

    # Records

    def _documents(self, where: str, values: Sequence[str] = ()) -> list[Document]:
        with self._snapshot() as db:
            rows = db.execute(f"SELECT source, title, text, media_type, metadata FROM documents {where} ORDER BY source", values)  # noqa: S608
            return [Document(source, title, text, kind, json.loads(metadata)) for source, title, text, kind, metadata in rows]

    def _reasons(self, statement: str) -> list[Reason]:
        with self._snapshot() as db:
            return [Reason(*row) for row in db.execute(statement)]

    def _chunks(self, where: str, values: Sequence[int]) -> Iterator[Chunk]:
        statement = (
            'SELECT chunks.row, chunks.id, documents.id, source, title, hash, chunks."start", chunks."end", headings, prefix '  # noqa: S608
            f"FROM chunks JOIN documents ON documents.id = chunks.document {where}"
        )
        for row, id_, document, source, title, hash_, start, end, headings, prefix in self._db.execute(statement, values).fetchall():
            text = self._text(document, hash_)[start:end]
            yield Chunk(id_, source, start, end, text, title, tuple(json.loads(headings)), prefix, row)

    def _text(self, document: int, hash_: str) -> str:
        """A document's text; a few are kept, since chunks of one come together. The hash tells when another process replaced it."""
        if document in self._texts and self._texts[document][0] == hash_:
            return self._texts[document][1]
        if len(self._texts) >= _TEXTS_KEPT:
            del self._texts[next(iter(self._texts))]
        text: str = self._db.execute("SELECT text FROM documents WHERE id = ?", (document,)).fetchone()[0]
        self._texts[document] = hash_, text
        return text


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _batches(rows: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(rows), _BATCH):
        yield [int(row) for row in rows[start : start + _BATCH]]


def _marks(values: Sequence[int]) -> str:
    return ",".join("?" * len(values))


__all__ = ["Corpus", "FileState", "Stats", "TextEntry", "embedding_text"]
