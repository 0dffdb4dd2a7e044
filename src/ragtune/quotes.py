"""Is this quote a span of that text? Used when data is built, when answers are scored, and when they are served.

Both sides are folded first (NFKC, white space, dashes, quotation marks, Markdown marks), and every folded character remembers where it
came from, so that a match gives exact offsets into the unfolded text. Letter case is kept: a quote is verbatim or it is not a quote.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from array import array
from collections.abc import Sequence
from functools import lru_cache

from ragtune.types import Passage, Quote

_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−"), "-")
_QUOTES = dict.fromkeys(map(ord, '"“”„‟«»‘’‚‛`´′″'), "'")
_TRANSLATE = {**_DASHES, **_QUOTES}
_DROPPED = frozenset("*_|\\\u00ad\u200b\u200c\u200d\ufeff")
_CODE = "`"
"""Stands for a quotation mark in some texts, and about code in Markdown, where a page does not show it."""
_LINE_MARK = re.compile(
    r"(?m)^[ \t]*(?:>[ \t]*)*"
    r"(?:#{1,6}[ \t]+|[-*+][ \t]+|\|?(?:[ \t]*:?-{3,}:?[ \t]*\|)+[ \t]*+:?+-*+:?+[ \t]*+\|?+[ \t]*+$)?"
)
_LINK_TAIL = re.compile(r"\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*\)")


class Folded:
    """A text folded for matching, with the offset of the original behind each folded character; ``dropped`` is left out too."""

    __slots__ = ("dropped", "ends", "starts", "text")

    def __init__(self, original: str, dropped: str = "") -> None:
        skip = bytearray(len(original))
        for match in _LINE_MARK.finditer(original):
            skip[match.start() : match.end()] = b"\1" * (match.end() - match.start())
        for match in _LINK_TAIL.finditer(original):
            skip[match.start() : match.end()] = b"\1" * (match.end() - match.start())
        characters: list[str] = []
        starts, ends = array("I"), array("I")
        space_at = -1
        i, n = 0, len(original)
        while i < n:
            j = i + 1
            while j < n and unicodedata.combining(original[j]):
                j += 1
            cluster = original[i:j]
            if cluster.isspace() or cluster == "|":
                if space_at < 0:
                    space_at = i
            elif not skip[i] and cluster not in _DROPPED and cluster not in "[]" and cluster != dropped:
                if space_at >= 0 and characters:
                    characters.append(" ")
                    starts.append(space_at)
                    ends.append(i)
                space_at = -1
                # Before as well: NFKC makes a space and an accent of the acute accent that some write for an apostrophe.
                for character in unicodedata.normalize("NFKC", cluster.translate(_TRANSLATE)).translate(_TRANSLATE):
                    characters.append(character)
                    starts.append(i)
                    ends.append(j)
            i = j
        self.dropped = dropped
        self.text = "".join(characters)
        self.starts = starts
        self.ends = ends

    def find(self, needle: str, start: int = 0) -> tuple[int, int] | None:
        """The first place of an unfolded ``needle``, from original offset ``start`` on, as offsets ``(start, end)`` of the original."""
        folded = fold(needle, self.dropped).strip()
        if not folded:
            return None
        at = self.text.find(folded, bisect.bisect_left(self.starts, start))
        if at < 0:
            return None
        return self.starts[at], self.ends[at + len(folded) - 1]


@lru_cache(maxsize=512)
def _searched(text: str, dropped: str = "") -> Folded:
    return Folded(text, dropped)


@lru_cache(maxsize=512)
def fold(text: str, dropped: str = "") -> str:
    """The text as it is compared: two texts with the same fold differ only in white space, typography and Markdown marks."""
    return Folded(text, dropped).text


def find_span(quote: str, text: str, start: int = 0) -> tuple[int, int] | None:
    """Where ``quote`` stands in ``text``: exact code-point offsets ``(start, end)``; ``None`` also where it is only space and marks."""
    if not fold(quote).strip():
        return None
    at = text.find(quote, start)
    if at >= 0:
        return at, at + len(quote)
    found = _searched(text).find(quote, start)
    if found is None and (_CODE in text or _CODE in quote):
        found = _searched(text, _CODE).find(quote, start)
    return found


def check_quote(quote: str, passages: Sequence[Passage]) -> Quote:
    """Look a quote up in the shown passages and give where it stands in its document, or mark it invalid.

    Args:
        quote: the quoted text, without its quotation marks.
        passages: those that the model was shown, in order.
    """
    return next((found for passage in passages if (found := quote_in(passage, quote)) is not None), Quote(text=quote, valid=False))


def quote_in(passage: Passage, quote: str, start: int = 0) -> Quote | None:
    """The first place of a quoted text in a passage, from code point ``start`` on; ``None`` where there is none."""
    found = find_span(quote, passage.text, start)
    if found is None:
        return None
    document, first, last = to_document(passage, *found)
    return Quote(text=quote, valid=True, document=document, start=first, end=last, passage=passage.id)


def to_document(passage: Passage, start: int, end: int) -> tuple[str, int, int]:
    """Offsets in a passage's text as ``(document, start, end)``; clipped to the first span touched, as spans are joined by a newline."""
    at = 0
    for span in passage.spans:
        length = span.end - span.start
        if start < at + length:
            return span.document, span.start + max(start - at, 0), min(span.start + end - at, span.end)
        at += length + 1
    raise ValueError(f"offset {start} lies outside passage {passage.id}")
