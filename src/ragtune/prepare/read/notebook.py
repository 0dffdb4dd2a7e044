"""Jupyter notebooks: Markdown as it is, code as fenced blocks with its language, and what it printed after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ragtune.errors import ReadError
from ragtune.prepare.read.code import fenced
from ragtune.prepare.read.records import parse
from ragtune.prepare.read.text import decode
from ragtune.prepare.sources import Source
from ragtune.structure import first_heading
from ragtune.types import JSON, Document

_LONGEST_OUTPUT = 2000  # characters; what is longer is a log


def read(source: Source) -> list[Document]:
    """The whole notebook as one document."""
    try:
        notebook = parse(decode(source.read_bytes()))
    except ValueError as error:
        raise ReadError(f"{source.name} is not JSON: {error}") from error
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise ReadError(f"{source.name} is no notebook of version 4: open and save it with a newer Jupyter")
    about = _object(notebook.get("metadata"))
    language = str(_object(about.get("kernelspec")).get("language") or _object(about.get("language_info")).get("name") or "")
    text = "\n\n".join(part for cell in cells if isinstance(cell, dict) for part in _parts(cell, language) if part)
    title = _joined(about.get("title")) or first_heading(text)
    metadata: dict[str, JSON] = {"code_language": language} if language else {}
    authors = about.get("authors")
    if isinstance(authors, list) and (names := [str(each["name"]) for each in map(_object, authors) if each.get("name")]):
        metadata["author"] = ", ".join(names)
    return [Document(source.name, title, text, "application/x-ipynb+json", metadata)]


def _parts(cell: dict[str, Any], language: str) -> Iterator[str]:
    body = _joined(cell.get("source"))
    if cell.get("cell_type") != "code":
        yield body
        return
    yield fenced(body, language)
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else []:
        output = _object(output)
        printed = _joined(output.get("text") or _object(output.get("data")).get("text/plain"))
        if output.get("output_type") != "error" and len(printed) <= _LONGEST_OUTPUT:
            yield fenced(printed)


def _joined(value: Any) -> str:
    return value if isinstance(value, str) else "".join(map(str, value)) if isinstance(value, list) else ""


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
