"""Padded rows, for a backend whose attention knows no branches: each branch is a row of its own, with its context before it.

Loss and gradients are those of the packed sequence, which computes a shared context once and a row each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ragtune.train.sequences import TokenSequence

BUCKET = 64
"""Rows are padded to a multiple of so many tokens: few lengths, so that memory is found again, and about 32 tokens wasted a row."""


def separate(sequences: Sequence[TokenSequence]) -> list[TokenSequence]:
    """Every branch with the context as a sequence of its own."""
    return [TokenSequence(sequence.context, (branch,)) for sequence in sequences for branch in sequence.branches]


def width(row: TokenSequence) -> int:
    """Its length with padding."""
    return -(-len(row) // BUCKET) * BUCKET


def cut_padded(rows: Sequence[TokenSequence], max_tokens: int) -> Iterator[list[TokenSequence]]:
    """Rows, longest first, in passes of at most ``max_tokens`` with padding (a longer row stands alone)."""
    batch: list[TokenSequence] = []
    for row in sorted(rows, key=len, reverse=True):
        if batch and width(batch[0]) * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
