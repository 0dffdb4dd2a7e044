"""Which kind of index suits so many vectors: exact search while that is fast, then lists, and codes for vectors where memory is short.

Only arithmetic; where the numbers come from is in docs/decisions/0010-index-kinds.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["flat", "hnsw", "ivf", "ivf-sq8", "ivf-pq"]
KINDS: tuple[Kind, ...] = ("flat", "hnsw", "ivf", "ivf-sq8", "ivf-pq")
CODED: tuple[Kind, ...] = ("ivf-sq8", "ivf-pq")
"""Kinds that hold codes and rank what they find by exact vectors."""
EXACT_BELOW = 50_000
"""Vectors up to which every one is compared, in about a dozen milliseconds a search."""
CODES_FROM = 10_000
"""Vectors from which codes can be trained, and there is memory to be saved."""
_MIB = 2**20
_LINKS = 2 * 16 + 2
"""Of a vector in an HNSW graph, on all levels together, 4 bytes each."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A kind, and why it is that one.

    Args:
        kind: chosen.
        why: in a sentence, with the numbers.
        sizes: bytes of the index, by kind.
    """

    kind: Kind
    why: str
    sizes: Mapping[str, int]


def choose(
    vectors: int, dimension: int, *, kind: Kind | Literal["auto"] = "auto", recall: float = 0.98, memory: int | None = None
) -> Choice:
    """Choose a kind.

    Args:
        vectors: how many there are.
        dimension: of each.
        kind: that is wanted, or ``auto``.
        recall: wanted recall@10 against exact search, in (0, 1].
        memory: MiB that the index may take; ``None`` is no limit.
    """
    sizes: dict[str, int] = {each: size(each, vectors, dimension) for each in KINDS}

    def chosen(kind: Kind, why: str) -> Choice:
        return Choice(kind, why, sizes)

    count = f"{vectors:,} vectors"
    if kind != "auto":
        if kind != "flat" and vectors < CODES_FROM // 10:
            return chosen(
                "flat", f"index.kind asks for {kind}, and {count} are too few to train one: below {CODES_FROM // 10:,} all are compared"
            )
        return chosen(kind, f"index.kind asks for {kind}")
    limit = math.inf if memory is None else memory * _MIB
    fits = f"their {sizes['flat'] / _MIB:,.0f} MiB fit into {'memory' if memory is None else f'index.memory = {memory} MiB'}"
    if recall >= 1:
        return chosen("flat", "index.recall = 1 is reached by exact search alone")
    if vectors < CODES_FROM and sizes["flat"] > limit:
        return chosen(
            "flat",
            f"{count} are fewer than {CODES_FROM:,}, too few to train codes that take less than their {sizes['flat'] / _MIB:,.1f} MiB",
        )
    if vectors < CODES_FROM:
        return chosen("flat", f"{count} are fewer than {EXACT_BELOW:,}, and exact search takes about a millisecond")
    if vectors < EXACT_BELOW and sizes["flat"] <= limit:
        return chosen("flat", f"{count} are fewer than {EXACT_BELOW:,}, where exact search takes milliseconds, and {fits}")
    if sizes["ivf"] <= limit:
        return chosen("ivf", f"{count} are {EXACT_BELOW:,} or more, so lists are searched in place of all, and {fits}")
    for coded in CODED:
        if sizes[coded] <= limit:
            taken = f"exact vectors take {sizes['flat'] / _MIB:,.0f} MiB and {coded} {sizes[coded] / _MIB:,.0f}"
            why = f"index.memory is {memory} MiB, {taken}"
            return chosen(coded, why)
    return chosen("ivf-pq", f"no kind fits into index.memory = {memory} MiB; this is the smallest, with {sizes['ivf-pq'] / _MIB:,.1f} MiB")


def lists_for(vectors: int) -> int:
    """Lists for so many vectors: the power of two next to four square roots, as FAISS's guidelines have it."""
    return int(2 ** round(math.log2(max(1.0, 4 * math.sqrt(max(1, vectors))))))


def size(kind: Kind, vectors: int, dimension: int) -> int:
    """Bytes of an index, vectors with their ids and what is kept to find them."""
    centres = 4 * dimension * lists_for(vectors)
    each = {
        "flat": 4 * dimension + 8,
        "hnsw": 4 * dimension + 8 + 4 * _LINKS,
        "ivf": 4 * dimension + 8,
        "ivf-sq8": dimension + 8,
        "ivf-pq": (pq_parts(dimension) + 1) // 2 + 8,
    }[kind]
    return vectors * each + (centres if kind.startswith("ivf") else 0)


def pq_parts(dimension: int) -> int:
    """Parts that product quantisation cuts a vector into, of four dimensions or a few more each; a part takes half a byte."""
    return max(parts for parts in range(1, max(1, dimension // 4) + 1) if dimension % parts == 0)


__all__ = ["CODED", "CODES_FROM", "EXACT_BELOW", "KINDS", "Choice", "Kind", "choose", "lists_for", "pq_parts", "size"]
