"""What a corpus tells of itself: files, texts and counts."""

from __future__ import annotations

from dataclasses import dataclass

from ragtune.types import Chunk


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
        file: that it came from.
        access: tags of who may see it; none where it is open to all.
    """

    source: str
    media_type: str
    hash: str
    sketch: bytes | None = None
    kept: str | None = None
    reason: str | None = None
    file: str = ""
    access: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Overview:
    """A document as a report counts it: without its text.

    Args:
        source: of the document.
        file: that it came from.
        media_type: of its file.
        language: as its metadata have it; empty where they do not.
        characters: of its text.
        chunks: how many are in the index.
        duplicate: it is left out of the index.
        empty_pages: pages without text.
    """

    source: str
    file: str
    media_type: str
    language: str
    characters: int
    chunks: int
    duplicate: bool
    empty_pages: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A document as a list shows it: without its text.

    Args:
        source: of the document.
        file: that it came from.
        title: of the document.
        media_type: of its file.
        characters: of its text.
        chunks: how many are in the index.
        language: as its metadata have it.
        access: tags of who may see it; none where it is open to all.
        kept: source of the document that is kept in its place, where it is a duplicate.
    """

    source: str
    file: str
    title: str
    media_type: str
    characters: int
    chunks: int
    language: str | None
    access: frozenset[str]
    kept: str | None


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of the corpus."""

    files: int
    documents: int
    chunks: int


def embedding_text(chunk: Chunk) -> str:
    """The text of a chunk as it is embedded and searched: its prefix on a line of its own, then its text."""
    return f"{chunk.prefix}\n{chunk.text}" if chunk.prefix else chunk.text
