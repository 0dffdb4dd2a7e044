"""Repair text so that what is stored is plain: no mojibake, control characters or ragged white space.

The result is the text that every offset points into, so cleaning is deterministic and cleaning twice changes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import ftfy

from ragtune.types import Document

_FTFY = ftfy.TextFixerConfig(
    unescape_html=False,  # &lt; in a document about HTML is meant
    uncurl_quotes=False,  # typography is the author's; quotes.fold compares without it
    fix_character_width=False,
    fix_line_breaks=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)
_LINE_ENDS = re.compile("\r\n?|\u0085|\u2028|\u2029|\v|\f")
# C0 and C1 but tab and newline, bidirectional overrides, lone surrogates (which UTF-8 cannot store), byte order marks
_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb]")
_TRAILING = re.compile(r"(?<![^\S\n])[^\S\n]+$", re.MULTILINE)  # from the first space of a run only: from each would be quadratic
_BLANK_LINES = re.compile(r"\n{4,}")
# fixing is quadratic in the length of a line in the worst case, and a line of this length is no prose
_LONGEST_LINE = 20_000


def clean_text(text: str) -> tuple[str, Mapping[str, int]]:
    """Clean one text.

    Returns:
        The cleaned text, and how often each kind of repair was made (kinds without one are left out).
    """
    counts: Counter[str] = Counter()

    def substitute(kind: str, pattern: re.Pattern[str], by: str, text: str) -> str:
        text, n = pattern.subn(by, text)
        counts[kind] += n
        return text

    for _ in range(4):  # one repair can uncover another (a control character within a broken letter); it settles in two
        before = text
        text = substitute("line endings", _LINE_ENDS, "\n", text)
        lines = text.split("\n")
        fixed = [_fix_line(line) for line in lines]
        counts["mojibake"] += sum(a != b for a, b in zip(lines, fixed, strict=True))
        text = substitute("control characters", _CONTROL, "", "\n".join(fixed))
        composed = unicodedata.normalize("NFC", text)
        counts["composed"] += composed != text
        text = substitute("trailing space", _TRAILING, "", composed)
        text = substitute("blank lines", _BLANK_LINES, "\n\n\n", text).strip("\n")
        if text == before:
            break
    return text, {kind: n for kind, n in counts.items() if n}


def _fix_line(line: str) -> str:
    if line.isascii() and "\x1b" not in line:
        return line
    return "".join(ftfy.fix_text(line[i : i + _LONGEST_LINE], _FTFY) for i in range(0, len(line), _LONGEST_LINE))


def clean_document(document: Document) -> tuple[Document, Mapping[str, int]]:
    """Clean a document's text and title; a document that is clean already is returned as it is.

    Returns:
        The document, and the repairs made to its text (see :func:`clean_text`).
    """
    text, counts = clean_text(document.text)
    title = " ".join(clean_text(document.title)[0].split())
    if text == document.text and title == document.title:
        return document, {}
    return replace(document, text=text, title=title), counts
