"""One file to documents: a module a format, imported when a file of that format is met.

Formats are told by the file's ending. What cannot be read raises :class:`ragtune.errors.ReadError` with the reason. A container (an
archive, a message with attachments) gives what is in it, one after the other, and each of these fails alone.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ragtune.errors import MissingExtraError, ReadError
from ragtune.prepare.clean import RULES, Rule, clean_document
from ragtune.prepare.sources import Source
from ragtune.types import Document, Reason

# ending: (module, version). A version changes when the module gives other text for the same file, and files are then read again.
_READERS: dict[str, tuple[str, int]] = {
    **dict.fromkeys((".md", ".markdown"), ("markdown", 1)),
    **dict.fromkeys((".txt", ".text"), ("outline", 1)),
    ".log": ("text", 1),
    **dict.fromkeys((".rst", ".adoc", ".asciidoc", ".org", ".tex"), ("markup", 1)),
    **dict.fromkeys((".html", ".htm", ".xhtml"), ("html", 2)),
    **dict.fromkeys((".csv", ".tsv"), ("csv", 2)),
    **dict.fromkeys((".jsonl", ".ndjson"), ("jsonl", 3)),
    **dict.fromkeys((".xlsx", ".xlsm", ".xls"), ("sheets", 1)),
    **dict.fromkeys((".odt", ".ott"), ("odt", 1)),
    ".pdf": ("pdf", 3),
    ".docx": ("docx", 1),
    ".pptx": ("slides", 2),
    ".epub": ("epub", 3),
    ".json": ("json", 1),
    ".xml": ("xml", 1),
    ".ipynb": ("notebook", 1),
    ".parquet": ("parquet", 1),
}
_CONTAINERS: dict[str, tuple[str, int]] = {
    ".zip": ("archive", 1),
    **dict.fromkeys((".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz"), ("archive", 1)),
    ".eml": ("mail", 2),
}
CODE_LANGUAGES = {
    **dict.fromkeys((".c", ".h"), "c"),
    **dict.fromkeys((".cc", ".cpp", ".cxx", ".hh", ".hpp"), "cpp"),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".jsx"), "javascript"),
    **dict.fromkeys((".ts", ".tsx"), "typescript"),
    **dict.fromkeys((".sh", ".bash", ".zsh"), "bash"),
    **dict.fromkeys((".yaml", ".yml"), "yaml"),
    **dict.fromkeys((".ini", ".cfg", ".conf"), "ini"),
    **dict.fromkeys((".kt", ".kts"), "kotlin"),
    **dict.fromkeys((".pl", ".pm"), "perl"),
    **dict.fromkeys((".ex", ".exs"), "elixir"),
    ".py": "python",
    ".pyi": "python",
    ".cs": "csharp",
    ".css": "css",
    ".dart": "dart",
    ".go": "go",
    ".hs": "haskell",
    ".java": "java",
    ".jl": "julia",
    ".lua": "lua",
    ".m": "matlab",
    ".php": "php",
    ".ps1": "powershell",
    ".proto": "protobuf",
    ".r": "r",
    ".rb": "ruby",
    ".rs": "rust",
    ".scala": "scala",
    ".sql": "sql",
    ".swift": "swift",
    ".toml": "toml",
}
_READERS |= dict.fromkeys(CODE_LANGUAGES, ("code", 1))
_EXTRAS = {"pyarrow": "parquet"}
_CLEANING = frozenset({"pdf", "slides", "epub"})  # modules that obey and count rules of cleaning themselves
_CLEAN_VERSION = 3
_DEEPEST = 2  # containers within one another


def reader_version(name: str) -> str:
    """Changes when the same file would be read to another text: part of what decides whether a source is read again.

    Args:
        name: the source's name; only its ending matters.
    """
    suffix = Source(Path(), name).suffix
    if suffix in _CONTAINERS:  # what is in it may be of any format
        everything = repr(sorted((_READERS | _CONTAINERS).items()))
        return f"{_CONTAINERS[suffix][0]}-{hashlib.blake2b(everything.encode(), digest_size=8).hexdigest()}.{_CLEAN_VERSION}"
    module, version = _READERS.get(suffix, ("none", 0))
    return f"{module}-{version}.{_CLEAN_VERSION}"


def is_container(name: str) -> bool:
    """Whether a file of this name is read part by part."""
    return Source(Path(), name).suffix in _CONTAINERS


def holds_records(name: str) -> bool:
    """Whether :class:`ragtune.prepare.sources.Fields` change what a file of this name becomes."""
    suffix = Source(Path(), name).suffix
    return suffix in _CONTAINERS or _READERS.get(suffix, ("", 0))[0] in ("csv", "json", "jsonl", "parquet")


def parts(source: Source) -> Iterator[Source | Document | Reason]:
    """What there is to read in a file: the file itself, or what a container holds.

    Returns:
        Sources that are no containers, for :func:`read_source`; documents that need no reader; and why something is not read.
    """
    return _unpack(source, 1)


def _unpack(source: Source, depth: int) -> Iterator[Source | Document | Reason]:
    if source.suffix not in _CONTAINERS:
        yield source
        return
    if depth > _DEEPEST:
        yield Reason(source.name, f"{source.name} is packed {depth} deep: unpack the outer files and run 'ragtune ingest' again")
        return
    try:
        for part in _module(_CONTAINERS[source.suffix][0]).unpack(source):
            if isinstance(part, Source):
                yield from _unpack(part, depth + 1)
            else:
                yield part
    except ReadError as error:
        yield Reason(source.name, str(error))


def read_source(source: Source, rules: Collection[Rule] = RULES, repairs: Counter[str] | None = None) -> list[Document]:
    """Read one file, or one part of a container, in this process.

    Args:
        source: the file.
        rules: of cleaning, those that are switched on.
        repairs: what cleaning did is added to it.

    Returns:
        Its documents, cleaned, each with a title: one, or one for each row or record.

    Raises:
        ReadError: it cannot be read, or holds no text.
    """
    suffix = source.suffix
    if suffix not in _READERS:
        raise ReadError(f"no reader for {suffix or 'files without an ending'}: save {source.name} as PDF, DOCX, HTML, Markdown or text")
    name = _READERS[suffix][0]
    read: Callable[..., list[Document]] = _module(name).read
    found = read(source, rules, repairs) if name in _CLEANING else read(source)
    documents = [document for each in found if (document := tidy(each, rules, repairs)).text.strip()]
    if not documents:
        raise ReadError(f"no text found in {source.name}")
    return documents


def tidy(document: Document, rules: Collection[Rule] = RULES, repairs: Counter[str] | None = None) -> Document:
    """A document as it is stored: cleaned, and with a title."""
    document = clean_document(document, rules, repairs)[0]
    return document if document.title else replace(document, title=title_from_name(document.source))


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        package = (error.name or name).partition(".")[0]
        raise MissingExtraError(_EXTRAS.get(package, "documents"), package) from error


def title_from_name(name: str) -> str:
    """A title for a document without one: ``guides/wind_limits-2.pdf`` gives ``Wind limits 2``."""
    words = re.sub(r"[-_.\s]+", " ", PurePosixPath(name).stem).strip()
    return words[:1].upper() + words[1:]
