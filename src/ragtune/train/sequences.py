"""Context groups to token ids and steps, whatever computes with them.

A group is one sequence ``context · branch₁ · … · branchₙ``. Each branch (question, completion) sees the context and itself, and its
positions go on from the context's end, so a group's loss and gradients are those of n separate sequences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragtune.errors import TrainError
from ragtune.prompts import Tokenizer, build_messages, encode_completion, encode_prompt
from ragtune.types import ContextGroup

ANSWER_TOKENS = 32
"""Completion tokens that count as one answer: about a quote and an answer.

Every token weighs the same. Were each answer's tokens averaged instead, the few tokens of an abstention would outweigh the first token of
a quote several times over, and a model that is shown one abstention in six learns to abstain every other time.
"""


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


class Encoder:
    """Groups to token ids, with the prompt that evaluation and serving use.

    Args:
        tokenizer: the base model's.
        max_positions: tokens of the longest text that the model can be trained on.
    """

    def __init__(self, tokenizer: Tokenizer, max_positions: int) -> None:
        self._tokenizer = tokenizer
        self._max_positions = max_positions

    def check(self, group: ContextGroup) -> None:
        """Raise before a run what would end it in its midst; a text has no more tokens than bytes, so few need to be encoded.

        Raises:
            TrainError: a branch does not fit the model's positions.
        """
        shown, asked = text_bytes(group)
        if 2 * shown + max(asked) > self._max_positions:  # highlights repeat some of what is shown
            self(group)

    def __call__(self, group: ContextGroup) -> TokenSequence:
        """One group.

        Raises:
            TrainError: a branch does not fit the model's positions.
        """
        context: tuple[int, ...] = ()
        branches = []
        for branch in group.branches:
            prompt = encode_prompt(self._tokenizer, build_messages(branch.question, group.passages, history=branch.history))
            context = prompt.context
            branches.append(BranchIds(prompt.branch, encode_completion(self._tokenizer, branch.completion)))
        sequence = TokenSequence(context, tuple(branches))
        if sequence.span > self._max_positions:
            raise TrainError(
                f"question {group.branches[0].id} needs {sequence.span} tokens with its passages, the model sees {self._max_positions} "
                "at once: lower retrieve.k or prepare.chunk_size"
            )
        return sequence


def text_bytes(group: ContextGroup) -> tuple[int, list[int]]:
    """Bytes of what a context shows, and of each of its questions with the answer."""
    shown = sum(len(f"{passage.prefix} {passage.text}".encode()) for passage in group.passages or ())
    return shown, [
        len(" ".join([branch.question, branch.completion, *(turn.content for turn in branch.history)]).encode())
        for branch in group.branches
    ]


def split_steps(groups: Sequence[ContextGroup], answers_per_step: int) -> list[list[ContextGroup]]:
    """Groups in order, as many a step as make up its answers; a step of one shared context alone is followed by its neighbour.

    What is left at the end joins the last step where it is less than half a step: an update from few answers is a noisy one.
    """
    steps: list[list[ContextGroup]] = []
    step: list[ContextGroup] = []
    for group in groups:
        step.append(group)
        if _answers(step) >= answers_per_step and (len(step) > 1 or answers_per_step == 1):
            steps.append(step)
            step = []
    if step and steps and 2 * _answers(step) < answers_per_step:
        steps[-1].extend(step)
    elif step:
        steps.append(step)
    return steps


def _answers(groups: Sequence[ContextGroup]) -> int:
    return sum(len(group.branches) for group in groups)


def cut(sequences: Sequence[TokenSequence], max_tokens: int) -> Iterator[list[TokenSequence]]:
    """The sequences of each batch, see :func:`split_batches`."""
    batch: list[TokenSequence] = []
    for sequence in sorted(sequences, key=len, reverse=True):
        if batch and sum(map(len, batch)) + len(sequence) > max_tokens:
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch


def scores(sequences: Sequence[TokenSequence]) -> float:
    """Attention scores of a batch, a head."""
    return sum(len(s.context) ** 2 / 2 + sum(len(b) for b in s.branches) * s.span for s in sequences)
