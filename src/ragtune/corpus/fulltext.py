"""Searching the full text of chunks by BM25. Read inside the corpus's own snapshots."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

from ragtune.corpus.filter import IN_DOCUMENTS, documents_where
from ragtune.types import Where

_WORD = re.compile(r"\w+")
_QUERY_WORDS = 64  # a longer question is searched by its first words
_MANY = 20_000  # chunks: with fewer, a search takes less than counting what a word is in is worth


def search(db: sqlite3.Connection, query: str, k: int, where: Where | None = None) -> list[tuple[int, float]]:
    """The ``k`` best rows among those that may be found, as :meth:`ragtune.corpus.Corpus.search_text` gives them.

    Of many chunks, the words that most of them hold are left out, unless too few chunks hold the others: FTS5 weighs such words with 1e-6
    (https://sqlite.org/fts5.html, "The bm25() function"), so that together they add less than 0.0002 to a score, and the reading of all
    that hold them is most of a search's time.
    """
    words = list(dict.fromkeys(_WORD.findall(query.lower())))[:_QUERY_WORDS]
    if not words or k < 1:
        return []
    rarer = _rarer(db, words)
    if rarer and len(rarer) < len(words):
        found = _search(db, rarer, k, where)
        if len(found) == k:
            return found
    return _search(db, words, k, where)


def _search(db: sqlite3.Connection, words: Sequence[str], k: int, where: Where | None) -> list[tuple[int, float]]:
    expression = " OR ".join(f'"{word}"' for word in words)
    among = "" if where is None else f"AND rowid IN (SELECT row FROM chunks WHERE {IN_DOCUMENTS})"  # noqa: S608
    values = (expression, k) if where is None else (expression, documents_where(db, where), k)
    rows = db.execute(
        f"SELECT rowid, -bm25(fulltext) FROM fulltext WHERE fulltext MATCH ? {among} ORDER BY bm25(fulltext), rowid LIMIT ?",  # noqa: S608
        values,
    )
    return [(int(row), float(score)) for row, score in rows]


def _rarer(db: sqlite3.Connection, words: Sequence[str]) -> Sequence[str]:
    """The words that at most half of the chunks hold; of few chunks, all words."""
    chunks = db.execute("SELECT count(*) FROM chunks").fetchone()[0]
    if chunks < _MANY:
        return words
    held = "SELECT 1 FROM fulltext WHERE fulltext MATCH ? LIMIT 1 OFFSET ?"
    return [word for word in words if db.execute(held, (f'"{word}"', chunks // 2)).fetchone() is None]
