"""JSON: a list of objects is read as records are; anything else is written out as one document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ragtune.errors import ReadError
from ragtune.prepare.read import title_from_name
from ragtune.prepare.read.records import parse, to_documents
from ragtune.prepare.read.tables import pipe_table
from ragtune.prepare.read.text import decode
from ragtune.prepare.sources import Source
from ragtune.types import Document

_DEEPEST = 50  # what is read for its words is not nested deeper
_HEADINGS = 3  # levels that become headings; what stands deeper becomes lists


def read(source: Source) -> list[Document]:
    """A document for each record of a list, ``file.json#ID``; else the whole file as one."""
    try:
        value = parse(decode(source.read_bytes()))
    except ValueError as error:
        raise ReadError(f"{source.name} is not JSON: {error}") from error
    if isinstance(value, list) and value and all(isinstance(record, dict) for record in value):
        return to_documents(source, enumerate(value, start=1), "application/json", "record")
    title = value.get("title") if isinstance(value, dict) else None
    title = title if isinstance(title, str) and title.strip() else title_from_name(source.name)
    try:
        body = "\n".join(_sections(value, 2)).strip()
    except RecursionError as error:
        raise ReadError(f"{source.name} is nested deeper than {_DEEPEST} levels: not read") from error
    return [Document(source.name, title, f"# {title}\n\n{body}" if body else "", "application/json")]


def _sections(value: Any, level: int) -> Iterator[str]:
    """Objects as ``key: value`` lines and headings, lists of flat objects as tables, what is nested deeper as lists."""
    if isinstance(value, dict) and level <= _HEADINGS + 1:
        nested = {key: inner for key, inner in value.items() if isinstance(inner, dict | list)}
        yield from (f"{key}: {_word(inner)}" for key, inner in value.items() if key not in nested and inner not in (None, ""))
        for key, inner in nested.items():
            if inner:
                yield f"\n{'#' * level} {' '.join(key.split())}\n"
                yield from _sections(inner, level + 1)
    elif isinstance(value, list) and (table := _table(value)):
        yield table
    else:
        yield from _items(value, 0)


def _table(rows: list[Any]) -> str:
    """A Markdown table of objects without objects or lists in them; empty where that does not fit."""
    if len(rows) < 2 or not all(isinstance(row, dict) and not any(isinstance(cell, dict | list) for cell in row.values()) for row in rows):
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return pipe_table([columns, *([_word(row.get(column)) for column in columns] for row in rows)])


def _items(value: Any, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise RecursionError
    pad = "  " * depth
    if isinstance(value, dict):
        pairs = [(f"{key}: ", inner) for key, inner in value.items()]
    else:
        pairs = [("", inner) for inner in (value if isinstance(value, list) else [value])]
    for label, inner in pairs:
        if isinstance(inner, dict | list):
            yield f"{pad}- {label}".rstrip()
            yield from _items(inner, depth + 1)
        else:
            yield f"{pad}- {label}{_word(inner)}"


def _word(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else " ".join(str(value).split())
