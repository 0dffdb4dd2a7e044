"""The SQLite store: documents, chunks, full text and vectors. THE TRUTH about the documents; everything else can be made from it again.

One process writes at a time (the workspace's lock sees to it), any number read. Every change is one transaction, so a killed process
leaves the store as it was before or after, never between. Row ids of chunks are never reused: they are the ids of the vector index.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ragtune.corpus import fulltext, listing, vectors
from ragtune.corpus.documents import drop_document, embedding_key, put_chunks, put_document
from ragtune.corpus.filter import IN_DOCUMENTS, decides, documents_where, effective, tags_of
from ragtune.corpus.records import FileState, Listed, Overview, Stats, TextEntry, embedding_text
from ragtune.corpus.schema import open_database, sqlite_errors
from ragtune.corpus.vectors import batches, marks
from ragtune.errors import CorpusError
from ragtune.protocols import Float32, Int64
from ragtune.sqlite import forget_pages
from ragtune.types import JSON, Chunk, Document, Reason, Where

_TEXTS_KEPT = 64
_MAPPED = 2**31 - 2**16  # bytes, the most that SQLite is commonly built for


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
        given: Mapping[str, Mapping[str, JSON]] | None = None,
    ) -> None:
        """Replace everything of one file in one transaction; a chunk whose id and prefix stay keeps its row, and so its vector.

        Args:
            name: of the file.
            hash_: of its bytes.
            key: of the readers and settings.
            documents: what was read, each with its chunks; empty where it was skipped.
            skipped: why nothing was read.
            repairs: what cleaning did to its text, and how often.
            given: metadata above that of the file, by source.

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
                    drop_document(db, row)
            for document, chunks in documents:
                put_document(db, name, document, chunks, (given or {}).get(document.source, {}))

    def remove_files(self, names: Iterable[str]) -> None:
        """Remove files with all that came from them."""
        with self._transaction() as db:
            for name in names:
                for (row,) in db.execute("SELECT id FROM documents WHERE file = ?", (name,)).fetchall():
                    drop_document(db, row)
                db.execute("DELETE FROM files WHERE name = ?", (name,))
                self._revise()

    def remove_documents(self, sources: Iterable[str]) -> list[str]:
        """Remove documents, and files that nothing is left of; the sources of those that were there."""
        removed = []
        with self._transaction() as db:
            for source in sources:
                for row, file in db.execute("SELECT id, file FROM documents WHERE source = ?", (source,)).fetchall():
                    drop_document(db, row)
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
            put_chunks(db, row, document, chunks)

    def documents(self) -> list[Document]:
        """Every document that is in the index, by source."""
        return self._documents("WHERE duplicate IS NULL")

    def all_documents(self) -> list[Document]:
        """Every document that was read, duplicates included, by source; not those that a filter leaves out."""
        return self._documents("WHERE duplicate IS NULL OR kept IS NOT NULL")

    def document(self, source: str) -> Document:
        """One document.

        Raises:
            CorpusError: there is none of that source.
        """
        found = self._documents("WHERE source = ?", (source,))
        if not found:
            raise CorpusError(f"there is no document {source!r} in the corpus")
        return found[0]

    def page_starts(self, sources: Iterable[str]) -> dict[str, list[int]]:
        """Where each page of some documents starts in its text, of those that have pages."""
        wanted = sorted(set(sources))
        with self._snapshot() as db:
            found = db.execute(
                f"SELECT source, json_extract(metadata, '$.page_starts') FROM documents WHERE source IN ({','.join('?' * len(wanted))})",  # noqa: S608
                wanted,
            ).fetchall()
        return {source: json.loads(starts) for source, starts in found if starts}

    def duplicates(self) -> list[Reason]:
        """Documents left out because another is kept in their place, with the reason."""
        return self._reasons("SELECT source, duplicate FROM documents WHERE kept IS NOT NULL ORDER BY source")

    def left_out(self) -> list[Reason]:
        """Documents that a filter leaves out, with the reason."""
        return self._reasons("SELECT source, duplicate FROM documents WHERE duplicate IS NOT NULL AND kept IS NULL ORDER BY source")

    def give(self, wanted: Mapping[str, Mapping[str, JSON]]) -> int:
        """Set the metadata that the project gives, of all documents: those named get theirs, the others none. How many changed.

        It is in force for the next search; no chunk, vector or index changes.
        """
        with self._transaction() as db:
            changed = [
                (new, source, old)
                for source, old in db.execute("SELECT source, given FROM documents").fetchall()
                if (new := json.dumps(dict(wanted.get(source, {})), ensure_ascii=False)) != old
            ]
            db.executemany("UPDATE documents SET given = ? WHERE source = ?", [(new, source) for new, source, _ in changed])
            if any(decides(old) != decides(new) for new, _, old in changed):
                self._revise()
        return len(changed)

    def copies(self) -> dict[str, str]:
        """Documents left out, to the one that is kept in the place of each."""
        with self._snapshot() as db:
            return dict(db.execute("SELECT source, kept FROM documents WHERE duplicate IS NOT NULL AND kept IS NOT NULL ORDER BY source"))

    def texts(self) -> list[TextEntry]:
        """Every document that was read, without its text, by source."""
        statement = "SELECT source, media_type, hash, sketch, kept, duplicate, file, metadata, given FROM documents ORDER BY source"
        with self._snapshot() as db:
            return [
                TextEntry(source, media_type, hash_, sketch, kept, reason, file, tags_of(metadata, given))
                for source, media_type, hash_, sketch, kept, reason, file, metadata, given in db.execute(statement)
            ]

    def overview(self) -> list[Overview]:
        """Every document that was read, by source."""
        statement = (
            "SELECT source, file, media_type, length(text), coalesce(n, 0), duplicate IS NOT NULL, metadata, given FROM documents "
            "LEFT JOIN (SELECT document, count(*) AS n FROM chunks GROUP BY document) ON document = id ORDER BY source"
        )
        found = []
        with self._snapshot() as db:
            for source, file, media_type, characters, chunks, duplicate, *said in db.execute(statement):
                metadata = effective(*said) if any('"language"' in each or '"pages_without_text"' in each for each in said) else {}
                language, empty = str(metadata.get("language") or ""), metadata.get("pages_without_text")
                pages = len(empty) if isinstance(empty, list) else 0
                found.append(Overview(source, file, media_type, language, characters, chunks, bool(duplicate), pages))
        return found

    def listed(self, query: str = "", offset: int = 0, limit: int = 50, access: tuple[str, ...] | None = None) -> tuple[list[Listed], int]:
        """Documents that source or title fit, a page of them by source, and how many there are; see :mod:`ragtune.corpus.listing`."""
        with self._snapshot() as db:
            return listing.read(db, query, offset, limit, access)

    def file_of(self, source: str) -> str | None:
        """The file that a document came from."""
        with self._snapshot() as db:
            found = db.execute("SELECT file FROM documents WHERE source = ?", (source,)).fetchone()
        return found[0] if found else None

    def file_repairs(self) -> dict[str, dict[str, int]]:
        """What cleaning did to each file's texts, of files in which it did something."""
        with self._snapshot() as db:
            return {
                name: json.loads(made) for name, made in db.execute("SELECT name, repairs FROM files WHERE repairs != '{}' ORDER BY name")
            }

    def languages(self) -> dict[str, JSON]:
        """What the metadata of documents says of their language, by source."""
        with self._snapshot() as db:
            rows = db.execute("SELECT source, metadata, given FROM documents").fetchall()
        return {source: effective(*said).get("language") for source, *said in rows if any('"language"' in each for each in said)}

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

    def chunks(self, rows: Sequence[int] | Int64) -> list[Chunk]:
        """Chunks by row, in the order asked for; rows that are gone are left out."""
        found: dict[int, Chunk] = {}
        with self._snapshot():
            for some in batches(rows):
                found.update((chunk.row, chunk) for chunk in self._chunks(f"WHERE chunks.row IN ({marks(some)})", some))
        return [found[int(row)] for row in rows if int(row) in found]

    def all_chunks(self) -> list[Chunk]:
        """Every chunk, by document and place."""
        with self._snapshot():
            return list(self._chunks('ORDER BY source, chunks."start", chunks.row', ()))

    def places(self) -> Iterator[str]:
        """Id, source, start, end and prefix of every chunk, a line for each, in the order of the lines' code points."""
        line = "chunks.id || ' ' || source || ' ' || \"start\" || ' ' || \"end\" || ' ' || prefix"
        with self._snapshot() as db:
            for (place,) in db.execute(f"SELECT {line} AS line FROM chunks JOIN documents ON documents.id = document ORDER BY line"):  # noqa: S608
                yield place

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
        with self._snapshot() as db:
            return fulltext.search(db, query, k, where)

    # Vectors

    def lacks_vectors(self, embedder: str) -> bool:
        """Whether some text in the corpus has no vector of this embedder."""
        with self._snapshot() as db:
            return vectors.lacking(db, embedder)

    def missing_rows(self, embedder: str) -> Int64:
        """A row, rising, for each text that is in the corpus and has no vector of this embedder; each text once."""
        with self._snapshot() as db:
            return vectors.missing_rows(db, embedder)

    def embedding_texts(self, rows: Sequence[int] | Int64) -> list[tuple[str, str]]:
        """``(key, text)`` of chunks as they are embedded; rows that are gone are left out."""
        return [(embedding_key(text), text) for text in map(embedding_text, self.chunks(rows))]

    def put_vectors(self, embedder: str, keys: Sequence[str], vectors_nd: Float32) -> None:
        """Store vectors ``[n, d]`` under their texts' keys."""
        with self._transaction() as db:
            vectors.put(db, embedder, keys, vectors_nd)

    def vectors(self, embedder: str, rows: Sequence[int] | Int64 | None = None) -> tuple[Int64, Float32]:
        """Rows ``[n]``, rising, and vectors ``[n, d]`` of all chunks, or of some; chunks without a vector are left out."""
        with self._snapshot() as db:
            return vectors.read(db, embedder, rows)

    def map_file(self) -> None:
        """Read the file by mapping it from now on: many times faster where single rows are read from all over it, as exact vectors are."""
        with self._lock, sqlite_errors(self.path):
            self._db.execute(f"PRAGMA mmap_size = {_MAPPED}").fetchall()

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
        """A counter that every file put or removed raises, whether chunks change or not, and every change of given tags or language."""
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

    # Records

    def _documents(self, where: str, values: Sequence[str] = ()) -> list[Document]:
        with self._snapshot() as db:
            rows = db.execute(f"SELECT source, title, text, media_type, metadata, given FROM documents {where} ORDER BY source", values)  # noqa: S608
            return [Document(source, title, text, kind, effective(*said)) for source, title, text, kind, *said in rows]

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
