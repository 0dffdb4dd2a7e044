"""Context groups to token ids, steps and padded tensors.

A group is one sequence ``context · branch₁ · … · branchₙ``. Each branch (question, completion) sees the context and itself, and its
positions go on from the context's end, so a group's loss and gradients are those of n separate sequences, at the cost of one context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ragtune.errors import TrainError
from ragtune.prompts import Tokenizer, build_messages, encode_completion, encode_prompt
from ragtune.types import ContextGroup


@dataclass(frozen=True, slots=True)
class BranchIds:
    """One branch's token ids: the question with the start of the answer's turn, then the completion, which alone has a loss."""

    question: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.question) + len(self.completion)


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """One group's token ids."""

    context: tuple[int, ...]
    branches: tuple[BranchIds, ...]

    def __len__(self) -> int:
        return len(self.context) + sum(map(len, self.branches))

    @property
    def span(self) -> int:
        """Positions that it needs: those of its longest branch."""
        return len(self.context) + max(map(len, self.branches))


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded tensors of some sequences.

    Shapes: ``b`` sequences, ``t`` tokens of the longest, ``c`` completion tokens in all.

    Args:
        ids_bt: token ids; padding stands on the right.
        positions_bt: of each token.
        mask_b1tt: whether a token (row) sees another (column); ``None`` where plain causal attention says the same.
        at_c: where in the flattened ``b · t`` hidden states each completion token is predicted.
        targets_c: the completion tokens.
        answer_c: which answer of the batch each belongs to.
        answers: how many answers there are.
        tokens: without padding.
    """

    ids_bt: Tensor
    positions_bt: Tensor
    mask_b1tt: Tensor | None
    at_c: Tensor
    targets_c: Tensor
    answer_c: Tensor
    answers: int
    tokens: int

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        mask = None if self.mask_b1tt is None else self.mask_b1tt.to(device)
        moved = (tensor.to(device) for tensor in (self.at_c, self.targets_c, self.answer_c))
        return Batch(self.ids_bt.to(device), self.positions_bt.to(device), mask, *moved, self.answers, self.tokens)


class Encoder:
    """Groups to token ids, with the prompt that evaluation and serving use.

    Args:
        tokenizer: the base model's.
        max_positions: of the model.
    """

    def __init__(self, tokenizer: Tokenizer, max_positions: int) -> None:
        self._tokenizer = tokenizer
        self._max_positions = max_positions

    def __call__(self, group: ContextGroup) -> TokenSequence:
        """One group.

        Raises:
            TrainError: a branch does not fit the model's positions.
        """
        context: tuple[int, ...] = ()
        branches = []
        for branch in group.branches:
            prompt = encode_prompt(self._tokenizer, build_messages(branch.question, group.passages))
            context = prompt.context
            branches.append(BranchIds(prompt.branch, encode_completion(self._tokenizer, branch.completion)))
        sequence = TokenSequence(context, tuple(branches))
        if sequence.span > self._max_positions:
            raise TrainError(
                f"question {group.branches[0].id} needs {sequence.span} tokens with its passages, the model has {self._max_positions} positions: "
                "lower retrieve.k or prepare.chunk_size"
            )
        return sequence


def split_steps(groups: Sequence[ContextGroup], answers_per_step: int) -> list[list[ContextGroup]]:
    """Groups in order, as many a step as make up its answers; a step of one shared context alone is followed by its neighbour."""
    steps: list[list[ContextGroup]] = []
    step: list[ContextGroup] = []
    for group in groups:
        step.append(group)
        if sum(len(each.branches) for each in step) >= answers_per_step and (len(step) > 1 or answers_per_step == 1):
            steps.append(step)
            step = []
    if step:
        steps.append(step)
    return steps


def split_batches(sequences: Sequence[TokenSequence], max_tokens: int) -> Iterator[Batch]:
    """Sequences by length into batches of at most ``max_tokens`` padded tokens (a longer sequence stands alone)."""
    batch: list[TokenSequence] = []
    for sequence in sorted(sequences, key=len, reverse=True):
        if batch and len(batch[0]) * (len(batch) + 1) > max_tokens:
            yield make_batch(batch)
            batch = []
        batch.append(sequence)
    if batch:
        yield make_batch(batch)


def make_batch(sequences: Sequence[TokenSequence]) -> Batch:
    """Tensors of some sequences."""
    width = max(map(len, sequences))
    ids_bt = torch.zeros(len(sequences), width, dtype=torch.long)
    positions_bt = torch.zeros(len(sequences), width, dtype=torch.long)
    # Padding is on the right, where causal attention never looks: a mask is needed for branches alone.
    shared = any(len(sequence.branches) > 1 for sequence in sequences)
    mask_b1tt = torch.zeros(len(sequences), 1, width, width, dtype=torch.bool) if shared else None
    at: list[int] = []
    targets: list[int] = []
    answer: list[int] = []
    answers = 0
    for row, sequence in enumerate(sequences):
        context = len(sequence.context)
        ids_bt[row, :context] = torch.tensor(sequence.context, dtype=torch.long)
        positions_bt[row, :context] = torch.arange(context)
        start = context
        for branch in sequence.branches:
            end = start + len(branch)
            ids_bt[row, start:end] = torch.tensor(branch.question + branch.completion)
            positions_bt[row, start:end] = torch.arange(context, context + len(branch))
            if mask_b1tt is not None:
                mask_b1tt[row, 0, start:end, :context] = True
                mask_b1tt[row, 0, start:end, start:end] = torch.ones(len(branch), len(branch), dtype=torch.bool).tril()
            first = start + len(branch.question) - 1
            at.extend(row * width + first + step for step in range(len(branch.completion)))
            targets.extend(branch.completion)
            answer.extend([answers] * len(branch.completion))
            answers += 1
            start = end
        if mask_b1tt is not None:
            mask_b1tt[row, 0, :context, :context] = torch.ones(context, context, dtype=torch.bool).tril()
            mask_b1tt[row, 0, start:, 0] = True  # padding must see something, or its softmax is not a number
    return Batch(
        ids_bt,
        positions_bt,
        mask_b1tt,
        torch.tensor(at),
        torch.tensor(targets),
        torch.tensor(answer),
        answers,
        sum(map(len, sequences)),
    )
