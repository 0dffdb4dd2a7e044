"""Where does a sentence begin and end? Enough for quoting: ends of prose sentences, lines, and the marks of Markdown about them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

_END = re.compile(r"[.!?][\"”’')\]]*(?=\s+[\"“‘'(\[]?(\w))|[。！？][”’」』）]*|\n\s*\n")
_ABBREVIATION = re.compile(
    r"(?:\b[A-Z]|\b(?:St|Mr|Mrs|Ms|Dr|Prof|Rev|Gen|Col|Lt|Sgt|Sr|Jr|vs|No|Vol|Fig|approx|c|ca|cf|e\.g|i\.e|al|Inc|Ltd|Co|Mt))\.$"
)
_EDGE = re.compile(r"(?:(?:#{1,6}|>|[-*+])\s+|\|\s*)*")


def sentence_around(text: str, start: int, end: int) -> tuple[int, int]:
    """The sentence, or the sentences, that ``[start, end)`` of ``text`` touches, without outer white space."""
    first, last = 0, len(text)
    for at in _ends(text):
        if at <= start:
            first = at
        elif at >= end:
            last = at
            break
    return _trim(text, first, last)


def split_sentences(text: str) -> list[str]:
    """The sentences of a text in order, without outer white space; joined they hold all that is not white space."""
    cuts = [0, *_ends(text), len(text)]
    spans = (_trim(text, first, last) for first, last in itertools.pairwise(cuts))
    return [text[first:last] for first, last in spans if first < last]


def bare(line: str) -> str:
    """A line without the Markdown marks at its edges (heading, quotation, list, table row), with single spaces."""
    return " ".join(_without_edges(_without_edges(line.strip())).split())


def _without_edges(line: str) -> str:
    return _EDGE.sub("", line, count=1).removesuffix("|").rstrip()


def _ends(text: str) -> Iterator[int]:
    for match in _END.finditer(text):
        following = match[1]
        if following is not None and following.islower():
            continue  # "approx. two": what goes on in lower case is no new sentence; letters without case may begin one
        if not _ABBREVIATION.search(text, max(0, match.start() - 8), match.start() + 1):
            yield match.end()


def _trim(text: str, first: int, last: int) -> tuple[int, int]:
    sentence = text[first:last]
    stripped = len(sentence) - len(sentence.lstrip())
    return first + stripped, max(first + stripped, first + len(sentence.rstrip()))
