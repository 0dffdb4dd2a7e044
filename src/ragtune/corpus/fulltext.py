"""Searching the full text of chunks by BM25. Read inside the corpus's own snapshots."""

from __future__ import annotations

import re
import sqlite3

from ragtune.corpus.filter import IN_DOCUMENTS, documents_where
from ragtune.types import Where

_WORD = re.compile(r"\w+")
_QUERY_WORDS = 64  # a longer question is searched by its first words


def search(db: sqlite3.Connection, query: str, k: int, where: Where | None = None) -> list[tuple[int, float]]:
    """The ``k`` best rows among those that may be found, as :meth:`ragtune.corpus.Corpus.search_text` gives them."""
    words = list(dict.fromkeys(_WORD.findall(query.lower())))[:_QUERY_WORDS]
    if not words or k < 1:
        return []
    expression = " OR ".join(f'"{word}"' for word in words)
    among = "" if where is None else f"AND rowid IN (SELECT row FROM chunks WHERE {IN_DOCUMENTS})"  # noqa: S608
    values = (expression, k) if where is None else (expression, documents_where(db, where), k)
    rows = db.execute(
        f"SELECT rowid, -bm25(fulltext) FROM fulltext WHERE fulltext MATCH ? {among} ORDER BY bm25(fulltext), rowid LIMIT ?",  # noqa: S608
        values,
    )
    return [(int(row), float(score)) for row, score in rows]
