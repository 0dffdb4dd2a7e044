"""Quotes that are spans by construction: in those that open a line before the answer, only what stands in a shown passage may be written.

Others are free: those in typographic marks within a line, and those behind a first answer mark.

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
_OPENERS = (_QUOTE, "“".encode())
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_WORD_START = re.compile(rb"(?<![\w\x80-\xff])[\w\x80-\xff]|(?<=\s)\S|^\S")
_WORD = re.compile(rb"[\w\x80-\xff]")


@dataclass(frozen=True)
class _Vocabulary:
    texts: tuple[bytes, ...]
    ids: dict[bytes, int]
    longest: int
    line_start: frozenset[int]
    newlines: frozenset[int]
    closing: tuple[tuple[bytes, int], ...]


class SpanConstraint:
    """What one answer may go on with, given the passages that its prompt shows.

    A quote starts at the start of a word, ends at the end of one, and stays within a line of a passage. Outside such quotes everything may
    be written; after a quote the line ends.

    Args:
        tokenizer: the model's.
        passages: those shown.
    """

    def __init__(self, tokenizer: Any, passages: Sequence[Passage]) -> None:
        self._vocabulary = _vocabulary(tokenizer)
        lines = [part for passage in passages for line in passage.text.splitlines() for part in line.split('"')]
        self._lines = [line.encode() for line in lines if line.strip()]
        self._starts = [(line, match.start()) for line in self._lines for match in _WORD_START.finditer(line)]

    def __call__(self, ids: Sequence[int]) -> Collection[int] | None:
        """Ids that may come next; ``None`` where all may."""
        vocabulary = self._vocabulary
        text = b"".join(vocabulary.texts[id_] for id_ in ids)
        if any(line.lstrip().startswith(ANSWER_MARK.encode()) for line in text.split(b"\n")):
            return None
        line = text[text.rfind(b"\n") + 1 :]
        head, opened, quote = line.partition(_QUOTE)
        if not opened:
            return None if head.strip() else vocabulary.line_start
        if _QUOTE in quote:
            return vocabulary.newlines
        return self._inside(quote) or None

    def _inside(self, quote: bytes) -> set[int]:
        vocabulary = self._vocabulary
        allowed: set[int] = set()
        for line, at in self._places(quote):
            for end in range(at + 1, min(len(line), at + vocabulary.longest) + 1):
                id_ = vocabulary.ids.get(line[at:end])
                if id_ is not None:
                    allowed.add(id_)
            for before, id_ in vocabulary.closing:
                end = at + len(before)
                if (quote or before) and line.startswith(before, at) and _ends_word(line, end):
                    allowed.add(id_)
        return allowed

    def _places(self, quote: bytes) -> list[tuple[bytes, int]]:
        """Where the passages go on after what is quoted so far: ``(line, offset)``."""
        if not quote:
            return self._starts
        size = len(quote)
        return [(line, at + size) for line, at in self._starts if line.startswith(quote, at)]


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
    line_start = frozenset(id_ for id_, text in enumerate(texts) if text.strip() == _QUOTE or not any(mark in text for mark in _OPENERS))
    newlines = frozenset(id_ for id_, text in enumerate(texts) if text.startswith(b"\n") and not text.strip())
    return _Vocabulary(texts, ids, max(map(len, ids)), line_start, newlines, closing)


def _bytes(token: str, unicode_to_byte: dict[str, int] | None) -> bytes:
    if unicode_to_byte is not None:
        return bytes(unicode_to_byte[character] for character in token) if all(c in unicode_to_byte for c in token) else token.encode()
    if match := _BYTE_TOKEN.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("▁", " ").encode()
