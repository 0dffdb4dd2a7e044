"""What a step reads, by way of tf.data: rows of tokens, padded in length buckets, with the weight of every predicted token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragtune.train.keras.backend import tf
from ragtune.train.rows import cut_padded, separate, width
from ragtune.train.sequences import ANSWER_TOKENS, TokenSequence

_AHEAD = 8
"""Passes that are encoded and padded while others are computed."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Rows that go through the model at once: ``b`` rows, padded to ``t`` tokens.

    Args:
        ids_bt: token ids.
        mask_bt: 1 for tokens, 0 for padding.
        weights_bt: at each place, of the token after it in the loss; 0 where that is no completion's.
    """

    ids_bt: Any
    mask_bt: Any
    weights_bt: Any


@dataclass(frozen=True, slots=True)
class Step:
    """The passes of an update, its answers and its tokens: a shared context is counted once, as the PyTorch trainer counts it."""

    passes: tuple[Pass, ...]
    answers: int
    tokens: int


def pad(rows: Sequence[TokenSequence]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """The arrays of a :class:`Pass`."""
    shape = len(rows), max(map(width, rows))
    ids_bt, mask_bt, weights_bt = np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    for number, row in enumerate(rows):
        branch = row.branches[0]
        ids_bt[number, : len(row)] = (*row.context, *branch.question, *branch.completion)
        mask_bt[number, : len(row)] = 1
        weights_bt[number, len(row) - len(branch.completion) - 1 : len(row) - 1] = 1 / ANSWER_TOKENS
    return ids_bt, mask_bt, weights_bt


def passes_of(sequences: Sequence[TokenSequence], max_tokens: int) -> list[Pass]:
    """The passes of some sequences, at once: a pipeline of tf.data for a single text would take longer than the text.

    Args:
        sequences: that are computed now.
        max_tokens: in a pass, padding included.
    """
    return [Pass(*map(tf.constant, pad(rows))) for rows in cut_padded(separate(sequences), max_tokens)]


def read_steps(steps: Iterable[Sequence[TokenSequence]], max_tokens: int) -> Iterator[Step]:
    """Steps in order; those to come are encoded and padded while one is computed.

    Args:
        steps: sequences of each.
        max_tokens: in a pass, padding included.
    """

    def passes() -> Iterator[tuple[Any, ...]]:
        for sequences in steps:
            batches = list(cut_padded(separate(sequences), max_tokens))
            answers, tokens = sum(map(len, batches)), sum(map(len, sequences))
            for number, rows in enumerate(batches, start=1):
                yield *pad(rows), number == len(batches), answers, tokens

    scalar, row = tf.TensorSpec([], tf.int64), [None, None]
    signature = (tf.TensorSpec(row, tf.int32), tf.TensorSpec(row, tf.int32), tf.TensorSpec(row), tf.TensorSpec([], tf.bool), scalar, scalar)
    data = tf.data.Dataset.from_generator(passes, output_signature=signature).prefetch(_AHEAD)
    found: list[Pass] = []
    for ids_bt, mask_bt, weights_bt, last, answers, tokens in data:
        found.append(Pass(ids_bt, mask_bt, weights_bt))
        if last:
            yield Step(tuple(found), int(answers), int(tokens))
            found = []
