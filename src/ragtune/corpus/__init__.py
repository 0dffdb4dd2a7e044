"""The corpus: documents, chunks, full text and vectors in one SQLite file.

:mod:`~ragtune.corpus.store` opens it and has its transactions; the other modules work inside those.
"""

from ragtune.corpus.records import FileState, Listed, Overview, Stats, TextEntry, embedding_text
from ragtune.corpus.store import Corpus

__all__ = ["Corpus", "FileState", "Listed", "Overview", "Stats", "TextEntry", "embedding_text"]
