"""The SQLite store: syncs, rows, vectors, full text, and what a kill or a foreign file does to it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtune.corpus import Corpus, FileState, embedding_text
from ragtune.corpus.schema import APPLICATION_ID
from ragtune.errors import CorpusError
from ragtune.protocols import Float32
from ragtune.types import Chunk, Document, Reason

TEXT = "Die Gondel fährt um 7:40 🚠 ab.\n\nThe café closes at noon.\n\nQX-771 is the spare key."


FORMAT_2 = """
CREATE TABLE files (
    name TEXT PRIMARY KEY,      -- path under the ingested folder
    hash TEXT NOT NULL,         -- SHA-256 of the file's bytes
    key TEXT NOT NULL,          -- of the readers and settings that read it
    skipped TEXT                -- why nothing was read, else NULL
) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL UNIQUE,
    file TEXT NOT NULL REFERENCES files (name) ON DELETE CASCADE,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    hash TEXT NOT NULL,         -- of the text
    media_type TEXT NOT NULL,
    metadata TEXT NOT NULL,     -- JSON
    duplicate TEXT              -- why it is left out of the index, else NULL
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


def chunk(document: Document, start: int, end: int, *, prefix: str = "", id_: str | None = None) -> Chunk:
    text = document.text[start:end]
    return Chunk(id_ or f"{document.source}:{text}", document.source, start, end, text, document.title, ("Top",), prefix)


def cut(source: str, text: str = TEXT, *, title: str = "T", prefix: str = "") -> tuple[Document, list[Chunk]]:
    document = Document(source, title, text, "text/plain", {"pages": [0, 3], "author": None})
    chunks, at = [], 0
    for part in text.split("\n\n"):
        chunks.append(chunk(document, at, at + len(part), prefix=prefix))
        at += len(part) + 2
    return document, chunks


def vectors(n: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal((n, 4)).astype(np.float32)


def rows(corpus: Corpus) -> dict[str, int]:
    return {c.text: c.row for c in corpus.all_chunks()}


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Corpus]:
    opened = Corpus(tmp_path / "corpus.db")
    yield opened
    opened.close()


class TestSync:
    def test_what_is_stored_comes_back_with_exact_offsets(self, corpus: Corpus) -> None:
        document, chunks = cut("a.md", prefix="Top")
        corpus.put_file("a.md", "h", "k", [(document, chunks)])
        assert corpus.document("a.md") == document
        stored = corpus.all_chunks()
        assert [c.text for c in stored] == TEXT.split("\n\n")
        assert [(c.id, c.start, c.end, c.prefix, c.headings, c.title) for c in stored] == [
            (c.id, c.start, c.end, "Top", ("Top",), "T") for c in chunks
        ]
        assert corpus.files() == {"a.md": FileState("h", "k", None)}

    def test_a_changed_file_keeps_the_rows_and_vectors_of_chunks_that_stay(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        corpus.put_vectors("e", [key for key, _ in corpus.embedding_texts(corpus.missing_rows("e"))], vectors(3))
        before = rows(corpus)
        corpus.put_file("a.md", "2", "k", [cut("a.md", "A new opening.\n\n" + TEXT.rsplit("\n\n", 1)[0])])
        after = rows(corpus)
        kept = set(before) & set(after)
        assert len(kept) == 2
        assert all(before[text] == after[text] for text in kept)
        assert [text for _, text in corpus.embedding_texts(corpus.missing_rows("e"))] == ["A new opening."]
        for c in corpus.all_chunks():
            assert corpus.document("a.md").text[c.start : c.end] == c.text

    def test_a_new_prefix_gives_a_new_row_because_it_is_embedded_too(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md", prefix="Old")])
        before = set(rows(corpus).values())
        corpus.put_file("a.md", "2", "k", [cut("a.md", prefix="New")])
        assert before.isdisjoint(rows(corpus).values())
        assert corpus.search_text("old", 5) == []

    def test_rows_are_never_used_again(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        first = set(rows(corpus).values())
        corpus.remove_files(["a.md"])
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        assert min(rows(corpus).values()) > max(first)

    def test_a_file_of_many_records_is_replaced_as_one(self, corpus: Corpus) -> None:
        corpus.put_file("t.csv", "1", "k", [cut(f"t.csv#{i}", f"record {i}") for i in range(5)])
        corpus.put_file("t.csv", "2", "k", [cut(f"t.csv#{i}", f"record {i}") for i in range(3, 7)])
        assert [d.source for d in corpus.documents()] == [f"t.csv#{i}" for i in range(3, 7)]
        assert corpus.stats().chunks == 4

    def test_a_removed_file_leaves_documents_chunks_and_full_text(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        corpus.put_file("b.md", "1", "k", [cut("b.md", "Only this.")])
        corpus.remove_files(["a.md", "never-there.md"])
        assert [d.source for d in corpus.documents()] == ["b.md"]
        assert corpus.search_text("café", 5) == []
        assert corpus.stats().chunks == 1
        with pytest.raises(CorpusError, match="no document"):
            corpus.document("a.md")

    def test_skipped_files_and_duplicates_are_listed_with_their_reason(self, corpus: Corpus) -> None:
        corpus.put_file("scan.pdf", "1", "k", [], skipped="no text")
        document, chunks = cut("b.md")
        corpus.put_file("b.md", "1", "k", [(document, chunks)])
        corpus.set_duplicate("b.md", "copy of a.md", [], "a.md")
        assert corpus.skipped() == [Reason("scan.pdf", "no text")]
        assert corpus.duplicates() == [Reason("b.md", "copy of a.md")]
        assert corpus.documents() == []
        assert corpus.all_documents() == [document]
        assert (corpus.stats().files, corpus.stats().chunks) == (1, 0)
        corpus.set_duplicate("b.md", None, chunks)
        assert corpus.documents() == [document]
        with pytest.raises(CorpusError):
            corpus.set_duplicate("gone.md", "copy", [])

    def test_a_chunk_that_is_no_stretch_of_its_document_is_refused_and_nothing_is_written(self, corpus: Corpus) -> None:
        document, chunks = cut("a.md")
        wrong = Chunk("x", "a.md", 0, 5, "not it")
        with pytest.raises(ValueError, match=r"a.md\[0:5\]"):
            corpus.put_file("a.md", "1", "k", [(document, [*chunks, wrong])])
        assert corpus.files() == {}
        assert corpus.generation == 0

    def test_a_batch_is_written_whole_or_not_at_all(self, corpus: Corpus) -> None:
        with corpus.batch():
            corpus.put_file("a.md", "1", "k", [cut("a.md")])
            corpus.put_file("b.md", "1", "k", [cut("b.md", "Only this.")])
        assert (corpus.generation, corpus.stats().documents) == (1, 2)

        def fail() -> None:
            with corpus.batch():
                corpus.remove_files(["a.md"])
                raise KeyError("stop")

        with pytest.raises(KeyError, match="stop"):
            fail()
        assert (corpus.generation, corpus.stats().documents) == (1, 2)
        corpus.remove_files(["a.md"])
        assert corpus.stats().documents == 1

    def test_every_change_of_a_file_raises_the_revision_even_where_no_chunk_changes(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md", "one\n\ntwo")])
        generation, revision = corpus.generation, corpus.revision
        document = Document("a.md", "T", "one\n\n\ntwo")
        corpus.put_file("a.md", "2", "k", [(document, [chunk(document, 0, 3), chunk(document, 6, 9)])])
        assert (corpus.generation, corpus.revision) == (generation, revision + 1)

    def test_a_sketch_stays_as_long_as_its_text(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        corpus.put_sketches({"a.md": b"12"})
        corpus.put_file("a.md", "2", "k", [cut("a.md", title="Other")])
        assert [text.sketch for text in corpus.texts()] == [b"12"]
        corpus.put_file("a.md", "3", "k", [cut("a.md", "other")])
        assert [text.sketch for text in corpus.texts()] == [None]


class TestGenerations:
    def test_changes_patch_an_old_copy_into_the_new_state(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        copy, seen = set(rows(corpus).values()), corpus.generation
        corpus.put_file("a.md", "2", "k", [cut("a.md", "one\n\ntwo")])
        corpus.put_file("b.md", "1", "k", [cut("b.md")])
        corpus.remove_files(["b.md"])
        changes = corpus.changes(seen)
        copy = (copy | {row for row, added in changes.items() if added}) - {row for row, added in changes.items() if not added}
        assert copy == set(rows(corpus).values())
        assert corpus.changes(corpus.generation) == {}

    def test_what_changes_no_chunk_keeps_the_generation(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        before = corpus.generation
        corpus.put_file("a.md", "2", "other", [cut("a.md", title="New title")])
        corpus.put_vectors("e", ["key"], vectors(1))
        corpus.set_meta("note", "x")
        assert corpus.generation == before
        assert corpus.all_chunks()[0].title == "New title"

    def test_a_generation_of_another_corpus_is_refused(self, corpus: Corpus, tmp_path: Path) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        with pytest.raises(CorpusError, match="made anew"):
            corpus.changes(corpus.generation + 1)
        other = Corpus(tmp_path / "other.db")
        assert other.identity != corpus.identity
        other.close()


class TestVectors:
    def test_equal_texts_are_embedded_once_and_come_back_for_every_row(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md", "same\n\nother")])
        corpus.put_file("b.md", "1", "k", [cut("b.md", "same", prefix="")])
        missing = corpus.embedding_texts(corpus.missing_rows("e"))
        assert [text for _, text in missing] == ["same", "other"]
        made = vectors(2)
        corpus.put_vectors("e", [key for key, _ in missing], made)
        assert corpus.embedding_texts(corpus.missing_rows("e")) == []
        ids, stored = corpus.vectors("e")
        assert list(ids) == [1, 2, 3]
        np.testing.assert_array_equal(stored, made[[0, 1, 0]])

    def test_whether_any_vector_is_missing_is_told_as_the_list_of_them_tells_it(self, corpus: Corpus) -> None:
        assert not corpus.lacks_vectors("e")
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        corpus.put_file("b.md", "1", "k", [cut("b.md")])
        missing = dict(corpus.embedding_texts(corpus.missing_rows("e")))
        assert sorted(missing.values()) == sorted(TEXT.split("\n\n")), "each text once"
        assert len(corpus.missing_rows("e")) == len(missing)
        for left, key in zip((2, 1, 0), missing, strict=True):
            corpus.put_vectors("e", [key], vectors(1))
            assert (corpus.lacks_vectors("e"), len(corpus.missing_rows("e"))) == (left > 0, left)
        assert corpus.lacks_vectors("another")

    def test_places_come_in_the_order_in_which_python_sorts_the_lines(self, corpus: Corpus) -> None:
        for source in ("z.md", "a b.md", "ä.md", "\U0001f6a0.md", "\uffee.md", "a.md"):
            corpus.put_file(source, "1", "k", [cut(source, prefix="Ä › B")])
        lines = [f"{c.id} {c.document} {c.start} {c.end} {c.prefix}" for c in corpus.all_chunks()]
        assert list(corpus.places()) == sorted(lines)

    def test_vectors_of_another_embedder_do_not_count(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        corpus.put_vectors("one", [key for key, _ in corpus.embedding_texts(corpus.missing_rows("one"))], vectors(3))
        assert len(corpus.embedding_texts(corpus.missing_rows("two"))) == 3
        assert corpus.vectors("two")[0].shape == (0,)

    def test_some_rows_are_read_in_rising_order_and_without_those_that_are_gone(self, corpus: Corpus) -> None:
        corpus.put_file("t", "1", "k", [cut(f"t#{i}", f"text {i}") for i in range(1200)])
        made = vectors(1200)
        corpus.put_vectors("e", [key for key, _ in corpus.embedding_texts(corpus.missing_rows("e"))], made)
        ids, stored = corpus.vectors("e", [1100, 3, 99_999])
        assert list(ids) == [3, 1100]
        np.testing.assert_array_equal(stored, made[[2, 1099]])
        assert [c.row for c in corpus.chunks([1100, 3, 99_999, 1200])] == [1100, 3, 1200]

    def test_vectors_without_a_chunk_are_collected(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        corpus.put_vectors("e", [key for key, _ in corpus.embedding_texts(corpus.missing_rows("e"))], vectors(3))
        corpus.put_file("a.md", "2", "k", [cut("a.md", TEXT.split("\n\n")[0])])
        assert corpus.collect_vectors() == 2
        assert corpus.collect_vectors() == 0
        assert len(corpus.vectors("e")[0]) == 1

    def test_what_is_embedded_is_the_prefix_on_its_own_line_and_the_text(self) -> None:
        document, _ = cut("a.md")
        assert embedding_text(chunk(document, 0, 3, prefix="Top > Sub")) == "Top > Sub\nDie"
        assert embedding_text(chunk(document, 0, 3)) == "Die"


class TestFullText:
    def test_accents_case_and_word_endings_do_not_matter_and_prefixes_are_searched(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md", prefix="Timetable")])
        found = {c.row: c.text for c in corpus.all_chunks()}
        assert [found[row] for row, _ in corpus.search_text("CAFE closing", 5)] == ["The café closes at noon."]
        assert [found[row] for row, _ in corpus.search_text("where is QX-771?", 1)] == ["QX-771 is the spare key."]
        assert len(corpus.search_text("timetables", 5)) == 3

    def test_better_matches_score_higher_and_equal_ones_come_by_row(self, corpus: Corpus) -> None:
        corpus.put_file("t", "1", "k", [cut(f"t#{i}", text) for i, text in enumerate(["red fox", "red owl", "blue owl", "red owl"])])
        found = corpus.search_text("red owl", 9)
        assert [row for row, _ in found][:2] == [2, 4]
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        assert found[0][1] > found[2][1]
        assert corpus.search_text("red owl", 0) == []

    def test_of_many_chunks_words_that_most_of_them_hold_are_left_out_and_the_best_stay_the_best(
        self, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        draw = random.Random(0)
        texts = [
            " ".join(["the owl", *draw.choices(["fox", "mill", "heron", "slate", "ferry", "of"], [9, 2, 2, 2, 1, 30], k=9)])
            for _ in range(60)
        ]
        corpus.put_file("t", "1", "k", [cut(f"t#{i}", text) for i, text in enumerate(texts)])
        statements: list[str] = []
        for query in ("the mill of the ferry", "heron of slate", "the owl", "of the", "ferry", "the " * 70, "of unheard"):
            for k in (1, 10, 50, 60):
                expected = corpus.search_text(query, k)
                with monkeypatch.context() as patch:
                    patch.setattr("ragtune.corpus.fulltext._MANY", 10)
                    corpus._db.set_trace_callback(statements.append)
                    found = corpus.search_text(query, k)
                    corpus._db.set_trace_callback(None)
                assert len(found) == len(expected)
                assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=2e-4)
                scores = dict(expected)
                assert all(scores.get(row, expected[-1][1]) == pytest.approx(score, abs=2e-4) for row, score in found), "but for ties"
        asked = [statement for statement in statements if "bm25" in statement]
        assert any('\'"mill" OR "ferry"\'' in statement for statement in asked), "without the words of most chunks"
        assert any('\'"the" OR "owl"\'' in statement for statement in asked), "with them, where there are no others"

    @given(
        query=st.text(max_size=60)
        | st.sampled_from(['"', "a AND", "NEAR(a b)", "prefix:x", "a*", "^", "-- x", "'; DROP TABLE chunks", "_", "\0a", "\ud800"])
    )
    @settings(max_examples=150)
    def test_no_query_raises(self, corpus: Corpus, query: str) -> None:
        if not corpus.files():
            corpus.put_file("a.md", "1", "k", [cut("a.md")])
        corpus.search_text(query, 5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ragtune.corpus.fulltext._MANY", 0)
            corpus.search_text(query, 5)
        assert corpus.stats().chunks == 3

    def test_a_query_of_a_whole_book_is_cut_not_refused(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        assert corpus.search_text("noon " + " ".join(f"word{i}" for i in range(50_000)), 5)


class TestOpening:
    @pytest.mark.parametrize("content", [b"not a database, but a letter\n" * 200, b"\x00" * 4096])
    def test_a_file_that_is_no_database_is_named_and_left_alone(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "corpus.db"
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=r"corpus\.db"):
            Corpus(path)
        assert path.read_bytes() == content

    def test_another_programs_database_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "corpus.db"
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE recipes (name)")
        other.close()
        before = path.read_bytes()
        with pytest.raises(CorpusError, match="another program"):
            Corpus(path)
        assert path.read_bytes() == before

    @pytest.mark.parametrize(("version", "message"), [(99, "update ragtune"), (1, "ingest")])
    def test_another_format_says_what_to_do(self, tmp_path: Path, version: int, message: str) -> None:
        path = tmp_path / "corpus.db"
        Corpus(path).close()
        db = sqlite3.connect(path)
        db.execute(f"PRAGMA user_version = {version}")
        db.close()
        with pytest.raises(CorpusError, match=message):
            Corpus(path)

    def test_a_corpus_of_format_2_is_brought_up_and_keeps_everything(self, tmp_path: Path) -> None:
        path = tmp_path / "corpus.db"
        with contextlib.closing(Corpus(path)) as corpus:
            for source in ("a (9% alike)\n.md", "b.md", "c.md"):
                corpus.put_file(source, "1", "k", [cut(source)])
            corpus.set_duplicate("b.md", "same text as a (9% alike)\n.md", [], "a (9% alike)\n.md")
            corpus.set_duplicate("c.md", "nearly the same text as b.md (97% alike)", [], "b.md")
            before = rows(corpus), corpus.generation, corpus.duplicates(), corpus.all_documents()
        path.rename(tmp_path / "new.db")
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.executescript(FORMAT_2)
            db.execute("ATTACH ? AS new", (str(tmp_path / "new.db"),))
            for table in ("files", "documents", "chunks", "changes", "meta"):
                columns = ", ".join(f'"{column[1]}"' for column in db.execute(f"PRAGMA main.table_info({table})"))
                db.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")  # noqa: S608
            db.execute("INSERT INTO fulltext (rowid, prefix, text) SELECT rowid, prefix, text FROM new.fulltext")
            db.execute("DELETE FROM meta WHERE name = 'revision'")
            db.execute("INSERT INTO meta VALUES ('deduped', '1 0.9')")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("PRAGMA user_version = 2")
            db.commit()
        for _ in range(2):
            with contextlib.closing(Corpus(path)) as corpus:
                assert (rows(corpus), corpus.generation, corpus.duplicates(), corpus.all_documents()) == before
                assert corpus.copies() == {"b.md": "a (9% alike)\n.md", "c.md": "b.md"}
                assert (corpus.repairs(), corpus.meta("deduped")) == ({}, None)
        with contextlib.closing(Corpus(path)) as corpus:
            corpus.put_file("d.md", "1", "k", [cut("d.md", "new")], repairs={"mojibake": 2})
            assert (corpus.repairs(), corpus.revision) == ({"mojibake": 2}, 1)

    def test_a_corpus_of_format_3_is_brought_up_and_keeps_everything(self, tmp_path: Path) -> None:
        path = tmp_path / "corpus.db"
        with contextlib.closing(Corpus(path)) as corpus:
            corpus.put_file("a.md", "1", "k", [cut("a.md")])
            before = rows(corpus), corpus.generation, corpus.all_documents()
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("ALTER TABLE documents DROP COLUMN given")
            db.execute("PRAGMA user_version = 3")
        for _ in range(2):
            with contextlib.closing(Corpus(path)) as corpus:
                assert (rows(corpus), corpus.generation, corpus.all_documents()) == before
        with contextlib.closing(Corpus(path)) as corpus:
            assert corpus.give({"a.md": {"access": ["staff"]}}) == 1

    def test_a_torn_file_is_a_corpus_error_whenever_it_is_met(self, tmp_path: Path) -> None:
        path = tmp_path / "corpus.db"
        corpus = Corpus(path)
        corpus.put_file("t", "1", "k", [cut(f"t#{i}", f"text number {i} " * 50) for i in range(200)])
        corpus.close()
        data = path.read_bytes()
        path.write_bytes(data[:4096] + b"\xff" * 8192 + data[12288 : len(data) // 2])
        with pytest.raises(CorpusError, match="damaged"):  # noqa: PT012 - on opening or on reading, either is good
            torn = Corpus(path)
            try:
                torn.all_chunks()
                torn.search_text("text", 5)
            finally:
                torn.close()

    def test_a_missing_folder_is_a_corpus_error(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError):
            Corpus(tmp_path / "nowhere" / "corpus.db")

    def test_many_may_make_it_at_once(self, tmp_path: Path) -> None:
        for attempt in range(8):
            path, start = tmp_path / f"{attempt}.db", threading.Barrier(6)

            def open_it(path: Path = path, start: threading.Barrier = start) -> str:
                start.wait()
                with contextlib.closing(Corpus(path)) as corpus:
                    return corpus.identity

            with ThreadPoolExecutor(6) as pool:
                identities = [made.result() for made in [pool.submit(open_it) for _ in range(6)]]
            assert len(set(identities)) == 1


class TestReaders:
    def test_a_reader_follows_what_another_process_writes(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "1", "k", [cut("a.md")])
        reader = Corpus(corpus.path)
        assert [c.text for c in reader.all_chunks()] == TEXT.split("\n\n")
        corpus.put_file("a.md", "2", "k", [cut("a.md", "Something before.\n\n" + TEXT)])
        assert [c.text for c in reader.all_chunks()] == ["Something before.", *TEXT.split("\n\n")]
        reader.close()

    def test_threads_share_one_corpus_while_it_is_written(self, corpus: Corpus) -> None:
        corpus.put_file("a.md", "0", "k", [cut("a.md")])
        wrong: list[str] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                found = corpus.chunks([row for row, _ in corpus.search_text("spare key", 3)])
                wrong.extend(c.text for c in found if c.text != "QX-771 is the spare key.")

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for i in range(30):
            corpus.put_file("a.md", str(i), "k", [cut("a.md", "x" * i + "\n\n" + TEXT)])
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []


WRITER = textwrap.dedent(
    """
    import itertools, sys
    from pathlib import Path
    import numpy as np
    from ragtune.corpus import Corpus
    from ragtune.types import Chunk, Document

    corpus = Corpus(Path(sys.argv[1]))
    print("started", flush=True)
    for turn in itertools.count():
        text = f"turn {turn} " * 2000
        documents = []
        for i in range(20):
            document = Document(f"t.csv#{i}", "T", text)
            spans = [(at, at + 500) for at in range(0, 10_000, 500)]
            chunks = [Chunk(f"{i} {turn} {a}", document.source, a, b, text[a:b]) for a, b in spans]
            documents.append((document, chunks))
        corpus.put_file("t.csv", str(turn), "k", documents)
        missing = corpus.embedding_texts(corpus.missing_rows("e"))
        corpus.put_vectors("e", [key for key, _ in missing], np.ones((len(missing), 8), np.float32))
        corpus.collect_vectors()
    """
)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX")
def test_a_killed_writer_leaves_whole_files_only(tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    for attempt in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"started\n"
        time.sleep(0.05 + 0.13 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        corpus = Corpus(path)
        check_consistent(corpus)
        corpus.close()


def check_consistent(corpus: Corpus) -> None:
    with sqlite3.connect(corpus.path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        db.execute("INSERT INTO fulltext (fulltext) VALUES ('integrity-check')")
        db.rollback()
        assert db.execute("SELECT count(*) FROM fulltext").fetchone()[0] == corpus.stats().chunks
    db.close()
    states = corpus.files()
    assert corpus.stats().documents == (20 if states else 0)
    for c in corpus.all_chunks():
        assert c.id.split()[1] == states["t.csv"].hash, "all documents of a file are of the same turn"
    live = {row for row, added in corpus.changes(0).items() if added}
    assert live == {c.row for c in corpus.all_chunks()}
