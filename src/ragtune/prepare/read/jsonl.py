"""Records in JSON Lines: each a document, its text under the first of the usual names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ragtune.errors import ReadError
from ragtune.prepare.read.records import parse, to_documents
from ragtune.prepare.read.text import decode
from ragtune.prepare.sources import Source
from ragtune.types import Document


def read(source: Source) -> list[Document]:
    """A document for each line, ``file.jsonl#ID``; see :func:`ragtune.prepare.read.records.to_documents`.

    Raises:
        ReadError: a record is malformed, or a question.
    """
    return to_documents(source, _records(source), "application/jsonl", "line")


def _records(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    # not splitlines(): U+2028 may stand inside a JSON string
    for number, line in enumerate(decode(source.read_bytes()).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = parse(line)
        except ValueError as error:
            raise ReadError(f"{source.name} line {number} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise ReadError(f"{source.name} line {number} holds {type(record).__name__}, not an object")
        yield number, record
