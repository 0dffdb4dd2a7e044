"""Repair text so that what is stored is plain: no mojibake, control characters, broken words, running heads or ragged white space.

The result is the text that every offset points into, so cleaning is deterministic and cleaning twice changes nothing. Offsets that a reader
noted of the text before (where pages start) are moved along.
"""

from __future__ import annotations

import bisect
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import ftfy

from ragtune.structure import find_blocks
from ragtune.types import JSON, Document

Rule = Literal["boilerplate", "mojibake", "hyphenation", "repeated lines", "control characters"]
RULES: frozenset[Rule] = frozenset(get_args(Rule))
"""What can be switched off. Line endings, composed letters, white space, dot leaders and what aligns tables are always put in order:
chunking rests on them."""

_OFFSETS = ("page_starts",)  # metadata that holds offsets into the text

_FTFY = ftfy.TextFixerConfig(
    unescape_html=False,  # &lt; in a document about HTML is meant
    uncurl_quotes=False,  # typography is the author's; quotes.fold compares without it
    fix_character_width=False,
    fix_line_breaks=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)
_LINE_ENDS = re.compile("\r\n?|\n|\u0085|\u2028|\u2029|\v|\f")
_SURROGATES = re.compile("[\ud800-\udfff]")  # which UTF-8 cannot store
# C0 and C1 but tab and newline, bidirectional overrides, byte order marks
_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb]")
# fixing is quadratic in the length of a line in the worst case, and a line of this length is no prose
_LONGEST_LINE = 20_000
_MOST_ROUNDS = 20
_MOST_BLANK = 2  # lines in a row
_FEWEST_BREAKS = 2  # of pages, for heads and feet to be looked for
_PAGE_NUMBER = re.compile(r"\W*(?:page |seite )?(?:\d{1,5}|[ivxlc]{1,6})(?: ?(?:of|/|von) ?\d+)?\W*", re.IGNORECASE)
_BROKEN = re.compile(r"([^\W\d_]+)([-\u00ad\u2010])$")
_REST = re.compile(r"([^\W\d_]+)(?![\w\u00ad\u2010-])[^\w\s]*")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_FENCE = re.compile(r"\s*(```|~~~)")
_FEWEST_DOTS = 5
# dots, and the page number that they lead to: without one they may be meant
_LEADERS = re.compile(r" ?\.(?: {0,3}\.){4,}+ {0,3}(?P<to>\d|[ivxlc]+\b|\|)?")
# spaces that align a table's cells, beyond those that it is written with (see read.tables), and not what indents its rows
_PADDING = re.compile(r"(?<=[^\s|] ) ++(?=\|)|(?<=\| ) ++(?=[^\s|])|(?<=\|  ) ++(?=\|)")
_LONG_RULE = re.compile(r"-{4,}")
_TABLE_ROW = re.compile(r"\s*\|")
_INDENTED = re.compile(r" {4}|\t")
# whole lines that web pages and print-outs carry around their text
_BOILERPLATE = re.compile(
    r"""\W*(?:
    (?:skip|jump) \s to \s (?:main \s |the \s )?(?:content|navigation) | zum \s (?:haupt)?inhalt (?:\s springen)?
    | (?:back \s to (?:\s the)? \s |nach \s )(?:top|oben) | (?:print|e-?mail|share) \s this \s (?:page|article) | seite \s drucken
    | (?:share|follow \s us) \s on \s (?:facebook|twitter|x|linkedin|whatsapp|instagram)
    | (?:accept|reject) (?:\s all)? \s cookies | alle \s cookies \s (?:akzeptieren|ablehnen) | cookie \s (?:settings|policy|preferences)
    | (?:this \s (?:web)?site|we) \s uses? \s cookies\b.{0,200} | (?:subscribe|sign \s up) \s (?:to|for) \s our \s newsletter
    | (?:copyright|©|\(c\)) [^.]{0,100} all \s rights \s reserved
    )\W*""",
    re.IGNORECASE | re.VERBOSE,
)

_Line = tuple[int, str]
"""Where a line started in the text that was given, and what it says now."""


def clean_text(text: str, rules: Collection[Rule] = RULES) -> tuple[str, Mapping[str, int]]:
    """Clean one text.

    Returns:
        The cleaned text, and how often each kind of repair was made (kinds without one are left out).
    """
    lines, counts = _clean(text, rules)
    return "\n".join(line for _, line in lines), counts


def clean_document(
    document: Document, rules: Collection[Rule] = RULES, counts: Counter[str] | None = None
) -> tuple[Document, Mapping[str, int]]:
    """Clean a document's text and title; a document that is clean already is returned as it is.

    Args:
        document: as read.
        rules: those that are switched on.
        counts: added to.

    Returns:
        The document, and the repairs made to its text (see :func:`clean_text`).
    """
    lines, made = _clean(document.text, rules)
    text = "\n".join(line for _, line in lines)
    title = " ".join(clean_text(document.title, [rule for rule in rules if rule != "boilerplate"])[0].split())
    if text == document.text and title == document.title:
        return document, {}
    if counts is not None:
        counts.update(made)
    return replace(document, text=text, title=title, metadata=_moved(document.metadata, lines)), made


def _moved(metadata: Mapping[str, JSON], lines: Sequence[_Line]) -> Mapping[str, JSON]:
    """Metadata whose offsets point into the cleaned text: each to the first line that comes from there or from behind."""
    known = {name: value for name in _OFFSETS if isinstance(value := metadata.get(name), list)}
    if not known:
        return metadata
    starts = [start for start, _ in lines]
    places, at = [], 0
    for _, line in lines:
        places.append(at)
        at += len(line) + 1
    places.append(max(at - 1, 0))
    return {
        **metadata,
        **{name: [places[bisect.bisect_left(starts, int(str(offset)))] for offset in value] for name, value in known.items()},
    }


def _clean(text: str, rules: Collection[Rule]) -> tuple[list[_Line], Mapping[str, int]]:
    counts: Counter[str] = Counter()
    lines = _split(text, counts)
    if "repeated lines" in rules:
        lines = _drop_running_heads(lines, text, counts)
    for _ in range(_MOST_ROUNDS):  # one repair can uncover another (a control character within a broken letter); two or three do
        before = [line for _, line in lines]
        lines = [(start, part) for start, line in lines for part in _parts(line, counts)]
        lines = [(start, _repair(line, rules, counts)) for start, line in lines]
        if "boilerplate" in rules:
            kept = [(start, line) for start, line in lines if not _BOILERPLATE.fullmatch(line)]
            counts["boilerplate"] += len(lines) - len(kept)
            lines = kept
        if "hyphenation" in rules:
            lines = _join_words(lines, counts)
        lines = _squeeze_tables(_shorten_leaders(lines, counts), counts)
        lines = _drop_blank(lines, counts)
        if [line for _, line in lines] == before:
            break
    return lines, {kind: n for kind, n in counts.items() if n}


def _split(text: str, counts: Counter[str]) -> list[_Line]:
    lines, start = [], 0
    for end in _LINE_ENDS.finditer(text):
        lines.append((start, text[start : end.start()]))
        start = end.end()
        counts["line endings"] += end[0] != "\n"
    return [*lines, (start, text[start:])]


def _parts(line: str, counts: Counter[str]) -> Iterator[str]:
    """A repaired letter may turn out to be the end of a line."""
    parts = _LINE_ENDS.split(line)
    counts["line endings"] += len(parts) - 1
    return iter(parts)


def _repair(line: str, rules: Collection[Rule], counts: Counter[str]) -> str:
    plain = line
    if not line.isascii() or "\x1b" in line:
        if "mojibake" in rules:
            plain = "".join(ftfy.fix_text(line[i : i + _LONGEST_LINE], _FTFY) for i in range(0, len(line), _LONGEST_LINE))
            counts["mojibake"] += plain != line
        plain = _SURROGATES.sub("", plain)
        composed = unicodedata.normalize("NFC", plain)
        counts["composed"] += composed != plain
        plain = composed
    if "control characters" in rules:
        plain, n = _CONTROL.subn("", plain)
        counts["control characters"] += n
    stripped = plain.rstrip()
    counts["trailing space"] += stripped != plain
    return stripped


def _drop_blank(lines: Sequence[_Line], counts: Counter[str]) -> list[_Line]:
    """No blank lines at either end, and never many between."""
    kept: list[_Line] = []
    blank = 0
    for start, line in lines:
        blank = 0 if line else blank + 1
        counts["blank lines"] += blank == _MOST_BLANK + 1 and bool(kept)
        if blank <= _MOST_BLANK and (line or kept):
            kept.append((start, line))
    while kept and not kept[-1][1]:
        kept.pop()
    return kept


def _drop_running_heads(lines: Sequence[_Line], text: str, counts: Counter[str]) -> list[_Line]:
    """Of a text with form feeds: drop page numbers, and first and last lines of pages that half of them have, numbers aside.

    The first head stays: it may say what the document is.
    """
    breaks = [match.end() for match in re.finditer("\f", text)]
    if len(breaks) < _FEWEST_BREAKS:
        return list(lines)
    pages: dict[int, list[int]] = {}
    for number, (start, line) in enumerate(lines):
        if line.strip():
            pages.setdefault(bisect.bisect_right(breaks, start), []).append(number)
    edges = [{page[0], page[-1]} for page in pages.values()]
    seen = Counter(form for edge in edges for form in {_form(lines[number][1]) for number in edge})
    dropped: set[int] = set()
    first: set[str] = set()
    for number in sorted(set[int]().union(*edges)):
        line = lines[number][1]
        running = seen[_form(line)] >= max(3, len(pages) / 2)
        if _PAGE_NUMBER.fullmatch(line) or (running and _form(line) in first):
            dropped.add(number)
        first.add(_form(line))
    counts["repeated lines"] += len(dropped)
    return [line for number, line in enumerate(lines) if number not in dropped]


def _form(line: str) -> str:
    return re.sub(r"\d+", "#", " ".join(line.casefold().split()))


def _join_words(lines: list[_Line], counts: Counter[str]) -> list[_Line]:
    """Put words together that a line's end broke: the rest of the word goes up to where it began.

    A soft hyphen goes always. Another one goes where the whole word is used elsewhere in the text, or where its second part is no word of
    the text; where the word is used with the hyphen it stays, and what is doubtful is left as it is. Indented lines may be code, in which a
    typist's hyphen stands for itself; a typesetter's, as in manual pages, is none of code.
    """
    if not any(line.endswith(("-", "\u00ad", "\u2010")) for _, line in lines):
        return lines
    words = _words(lines)
    joined = list(lines)
    for number, (fenced, (start, line)) in enumerate(zip(_fenced(lines), lines, strict=True)):
        broken = _BROKEN.search(joined[number][1])
        if fenced or _TABLE_ROW.match(line) or broken is None or number + 1 == len(lines):
            continue
        if broken[2] == "-" and any(_INDENTED.match(line) for _, line in joined[number : number + 2]):
            continue
        below, next_line = joined[number + 1]
        indent = len(next_line) - len(next_line.lstrip())
        rest = _REST.match(next_line, indent)
        if rest is None or not rest[1][0].islower():
            continue
        whole, hyphenated = broken[1] + rest[1], f"{broken[1]}-{rest[1]}"
        if broken[2] != "\u00ad" and hyphenated in words and whole not in words:
            whole = hyphenated
        elif broken[2] != "\u00ad" and whole not in words and rest[1] in words:
            continue
        joined[number] = start, joined[number][1][: broken.start()] + whole + rest[0][len(rest[1]) :]
        joined[number + 1] = below, (next_line[:indent] + next_line[rest.end() :].lstrip()).rstrip()
        counts["hyphenation"] += 1
    # a line of which nothing is left goes, or a paragraph would be cut in two
    return [new for new, old in zip(joined, lines, strict=True) if new[1] or not old[1]]


def _words(lines: Sequence[_Line]) -> set[str]:
    """Words of the text, without the parts of those that a line's end breaks."""
    words: set[str] = set()
    after_break = False
    for _, line in lines:
        broken = _BROKEN.search(line)
        whole = _WORD.findall(line[: broken.start()] if broken else line)
        words.update(whole[1:] if after_break else whole)
        after_break = broken is not None
    return words


def _shorten_leaders(lines: list[_Line], counts: Counter[str]) -> list[_Line]:
    """One ellipsis for the dots of a table of contents: they tell nothing, and are many tokens."""
    if not any(line.count(".") >= _FEWEST_DOTS and _LEADERS.search(line) for _, line in lines):
        return lines
    shortened: list[_Line] = []
    for fenced, (start, line) in zip(_fenced(lines), lines, strict=True):
        short = line if fenced else _LEADERS.sub(lambda match: f" … {match['to']}" if match["to"] else match[0], line)
        shortened.append((start, short))
        counts["dot leaders"] += short != line
    return shortened


def _squeeze_tables(lines: list[_Line], counts: Counter[str]) -> list[_Line]:
    """Markdown tables without the spaces and dashes that align their columns: no reader of a chunk needs them, and each dash is a token."""
    if not any("|" in line and (_PADDING.search(line) or _LONG_RULE.search(line)) for _, line in lines):
        return lines
    text = "\n".join(line for _, line in lines)
    starts = list(itertools.accumulate((len(line) + 1 for _, line in lines), initial=0))
    squeezed = list(lines)
    for table in (block for block in find_blocks(text) if block.kind == "table"):
        first = bisect.bisect_left(starts, table.start)
        for number in range(first, bisect.bisect_left(starts, table.end)):
            start, line = lines[number]
            plain = _PADDING.sub("", line)
            plain = _LONG_RULE.sub("---", plain) if number == first + 1 else plain
            squeezed[number] = start, plain
            counts["table padding"] += plain != line
    return squeezed


def _fenced(lines: Sequence[_Line]) -> Iterator[bool]:
    """Whether each line is within a fence, or is one."""
    fenced = False
    for _, line in lines:
        fence = _FENCE.match(line) is not None
        yield fenced or fence
        fenced ^= fence
