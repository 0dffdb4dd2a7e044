"""A document beside its source and its chunks: which stretch of its text is in which chunk, and what was there before it was cleaned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ragtune.prepare.isolate import read_sources
from ragtune.prepare.read import CODE_LANGUAGES
from ragtune.prepare.read.text import decode
from ragtune.prepare.sources import Source
from ragtune.types import JSON, Chunk, Document

_AS_TEXT = frozenset(
    {".md", ".markdown", ".txt", ".text", ".rst", ".adoc", ".asciidoc", ".org", ".tex", ".log", ".html", ".htm", ".xhtml", ".json", ".xml"}
    | CODE_LANGUAGES.keys()
)

Original = Literal["file", "reader", ""]


@dataclass(frozen=True, slots=True)
class ChunkPreview:
    """A chunk in its document: ``text[start:end]``, of which ``overlap`` characters are in the one before too.

    ``tokens`` are of the whole as it is embedded, prefix included.
    """

    id: str
    start: int
    end: int
    overlap: int
    prefix: str
    headings: tuple[str, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Preview:
    """A document beside its source and its chunks.

    Args:
        source: of the document.
        file: that it came from.
        title: of the document.
        media_type: of its file.
        metadata: author, date, language, page starts, access and so on.
        text: as it is stored, or its start.
        characters: of the whole text.
        chunks: that lie in ``text``, by place.
        left_out: why it is not in the index, where it is not.
        kept: source of the document that is kept in its place.
        path: the file now; empty where it is not found.
        changed: the file is another than was read.
        original: text of the file or, where that is none, what its reader gave before cleaning; ``None`` where it was not looked at.
        original_is: which of the two.
        page: the HTML file that shows it.
    """

    source: str
    file: str
    title: str
    media_type: str
    metadata: Mapping[str, JSON]
    text: str
    characters: int
    chunks: tuple[ChunkPreview, ...]
    left_out: str | None = None
    kept: str | None = None
    path: str = ""
    changed: bool = False
    original: str | None = None
    original_is: Original = ""
    page: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of a chunk's text that is shown in one way; ``page`` starts before it, where one does."""

    text: str
    overlap: bool
    page: int | None = None


def preview_chunks(chunks: Sequence[Chunk], tokens: Sequence[int]) -> tuple[ChunkPreview, ...]:
    """Chunks of one document, by place, with the tokens of each."""
    found, end = [], 0
    for chunk, count in zip(chunks, tokens, strict=True):
        overlap = max(0, min(end, chunk.end) - chunk.start)
        found.append(ChunkPreview(chunk.id, chunk.start, chunk.end, overlap, chunk.prefix, chunk.headings, count))
        end = max(end, chunk.end)
    return tuple(found)


def stretches(preview: Preview, start: int, end: int, overlap: int) -> Iterator[Stretch]:
    """A chunk's text, cut where its overlap ends and where pages start."""
    starts = preview.metadata.get("page_starts")
    pages = {int(str(at)): number for number, at in enumerate(starts, start=1)} if isinstance(starts, list) else {}
    cuts = sorted({start, min(start + overlap, end), end, *(at for at in pages if start <= at < end)})
    for low, high in pairwise(cuts):
        yield Stretch(preview.text[low:high], high <= start + overlap, pages.get(low))


def original_text(document: Document, source: Source, timeout_s: float, memory_mb: int, *, read: bool) -> tuple[str | None, Original]:
    """What there was before cleaning: the file, where that is text, else what its reader gives with every rule switched off.

    Args:
        document: as it is stored.
        source: its file.
        timeout_s: for reading, in seconds.
        memory_mb: for reading, in MiB.
        read: whether files that are no text are read for it, which may take long.
    """
    if source.name == document.source and source.suffix in _AS_TEXT:
        try:
            return decode(source.read_bytes()), "file"
        except OSError:
            return None, ""
    if not read:
        return None, ""
    result = next(read_sources([source], timeout_s, memory_mb, workers=1, rules=()))
    texts = {each.source: each.text for each in result.documents or ()}
    return (texts[document.source], "reader") if document.source in texts else (None, "")
