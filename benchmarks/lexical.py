"""Which lexical search? SQLite FTS5 (ragtune's), bm25s and tantivy: nDCG@10, and latency and cost of a change at 100,000 chunks.

    pip install -c constraints.txt -e ".[bench]"
    RAGTUNE_DATA=/path/to/data python benchmarks/lexical.py

writes ``benchmarks/results/lexical.json``. The 100,000 chunks are those of both collections with their words in other orders, so that their
vocabulary is a real one. Each engine is searched for the same questions in turn; a change is one document of ten chunks replaced, on disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import re
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from ragtune.corpus import Corpus, embedding_text
from ragtune.types import Chunk, Document
from ragtune.workspace import library_versions, write_json
from retrieval_fusion import Collection, cranfield, dbpedia
from retrieval_public import measure

RIVALS = ("bm25s", "tantivy", "PyStemmer")
DOCUMENT = 10
"""Chunks of a document that is replaced."""


class Lexical(Protocol):
    """An index on disk over chunks, by place."""

    def build(self, texts: Sequence[str]) -> None:
        """Make it."""

    def search(self, question: str, k: int) -> list[int]:
        """Places of the best chunks."""

    def replace(self, first: int, texts: Sequence[str]) -> None:
        """Put other texts in the place of :data:`DOCUMENT` chunks, on disk, ready to be searched."""


class Fts5:
    """Ragtune's own: a table beside the chunks, in their transaction; here the table alone."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "fts5.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE VIRTUAL TABLE fulltext USING fts5 (text, tokenize = 'porter unicode61 remove_diacritics 2')")

    def build(self, texts: Sequence[str]) -> None:
        """One transaction."""
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO fulltext (rowid, text) VALUES (?, ?)", enumerate(texts, start=1))
        self._db.execute("COMMIT")

    def search(self, question: str, k: int) -> list[int]:
        """As ragtune asks: any of the words."""
        words = dict.fromkeys(re.findall(r"\w+", question.lower()))
        expression = " OR ".join(f'"{word}"' for word in words)
        statement = "SELECT rowid - 1 FROM fulltext WHERE fulltext MATCH ? ORDER BY bm25(fulltext), rowid LIMIT ?"
        return [row for (row,) in self._db.execute(statement, (expression, k))] if words else []

    def replace(self, first: int, texts: Sequence[str]) -> None:
        """One transaction."""
        self._db.execute("BEGIN")
        self._db.executemany("DELETE FROM fulltext WHERE rowid = ?", [(first + 1 + i,) for i in range(len(texts))])
        self._db.executemany("INSERT INTO fulltext (rowid, text) VALUES (?, ?)", enumerate(texts, start=first + 1))
        self._db.execute("COMMIT")


class Bm25s:
    """A matrix of scores, made ahead: it knows no change, so the whole is made again."""

    def __init__(self, folder: Path) -> None:
        import bm25s
        import Stemmer

        self._lib, self._folder, self._stemmer = bm25s, folder / "bm25s", Stemmer.Stemmer("english")
        self._texts: list[str] = []

    def build(self, texts: Sequence[str]) -> None:
        """Tokenise, score, save."""
        self._texts = list(texts)
        tokens = self._lib.tokenize(self._texts, stopwords=None, stemmer=self._stemmer, show_progress=False)
        self._index = self._lib.BM25()
        self._index.index(tokens, show_progress=False)
        self._index.save(str(self._folder))

    def search(self, question: str, k: int) -> list[int]:
        """Any of the words; what scores nothing is no hit."""
        tokens = self._lib.tokenize([question], stopwords=None, stemmer=self._stemmer, show_progress=False)
        found, scores = self._index.retrieve(tokens, k=min(k, len(self._texts)), show_progress=False)
        return [int(place) for place, score in zip(found[0], scores[0], strict=True) if score > 0]

    def replace(self, first: int, texts: Sequence[str]) -> None:
        """All over again."""
        self._texts[first : first + len(texts)] = texts
        self.build(self._texts)


class Tantivy:
    """Lucene's kin in Rust: segments in a folder, changes by commit."""

    def __init__(self, folder: Path) -> None:
        import tantivy

        (folder / "tantivy").mkdir()
        builder = tantivy.SchemaBuilder()
        builder.add_integer_field("place", stored=True, indexed=True)
        builder.add_text_field("text", tokenizer_name="en_stem", index_option="freq")
        self._lib = tantivy
        self._index = tantivy.Index(builder.build(), path=str(folder / "tantivy"))

    def build(self, texts: Sequence[str]) -> None:
        """One commit."""
        self._write(0, texts)

    def search(self, question: str, k: int) -> list[int]:
        """Any of the words."""
        words = " ".join(dict.fromkeys(re.findall(r"\w+", question.lower())))
        query, _ = self._index.parse_query_lenient(words, ["text"])
        searcher = self._index.searcher()
        return [int(searcher.doc(address)["place"][0]) for _, address in searcher.search(query, k, count=False).hits]

    def replace(self, first: int, texts: Sequence[str]) -> None:
        """One commit, and the readers see it."""
        self._write(first, texts, delete=True)

    def _write(self, first: int, texts: Sequence[str], *, delete: bool = False) -> None:
        writer = self._index.writer(heap_size=64_000_000, num_threads=1)
        for place, text in enumerate(texts, start=first):
            if delete:
                writer.delete_documents_by_term("place", place)
            writer.add_document(self._lib.Document(place=place, text=text))
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()


ENGINES: dict[str, Callable[[Path], Lexical]] = {"sqlite fts5": Fts5, "bm25s": Bm25s, "tantivy": Tantivy}


def quality(collection: Collection) -> dict[str, dict[str, float]]:
    """Mean of each measure by engine, each document one chunk under its title."""
    texts = [f"{title}\n{text}" if title else text for _, title, text in collection.documents]
    found = {}
    for name, make in ENGINES.items():
        with tempfile.TemporaryDirectory() as folder:
            engine = make(Path(folder))
            engine.build(texts)
            run = [[collection.documents[place][0] for place in engine.search(query.text, 100)] for query in collection.queries]
        values = measure(collection.queries, run)
        found[name] = {m: round(sum(v) / len(v), 4) for m, v in values.items()}
    found["ragtune"] = _corpus(collection)
    return found


def _corpus(collection: Collection) -> dict[str, float]:
    """The same by the corpus itself, whose table has the title in a column of its own."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(Path(folder) / "corpus.db")
        documents = []
        for id_, title, text in collection.documents:
            chunk = Chunk(hashlib.sha256(id_.encode()).hexdigest()[:16], id_, 0, len(text), text, title, prefix=title)
            assert embedding_text(chunk) == (f"{title}\n{text}" if title else text)
            documents.append((Document(id_, title, text), [chunk]))
        corpus.put_file("collection", "", "", documents)
        names = {chunk.row: chunk.document for chunk in corpus.all_chunks()}
        run = [[names[row] for row, _ in corpus.search_text(query.text, 100)] for query in collection.queries]
        corpus.close()
    return {m: round(sum(v) / len(v), 4) for m, v in measure(collection.queries, run).items()}


def replicate(collections: Sequence[Collection], count: int, words: int) -> list[str]:
    """Chunks of some length cut from the collections' texts, each text with its words in as many orders as it takes."""
    generator = random.Random(0)
    sources = [text.split() for collection in collections for _, _, text in collection.documents]
    chunks = []
    while len(chunks) < count:
        source = generator.choice(sources)
        chunks.append(" ".join(generator.choices(source, k=words)))
    return chunks


def cost(texts: Sequence[str], questions: Sequence[str], changes: int) -> dict[str, dict[str, float]]:
    """Seconds to build, median milliseconds of a search and of a change that is searchable, megabytes on disk."""
    with tempfile.TemporaryDirectory() as folder:
        folders = {name: Path(folder) / str(number) for number, name in enumerate(ENGINES)}
        engines, figures = {}, {}
        for name, make in ENGINES.items():
            folders[name].mkdir()
            engines[name] = make(folders[name])
            figures[name] = {"build_s": _seconds(engines[name].build, texts)}
            figures[name]["disk_mb"] = sum(file.stat().st_size for file in folders[name].rglob("*") if file.is_file()) / 1e6
        searches: dict[str, list[float]] = {name: [] for name in engines}
        for question in questions:
            for name, engine in engines.items():
                searches[name].append(1000 * _seconds(engine.search, question, 50))
        replaced: dict[str, list[float]] = {name: [] for name in engines}
        for change in range(changes):
            for name, engine in engines.items():
                marked = [f"xq{change}mark {text}" for text in texts[:DOCUMENT]]
                replaced[name].append(1000 * _seconds(engine.replace, change * 1000, marked))
                assert set(engine.search(f"xq{change}mark", 50)) == set(range(change * 1000, change * 1000 + DOCUMENT))
        for name in engines:
            figures[name] |= {"search_ms": statistics.median(searches[name]), "change_ms": statistics.median(replaced[name])}
            figures[name] = {key: round(value, 3) for key, value in figures[name].items()}
    return figures


def _seconds(call: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=70, help="of a chunk")
    parser.add_argument("--searches", type=int, default=60)
    parser.add_argument("--changes", type=int, default=3)
    arguments = parser.parse_args()
    if "RAGTUNE_DATA" not in os.environ:
        print("skipped: set RAGTUNE_DATA to the folder that holds cranfield and beir_dbpedia")
        return
    data = Path(os.environ["RAGTUNE_DATA"])
    collections = {"cranfield": cranfield(data, 1000), "dbpedia": dbpedia(data, 1000)}
    report: dict[str, Any] = {
        "settings": vars(arguments),
        "versions": library_versions()
        | {"sqlite": sqlite3.sqlite_version}
        | {name: version(name) for name in ("bm25s", "tantivy", "PyStemmer")},
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "quality": {name: quality(collection) for name, collection in collections.items()},
    }
    print(json.dumps(report["quality"], indent=1), flush=True)
    texts = replicate(list(collections.values()), arguments.chunks, arguments.words)
    questions = [query.text for collection in collections.values() for query in collection.queries]
    report["cost"] = cost(texts, random.Random(0).sample(questions, arguments.searches), arguments.changes)
    print(json.dumps(report["cost"], indent=1))
    write_json(Path(__file__).parent / "results/lexical.json", report)


if __name__ == "__main__":
    main()
