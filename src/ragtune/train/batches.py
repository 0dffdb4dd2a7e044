"""Token ids to packed tensors: a group's branches share the cost of its context (see :mod:`ragtune.train.sequences`).

Sequences are packed end to end into one row: there is no padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ragtune.train.attention import Blocks, lay_out
from ragtune.train.sequences import ANSWER_TOKENS, TokenSequence, cut, scores


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors of packed sequences: ``t`` tokens, ``c`` completion tokens.

    Args:
        ids_1t: token ids.
        positions_1t: of each token in its own sequence.
        blocks: who sees whom.
        at_c: where each completion token is predicted.
        targets_c: the completion tokens.
        weights_c: of each completion token in the loss; the same for all (see :data:`ANSWER_TOKENS`).
        answers: how many there are.
    """

    ids_1t: Tensor
    positions_1t: Tensor
    blocks: Blocks
    at_c: Tensor
    targets_c: Tensor
    weights_c: Tensor
    answers: int

    @property
    def tokens(self) -> int:
        """Of all sequences."""
        return self.ids_1t.shape[1]

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """The same on a device, for a model of a number format."""
        ids, positions, at, targets, weights = (
            tensor.to(device) for tensor in (self.ids_1t, self.positions_1t, self.at_c, self.targets_c, self.weights_c)
        )
        return Batch(ids, positions, self.blocks.to(device, dtype), at, targets, weights, self.answers)


def split_batches(sequences: Sequence[TokenSequence], max_tokens: int, *, fused: bool, max_scores: float = float("inf")) -> Iterator[Batch]:
    """Sequences, longest first, into batches of at most ``max_tokens`` (a longer sequence stands alone).

    Args:
        sequences: of one step.
        max_tokens: in one pass.
        fused: take PyTorch's attention kernels.
        max_scores: a batch with more attention scores a head takes them too, as scores are kept otherwise.
    """
    for batch in cut(sequences, max_tokens):
        yield pack(batch, fused=fused or scores(batch) > max_scores)


def pack(sequences: Sequence[TokenSequence], *, fused: bool) -> Batch:
    """Tensors of some sequences."""
    ids: list[int] = []
    positions: list[int] = []
    at: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for sequence in sequences:
        context = len(sequence.context)
        ids += sequence.context
        positions += range(context)
        for branch in sequence.branches:
            at += range(len(ids) + len(branch.question) - 1, len(ids) + len(branch) - 1)
            targets += branch.completion
            weights += [1 / ANSWER_TOKENS] * len(branch.completion)
            ids += branch.question + branch.completion
            positions += range(context, context + len(branch))
    return Batch(
        torch.tensor([ids]),
        torch.tensor([positions]),
        lay_out([(len(s.context), [len(b) for b in s.branches]) for s in sequences], fused=fused),
        torch.tensor(at),
        torch.tensor(targets),
        torch.tensor(weights),
        sum(len(s.branches) for s in sequences),
    )
