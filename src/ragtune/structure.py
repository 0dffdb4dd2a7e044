"""Markdown to blocks with exact offsets: headings, tables, code and everything else. Enough structure to cut a text well, no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

# Each of these takes time in proportion to the text's length, whatever the text: it runs where no time limit stops it.
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_TABLE_RULE = re.compile(r"[ \t]*+\|?+[ \t]*+:?+-++:?+[ \t]*+(?:\|[ \t]*+:?+-++:?+[ \t]*+)*+\|?+[ \t]*+")
_UNDERLINE = re.compile(r" {0,3}(?:={2,}|-{2,})[ \t]*")
_MARKS = re.compile(r"[*`]+|\\(?=[^\w\s])")


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch ``[start, end)`` of whole lines, the blank lines after it not counted.

    ``level`` and ``words`` are a heading's; ``rows`` are the offsets where a table's rows start, header and rule before the first.
    """

    kind: Literal["heading", "table", "code", "text"]
    start: int
    end: int
    level: int = 0
    words: str = ""
    rows: tuple[int, ...] = ()


def find_blocks(text: str) -> list[Block]:
    """The blocks of a Markdown text, in order; every character that is no white space is in exactly one."""
    return list(_scan(_lines(text)))


def first_heading(text: str) -> str:
    """The words of the first heading, or nothing."""
    return next((block.words for block in find_blocks(text) if block.kind == "heading" and block.words), "")


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    text: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def blank(self) -> bool:
        return not self.text.strip()


def _lines(text: str) -> list[_Line]:
    lines = []
    at = 0
    for part in text.split("\n"):
        lines.append(_Line(at, part))
        at += len(part) + 1
    return lines


def _scan(lines: list[_Line]) -> Iterator[Block]:
    i = 0
    while i < len(lines):
        line = lines[i]
        if line.blank:
            i += 1
        elif fence := _FENCE.match(line.text):
            j = _after_fence(lines, i, fence[1])
            yield Block("code", line.start, lines[j - 1].end)
            i = j
        elif heading := _HEADING.match(line.text):
            yield Block("heading", line.start, line.end, len(heading[1]), _plain(unclosed(line.text[heading.end() :])))
            i += 1
        elif _starts_table(lines, i):
            j = i + 2
            while j < len(lines) and "|" in lines[j].text:
                j += 1
            yield Block("table", line.start, lines[j - 1].end, rows=tuple(row.start for row in lines[i + 2 : j]))
            i = j
        else:
            j = i + 1
            while j < len(lines) and not (lines[j].blank or _interrupts(lines, j)):
                j += 1
            yield _text_or_underlined(lines[i:j])
            i = j


def _text_or_underlined(lines: list[_Line]) -> Block:
    """A line underlined with ``===`` or ``---`` is a heading."""
    if len(lines) == 2 and _UNDERLINE.fullmatch(lines[1].text) and not lines[0].text.lstrip().startswith(("|", "-", ">")):
        return Block("heading", lines[0].start, lines[1].end, 1 if "=" in lines[1].text else 2, _plain(lines[0].text))
    return Block("text", lines[0].start, lines[-1].end)


def _interrupts(lines: list[_Line], i: int) -> bool:
    return bool(_FENCE.match(lines[i].text) or _HEADING.match(lines[i].text)) or _starts_table(lines, i)


def _starts_table(lines: list[_Line], i: int) -> bool:
    return "|" in lines[i].text and i + 1 < len(lines) and "|" in lines[i + 1].text and bool(_TABLE_RULE.fullmatch(lines[i + 1].text))


def _after_fence(lines: list[_Line], i: int, opening: str) -> int:
    """Index after the closing fence, or after the last line where none closes it."""
    for j in range(i + 1, len(lines)):
        closing = lines[j].text.strip()
        if len(closing) >= len(opening) and set(closing) == {opening[0]}:
            return j + 1
    return len(lines)


def unclosed(words: str, sign: str = "#") -> str:
    """A heading's words without the signs that may close it."""
    words = words.rstrip(" \t")
    bare = words.rstrip(sign)
    return bare if bare.endswith((" ", "\t")) else words


def _plain(words: str) -> str:
    return " ".join(_MARKS.sub("", _unlinked(words)).split())


def _unlinked(words: str) -> str:
    """The words of links and images in the place of each."""
    parts: list[str] = []
    done = at = 0
    while (opening := words.find("[", at)) >= 0 and (middle := words.find("]", opening)) >= 0:
        at = middle + 1
        if words.startswith("(", at):
            end = words.find(")", at)
            if end < 0:
                break
            parts += [words[done:opening].removesuffix("!"), words[opening + 1 : middle]]
            done = at = end + 1
    return "".join([*parts, words[done:]])
