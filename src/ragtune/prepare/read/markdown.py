"""Markdown: kept as it is, but for the front matter, which becomes metadata."""

from __future__ import annotations

import re
from dataclasses import replace

from ragtune.prepare.read import text
from ragtune.prepare.sources import Source
from ragtune.structure import first_heading
from ragtune.types import JSON, Document

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_PAIR = re.compile(r"^([A-Za-z_][\w-]*):[ \t]*(.*?)[ \t]*$")


def read(source: Source) -> list[Document]:
    """The whole file as one document."""
    (plain,) = text.read(source)
    body, metadata = _split_front_matter(plain.text.replace("\r\n", "\n").lstrip("\ufeff"))
    title = metadata.get("title")
    title = title if isinstance(title, str) and title else first_heading(body)
    return [replace(plain, title=title, text=body, media_type="text/markdown", metadata=metadata)]


def _split_front_matter(text: str) -> tuple[str, dict[str, JSON]]:
    """Single-line ``key: value`` pairs are kept, as text; a block in which there is none is the author's horizontal rule."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return text, {}
    pairs = [_PAIR.match(line) for line in match[1].splitlines()]
    metadata: dict[str, JSON] = {pair[1]: pair[2].strip("\"'") for pair in pairs if pair and pair[2]}
    return (text[match.end() :], metadata) if any(pairs) else (text, {})
