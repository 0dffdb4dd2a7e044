"""reStructuredText, AsciiDoc, Org and LaTeX: kept as they are, but for headings and the borders of code, which become Markdown's.

Text is cut along headings, and what a border of theirs or a comment in code would be in Markdown is none. All other marks are left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ragtune.prepare.read import text
from ragtune.prepare.sources import Source
from ragtune.structure import find_blocks, unclosed
from ragtune.types import Document

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1+")
_ROLE = re.compile(r":[\w:.+-]+:(?=`)")
_HASH = re.compile(r"^ {1,3}(?=#{1,6}[ \t])")
_ASCIIDOC_HEADING = re.compile(r"(={1,6})[ \t]+(\S.*)")
_ASCIIDOC_LEVELS = "=-~^+"  # of underlines
_ASCIIDOC_CODE = re.compile(r"(-{4,}|\.{4,})|(`{3,})([\w+-]*)")
_ASCIIDOC_BORDER = re.compile(r"={4,}|\*{4,}|_{4,}|\+{4,}|--")
_ORG_HEADING = re.compile(r"(\*+)[ \t]+(\S.*)")
_ORG_TITLE = re.compile(r"#\+title:[ \t]*(\S.*)", re.IGNORECASE)
_ORG_CODE = re.compile(r"[ \t]*#\+(begin|end)_(?:src|example)\b[ \t]*([\w+-]*).*", re.IGNORECASE)
_ORG_COMMENT = re.compile(r"[ \t]*#(?:[ \t].*)?")
_LATEX_LEVELS = ("title", "part", "chapter", "section", "subsection", "subsubsection")
_LATEX_HEADING = re.compile(rf"[ \t]*\\({'|'.join(_LATEX_LEVELS)})\*?(?:\[[^\]]*\])?\{{((?:[^{{}}]|\{{[^{{}}]*\}})+)\}}(.*)")
_LATEX_CODE = re.compile(r"[ \t]*\\(begin|end)\{(?:verbatim|lstlisting|minted)\*?\}(\[[^\]]*\])?(?:\{\w+\})?[ \t]*(.*)")


def read(source: Source) -> list[Document]:
    """The whole file as one document, called by its heading where there is one above all others."""
    (plain,) = text.read(source)
    body = "\n".join(_CONVERTERS[source.suffix](re.split(r"\r\n?|\n", plain.text.lstrip("\ufeff"))))
    headings = [block for block in find_blocks(body) if block.kind == "heading"]
    alone = headings and all(heading.level > headings[0].level for heading in headings[1:])
    return [replace(plain, title=headings[0].words if alone else "", text=body)]


def _rst(lines: Sequence[str]) -> Iterator[str]:
    """A line between or above lines of one sign is a heading; which sign is of which level is told by which comes first."""
    levels: dict[str, int] = {}
    after_blank = True
    rest = iter(range(len(lines)))
    for i in rest:
        line, below, last = (lines[j].rstrip() if j < len(lines) else "" for j in (i, i + 1, i + 2))
        form = ""
        if after_blank and _ADORNMENT.fullmatch(line) and line == last and _underlines(last, below):
            form, title = line[0] * 2, below
            next(rest), next(rest)
        elif after_blank and line == line.lstrip() and _underlines(below, line):
            form, title = below[0], line
            next(rest)
        if form:
            yield _heading(levels.setdefault(form, len(levels) + 1), _ROLE.sub("", title))
        else:
            yield _HASH.sub("    ", lines[i])
        after_blank = bool(form) or not line


def _underlines(line: str, title: str) -> bool:
    title = title.strip()
    return bool(title and _ADORNMENT.fullmatch(line) and len(line) >= min(len(title), 4) and not _ADORNMENT.fullmatch(title))


def _asciidoc(lines: Sequence[str]) -> Iterator[str]:
    last = {line.rstrip(): i for i, line in enumerate(lines)}
    closing = ""
    after_blank = True
    rest = iter(range(len(lines)))
    for i in rest:
        line, below = (lines[j].rstrip() if j < len(lines) else "" for j in (i, i + 1))
        if closing:
            yield "```" if line == closing else lines[i]
            closing = "" if line == closing else closing
        elif heading := _ASCIIDOC_HEADING.fullmatch(line):
            yield _heading(len(heading[1]), unclosed(heading[2], "="))
        elif (
            after_blank
            and line[:1] not in ("[", ".")
            and below[:1] in _ASCIIDOC_LEVELS
            and _underlines(below, line)
            and abs(len(below) - len(line)) <= 1
        ):
            yield _heading(_ASCIIDOC_LEVELS.index(below[0]) + 1, line)
            next(rest)
        elif (code := _ASCIIDOC_CODE.fullmatch(line)) and last.get(code[1] or code[2], 0) > i:
            yield f"```{code[3] or ''}"
            closing = code[1] or code[2]
        else:
            yield "" if _ASCIIDOC_BORDER.fullmatch(line) else lines[i]
        after_blank = not line or line.startswith("[[")


def _org(lines: Sequence[str]) -> Iterator[str]:
    above = int(any(_ORG_TITLE.fullmatch(line) for line in lines))  # levels above the first star
    code = False
    for line in lines:
        if (border := _ORG_CODE.fullmatch(line)) and code == (border[1].casefold() == "end"):
            yield "```" if code else f"```{border[2]}"
            code = not code
        elif code:
            yield line
        elif title := _ORG_TITLE.fullmatch(line):
            yield _heading(1, title[1])
        elif heading := _ORG_HEADING.fullmatch(line):
            yield _heading(len(heading[1]) + above, heading[2])
        elif not _ORG_COMMENT.fullmatch(line):
            yield line


def _latex(lines: Sequence[str]) -> Iterator[str]:
    used = {heading[1] for line in lines if (heading := _LATEX_HEADING.fullmatch(line))}
    levels = [name for name in _LATEX_LEVELS if name in used]
    code = False
    for line in lines:
        border = _LATEX_CODE.fullmatch(line)
        if border and not code and border[1] == "begin" and not border[3]:  # what has its text on the same line stays as it is
            if border[2] and "caption" in border[2]:
                yield border[2]
            yield "```"
            code = True
        elif border and code and border[1] == "end":
            yield "```"
            if border[3]:
                yield border[3]
            code = False
        elif not code and (heading := _LATEX_HEADING.fullmatch(line)):
            yield _heading(levels.index(heading[1]) + 1, heading[2])
            if heading[3].strip():
                yield heading[3].strip()
        else:
            yield line


def _heading(level: int, words: str) -> str:
    return f"{'#' * min(level, 6)} {words.strip()}"


_CONVERTERS: dict[str, Callable[[Sequence[str]], Iterator[str]]] = {
    ".rst": _rst,
    ".adoc": _asciidoc,
    ".asciidoc": _asciidoc,
    ".org": _org,
    ".tex": _latex,
}
