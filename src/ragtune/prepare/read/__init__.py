"""One file to documents: a module a format, imported when a file of that format is met.

Formats are told by the file's ending. What cannot be read raises :class:`ragtune.errors.ReadError` with the reason.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

from ragtune.errors import MissingExtraError, ReadError
from ragtune.prepare.clean import clean_document
from ragtune.prepare.sources import Source
from ragtune.types import Document

# ending: (module, version). A version changes when the module gives other text for the same file, and files are then read again.
_READERS: dict[str, tuple[str, int]] = {
    **dict.fromkeys((".md", ".markdown"), ("markdown", 1)),
    **dict.fromkeys((".txt", ".text", ".rst"), ("text", 1)),
    **dict.fromkeys((".html", ".htm", ".xhtml"), ("html", 1)),
    **dict.fromkeys((".csv", ".tsv"), ("csv", 2)),
    **dict.fromkeys((".jsonl", ".ndjson"), ("jsonl", 3)),
    ".pdf": ("pdf", 1),
    ".docx": ("docx", 1),
}
_CLEAN_VERSION = 1


def reader_version(name: str) -> str:
    """Changes when the same file would be read to another text: part of what decides whether a source is read again.

    Args:
        name: the source's name; only its ending matters.
    """
    module, version = _READERS.get(PurePosixPath(name).suffix.lower(), ("none", 0))
    return f"{module}-{version}.{_CLEAN_VERSION}"


def read_source(source: Source) -> list[Document]:
    """Read one file in this process.

    Returns:
        Its documents, cleaned, each with a title: one, or one for each row or record.

    Raises:
        ReadError: it cannot be read, or holds no text.
    """
    suffix = source.path.suffix.lower()
    if suffix not in _READERS:
        raise ReadError(f"no reader for {suffix or 'files without an ending'}: save {source.name} as PDF, DOCX, HTML, Markdown or text")
    documents = [clean_document(document)[0] for document in _reader(_READERS[suffix][0])(source)]
    documents = [document for document in documents if document.text.strip()]
    if not documents:
        raise ReadError(f"no text found in {source.name}")
    return [document if document.title else replace(document, title=title_from_name(source.name)) for document in documents]


def _reader(module: str) -> Callable[[Source], list[Document]]:
    try:
        reader: Callable[[Source], list[Document]] = importlib.import_module(f"{__name__}.{module}").read
    except ModuleNotFoundError as error:
        raise MissingExtraError("documents", error.name or module) from error
    return reader


def title_from_name(name: str) -> str:
    """A title for a document without one: ``guides/wind_limits-2.pdf`` gives ``Wind limits 2``."""
    words = re.sub(r"[-_.\s]+", " ", PurePosixPath(name).stem).strip()
    return words[:1].upper() + words[1:]
