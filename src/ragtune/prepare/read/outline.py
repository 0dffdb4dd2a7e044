"""Plain text: kept as it is, but for the headings of an outline, which become Markdown's.

An outline is told by its indents, as in manual pages and RFCs: text stands below headings that start further left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ragtune.prepare.read import text
from ragtune.prepare.sources import Source
from ragtune.types import Document

_NUMBERED = re.compile(r"(\d{1,2}(?:\.\d{1,2})*)\.?[ \t]+\w.*[^.:;,\s]\s*")  # a sentence of a list is none
_COLUMNS = re.compile(r"\S(?: {2}| ?\t)[ \t]*\S")  # of a table
_FENCE = re.compile(r"\s*(?:```|~~~)")
_LONGEST = 80  # characters of a heading
_DEEPEST = 3  # spaces before a heading within a section


def read(source: Source) -> list[Document]:
    """The whole file as one document."""
    (plain,) = text.read(source)
    return [replace(plain, text="\n".join(_headed(plain.text.split("\n"))))]


def _headed(lines: Sequence[str]) -> Iterator[str]:
    body = 0  # spaces before the text of a section
    starts = True  # nothing stands right above
    fenced = False
    for i, line in enumerate(lines):
        indent = _indent(line)
        below = _indent(next((after for after in lines[i + 1 : i + 3] if after.strip()), ""))
        level = 0
        fenced ^= _FENCE.match(line) is not None
        if not fenced and starts and line.strip() and len(line) <= _LONGEST and indent < below:
            if line[0].isalpha() and line.isupper() and not _COLUMNS.search(line):
                level, body = 1, max(body, below)
            elif (number := _NUMBERED.fullmatch(line)) and not lines[i + 1].strip():
                level = min(number[1].count(".") + 1, 6)
            elif 0 < indent <= _DEEPEST < body:
                level = 2
        yield f"{'#' * level} {line.strip()}" if level else line
        starts = level > 0 or not line.strip()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
