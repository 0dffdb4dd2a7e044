"""Which questions to ask a teacher for: chunks worth a question, in a seeded order that is spread over the documents, each with a kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ragtune.dataset.draws import draw
from ragtune.dataset.matching import normalise
from ragtune.types import Chunk

Kind = Literal["fact", "paraphrase", "numeric", "table", "multi", "unanswerable"]

CYCLE: tuple[Kind, ...] = ("fact", "paraphrase", "numeric", "fact", "multi", "paraphrase", "unanswerable")
"""Kinds in turn; a table look-up takes the place of a fact or a number where the chunk has a table."""
ROUNDS = 3
"""Questions asked for a chunk, each of another kind; a hundred tokens seldom hold more that are worth asking."""
FEWEST_WORDS = 15
_LETTERS = 0.6
"""Share of letters and spaces in a text below which it is no prose: contents, link lists, rows of dots."""

_WORD = re.compile(r"\w{2,}")
_LINK = re.compile(r"!?\[[^\]]*\]\([^)]*\)|https?://\S+")
_ROW = re.compile(r"(?m)^[ \t]*\|.*\|[ \t]*$|^[^\s:|][^:\n]{0,40}: \S")


@dataclass(frozen=True, slots=True)
class Task:
    """One question that is to be written.

    Args:
        number: its place in the order, from 0.
        kind: asked for; what is written may turn out to be another.
        chunk: that it is about, or for ``multi`` the first of two.
    """

    number: int
    kind: Kind
    chunk: Chunk


def plan_tasks(chunks: Sequence[Chunk], seed: int) -> Iterator[Task]:
    """Tasks in a seeded order: one of each document in turn, and a chunk again, with another kind, only when all had theirs.

    Args:
        chunks: of the whole corpus.
        seed: of the order.
    """
    worth = in_turn(worth_asking(chunks), seed)
    seen: set[tuple[str, Kind]] = set()
    number = 0
    for round_ in range(ROUNDS):
        for place, chunk in enumerate(worth):
            kind = _fitting(CYCLE[(place + round_) % len(CYCLE)], chunk)
            if (chunk.id, kind) not in seen:
                seen.add((chunk.id, kind))
                yield Task(number, kind, chunk)
                number += 1


def worth_asking(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Chunks with enough text of their own: no scraps, no lists of links or numbers, nothing that stands in several places alike."""
    times = Counter(normalise(chunk.text) for chunk in chunks)
    return [chunk for chunk in chunks if _has_enough(chunk.text) and times[normalise(chunk.text)] == 1]


def in_turn(chunks: Sequence[Chunk], seed: int) -> list[Chunk]:
    """One chunk of each document, then a second of each that has one, and so on; rows and records count as their file's."""
    documents: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        documents.setdefault(chunk.document.partition("#")[0], []).append(chunk)
    placed = [
        (place, draw(seed, "document", name), chunk)
        for name, own in documents.items()
        for place, chunk in enumerate(sorted(own, key=lambda each: draw(seed, "chunk", each.id)))
    ]
    return [chunk for *_, chunk in sorted(placed, key=lambda each: each[:2])]


def has_table(text: str) -> bool:
    """Whether rows of a Markdown table, or fields of a record, stand in a text."""
    return len(_ROW.findall(text)) >= 2


def _has_enough(text: str) -> bool:
    own = _LINK.sub("", text)
    if len(_WORD.findall(own)) < FEWEST_WORDS:
        return False
    return has_table(text) or sum(each.isalpha() or each.isspace() for each in own) >= _LETTERS * len(text)


def _fitting(kind: Kind, chunk: Chunk) -> Kind:
    if kind in ("fact", "numeric") and has_table(chunk.text):
        return "table"
    return "fact" if kind == "numeric" and not re.search(r"\d", chunk.text) else kind
