"""How sure is an answer? Signals that every answer has, weighed as :mod:`ragtune.evaluate.calibration` learned from validation answers.

A small model that was tuned on contexts of which most hold the evidence seldom abstains by itself. What tells whether the evidence is there
is outside of it as well: whether any sentence shown has the question's words. A logistic regression over both (Platt, 1999) is fitted
for each tuned model, on contexts with and without their evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ragtune.highlights import coverage
from ragtune.types import Generation, Passage, Reply

SIGNALS = ("coverage", "abstain_logodds", "mean_logprob")
"""Share of the question's words in one sentence shown; the model's log-odds of abstaining; mean log-probability of what it wrote."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """Weights of :data:`SIGNALS`, in the order there, and the bias: the log-odds that the passages shown hold the answer."""

    weights: tuple[float, ...]
    bias: float

    def logodds(self, signals: Sequence[float]) -> float:
        """Of one answer, in nats."""
        return self.bias + sum(weight * signal for weight, signal in zip(self.weights, signals, strict=True))


@dataclass(frozen=True, slots=True)
class Gate:
    """How sure an answer must be.

    Args:
        confidence: learned from validation.
        least: log-odds below which no answer is given; ``None`` gives each.
        unreached: that this falls short of the precision that is wanted, in words; empty where it does not.
    """

    confidence: Confidence
    least: float | None = None
    unreached: str = ""

    def withholds(self, logodds: float) -> bool:
        """Whether an answer of so much confidence is not given."""
        return self.least is not None and logodds < self.least


def answer_signals(question: str, passages: Sequence[Passage], written: Generation | Reply) -> tuple[float, ...] | None:
    """The signals of an answer; ``None`` where its model does not tell them."""
    if written.abstain_logodds is None or written.logprob is None:
        return None
    tokens = written.completion_tokens if isinstance(written, Generation) else written.usage.completion_tokens
    # What is all but certain is no surer than one in a million: beyond, a single signal would outweigh the others.
    odds = max(-14.0, min(14.0, written.abstain_logodds))
    return coverage(question, passages), odds, written.logprob / (tokens + 1)


def probability(logodds: float) -> float:
    """Log-odds as a probability."""
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, logodds))))
