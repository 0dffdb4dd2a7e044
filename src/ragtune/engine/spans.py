"""Quotes that are spans by construction: in all that stand before the answer only what stands in a shown passage may be written.

They are in plain marks, and the line ends with them; typographic marks, which open a quote too, are not written outside of one. What is
behind a first answer mark is free, and no quote. Whoever quotes answers, too: after a quote the text cannot end without an answer line,
whatever is written between them, and that has to come once a quote is repeated, or once there is no room for more.

Works on bytes, so that it does not matter where the tokenizer would have cut the passage. A constraint is a plain function of the ids
written so far and keeps no state, as :mod:`ragtune.engine.decode` asks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from ragtune.prompts import ANSWER_MARK
from ragtune.types import Passage

_QUOTE = b'"'
_MARK = ANSWER_MARK.encode()
_ANSWER_ROOM = 32
"""Tokens that quotes leave to the answer."""
_TYPOGRAPHIC = "“".encode()
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_WORD_START = re.compile(rb"(?<![\w\x80-\xff])[\w\x80-\xff]|(?<=\s)\S|^\S")
_WORD = re.compile(rb"[\w\x80-\xff]")


@dataclass(frozen=True)
class _Vocabulary:
    texts: tuple[bytes, ...]
    ids: dict[bytes, int]
    longest: int
    line_start: frozenset[int]
    prose: frozenset[int]
    """Ids that may go on with a line: those that open no quote but with a mark at their end."""
    line_going_on: frozenset[int]
    prose_going_on: frozenset[int]
    """Of those that may start a line, or go on with it, the ones that do not end the text."""
    unopened: dict[bytes, frozenset[int]]
    """By the first bytes of the typographic mark, with which a text ends: ids that go on with a line and make no such mark of them."""
    newlines: frozenset[int]
    mark: tuple[frozenset[int], ...]
    """Ids that write the answer mark from each of its bytes on, or a part of it."""
    closing: tuple[tuple[bytes, int], ...]


class SpanConstraint:
    """What one answer may go on with, given the passages that its prompt shows.

    A quote starts at the start of a word, ends at the end of one, holds a letter or a digit, and stays within a line of a passage. Outside
    such quotes everything may be written; after a quote the line ends.

    Args:
        tokenizer: the model's.
        passages: those shown.
        limit: tokens of the whole text; a quote that leaves too few of them to the answer ends at its next word. ``None``: as many as it
            takes.
    """

    def __init__(self, tokenizer: Any, passages: Sequence[Passage], limit: int | None = None) -> None:
        self._vocabulary = _vocabulary(tokenizer)
        self._room = None if limit is None else max(limit - _ANSWER_ROOM, limit // 2)
        lines = [part for passage in passages for line in passage.text.splitlines() for part in line.split('"')]
        self._lines = [line.encode() for line in lines if line.strip()]
        self._starts = [
            (line, match.start()) for line in self._lines for match in _WORD_START.finditer(line) if _says(line[match.start() :])
        ]

    def __call__(self, ids: Sequence[int]) -> Collection[int] | None:
        """Ids that may come next; ``None`` where all may."""
        vocabulary = self._vocabulary
        *before, line = b"".join(vocabulary.texts[id_] for id_ in ids).split(b"\n")
        if any(_MARK in each.partition(_QUOTE)[0] for each in (*before, line)):
            return None
        head, opened, quote = line.partition(_QUOTE)
        full = self._room is not None and len(ids) >= self._room
        if not opened:
            return self._outside(head, [each.strip() for each in before if each.lstrip().startswith(_QUOTE)], full=full)
        if _QUOTE in quote:
            return vocabulary.newlines
        allowed = self._inside(quote)
        closing = {id_ for _, id_ in vocabulary.closing} & allowed if full else allowed
        return closing or allowed or vocabulary.newlines

    def _outside(self, line: bytes, quotes: Sequence[bytes], *, full: bool) -> frozenset[int]:
        """In a line that opens no quote so far; once there were quotes the text goes on to its answer."""
        vocabulary = self._vocabulary
        begun = line.lstrip()
        last = full or len(set(quotes)) < len(quotes)
        if last and _MARK.startswith(begun):
            return vocabulary.mark[len(begun)]
        if last and quotes:
            return vocabulary.newlines
        for size in range(len(_TYPOGRAPHIC) - 1, 0, -1):
            if line.endswith(_TYPOGRAPHIC[:size]):
                return vocabulary.unopened[_TYPOGRAPHIC[:size]]
        if begun:
            return vocabulary.prose_going_on if quotes else vocabulary.prose
        return vocabulary.line_going_on if quotes else vocabulary.line_start

    def _inside(self, quote: bytes) -> set[int]:
        vocabulary = self._vocabulary
        says = _says(quote)
        allowed: set[int] = set()
        for line, at in self._places(quote):
            for end in range(at + 1, min(len(line), at + vocabulary.longest) + 1):
                id_ = vocabulary.ids.get(line[at:end])
                if id_ is not None:
                    allowed.add(id_)
            for before, id_ in vocabulary.closing:
                end = at + len(before)
                if line.startswith(before, at) and _ends_word(line, end) and (says or _says(before)):
                    allowed.add(id_)
        return allowed

    def _places(self, quote: bytes) -> list[tuple[bytes, int]]:
        """Where the passages go on after what is quoted so far: ``(line, offset)``."""
        if not quote:
            return self._starts
        size = len(quote)
        return [(line, at + size) for line, at in self._starts if line.startswith(quote, at)]


def _says(quoted: bytes) -> bool:
    """Whether there is a letter or a digit in it: a quote of marks alone is none."""
    return any(map(str.isalnum, quoted.decode(errors="ignore")))


def _ends_word(line: bytes, at: int) -> bool:
    return at > 0 and (at == len(line) or not (_WORD.match(line, at) and _WORD.match(line, at - 1)))


@lru_cache(maxsize=4)
def _vocabulary(tokenizer: Any) -> _Vocabulary:
    special = set(tokenizer.all_special_ids)
    unicode_to_byte = {character: byte for byte, character in bytes_to_unicode().items()}
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    byte_level = "Ġ" in "".join(token for token in tokens[:2000] if token)
    texts = tuple(b"" if id_ in special else _bytes(token, unicode_to_byte if byte_level else None) for id_, token in enumerate(tokens))
    ids = {text: id_ for id_, text in enumerate(texts) if text and _QUOTE not in text and b"\n" not in text}
    closing = tuple(
        (before, id_)
        for id_, text in enumerate(texts)
        for before, mark, after in [text.partition(_QUOTE)]
        if mark and after in (b"", b"\n")
    )
    line_start = frozenset(id_ for id_, text in enumerate(texts) if _starts_line(text))
    prose = frozenset(id_ for id_, text in enumerate(texts) if _goes_on(text))
    written = frozenset(id_ for id_, text in enumerate(texts) if text)
    unopened = {
        begun: frozenset(id_ for id_ in written & prose if not (begun + texts[id_]).startswith(_TYPOGRAPHIC))
        for begun in (_TYPOGRAPHIC[:at] for at in range(1, len(_TYPOGRAPHIC)))
    }
    newlines = frozenset(id_ for id_, text in enumerate(texts) if text.startswith(b"\n") and not text.strip())
    mark = tuple(frozenset(id_ for id_, text in enumerate(texts) if _writes(text, _MARK[at:], first=at == 0)) for at in range(len(_MARK)))
    return _Vocabulary(
        texts,
        ids,
        max(map(len, ids)),
        line_start,
        prose,
        line_start & written,
        prose & written,
        unopened,
        newlines,
        mark,
        closing,
    )


def _starts_line(text: bytes) -> bool:
    """Whether a text may stand at the start of a line: it opens no quote but with a mark alone, so that what is quoted is held."""
    return text.strip() == _QUOTE or (_QUOTE not in text and _TYPOGRAPHIC not in text)


def _goes_on(text: bytes) -> bool:
    """Whether a text may go on with a line, and with those after it: as one that starts a line, but a mark may end what goes on."""
    if _TYPOGRAPHIC in text:
        return False
    _, opened, behind = text.partition(_QUOTE)
    return not opened or not behind.strip(b" ")


def _writes(text: bytes, wanted: bytes, *, first: bool) -> bool:
    """Whether a token's text is what is wanted, or the start of it; the first one may have spaces before it."""
    own = text.lstrip(b" ") if first else text
    return bool(own) and (wanted.startswith(own) or own.rstrip(b" ") == wanted)


def _bytes(token: str, unicode_to_byte: dict[str, int] | None) -> bytes:
    if unicode_to_byte is not None:
        return bytes(unicode_to_byte[character] for character in token) if all(c in unicode_to_byte for c in token) else token.encode()
    if match := _BYTE_TOKEN.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("▁", " ").encode()
