"""What a model's validation answers teach: the weights of its confidence, and a threshold for a precision that is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ragtune.confidence import Confidence

FEWEST_ANSWERS = 20
"""Answers that a threshold leaves, at least: of fewer, a precision says nothing."""
_RIDGE = 1.0
_SIGNS = ((0.0, None), (None, 0.0), (0.0, None))
"""Bounds of the weights of :data:`ragtune.confidence.SIGNALS`: more coverage is surer, more doubt less sure, a likelier answer surer."""


@dataclass(frozen=True, slots=True)
class Rated:
    """One validation answer.

    Args:
        logodds: its confidence.
        given: the model did not abstain by itself.
        right: it was given and is right.
        weight: of how many questions like it there are.
    """

    logodds: float
    given: bool
    right: bool
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class AnswerThreshold:
    """The confidence from which on answers are given.

    Args:
        logodds: at least.
        wanted: precision asked for.
        precision: share of right ones among the answers given; less than wanted where nothing reached it.
        coverage: share of the questions that are answered.
        n: answers that it leaves of those that it was chosen on.
    """

    logodds: float
    wanted: float
    precision: float
    coverage: float
    n: int


def fit_confidence(
    signals: Sequence[Sequence[float]], answerable: Sequence[bool], weights: Sequence[float] | None = None
) -> Confidence | None:
    """Logistic regression with a small ridge on standardised signals; ``None`` where all contexts, or none, hold the evidence.

    Each signal counts one way only: of few answers, chance would have it that a likelier one is less sure.

    Args:
        signals: of each answer, ``[n, 3]``.
        answerable: whether its context held the evidence.
        weights: of how many questions like it there are; alike where ``None``.
    """
    if len(set(answerable)) < 2:
        return None
    raw: NDArray[np.float64] = np.asarray(signals, dtype=np.float64)
    mean, spread = raw.mean(axis=0), raw.std(axis=0)
    spread[spread == 0] = 1.0
    x = (raw - mean) / spread
    sign = np.where(np.asarray(answerable), 1.0, -1.0)
    counts = np.ones(len(raw)) if weights is None else np.asarray(weights, dtype=np.float64)

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (x @ w[:-1] + w[-1])
        slope = -sign * counts / (1 + np.exp(np.clip(margin, -500, 500)))
        gradient = np.append(x.T @ slope + _RIDGE * w[:-1], slope.sum())
        return float((counts * np.logaddexp(0, -margin)).sum() + _RIDGE * (w[:-1] ** 2).sum() / 2), gradient

    w = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", bounds=[*_SIGNS, (None, None)]).x
    found = w[:-1] / spread
    return Confidence(tuple(map(float, found)), float(w[-1] - found @ mean))


def choose_threshold(rated: Sequence[Rated], wanted: float) -> AnswerThreshold | None:
    """The lowest confidence from which on the answers are right as often as is wanted, else the one from which on most are.

    Args:
        rated: validation answers.
        wanted: precision, in (0, 1].

    Returns:
        ``None`` with fewer than :data:`FEWEST_ANSWERS` answers.
    """
    order = sorted(rated, key=lambda each: -each.logodds)
    total = sum(each.weight for each in order)
    given = right = 0.0
    best: AnswerThreshold | None = None
    answers = 0
    for at, each in enumerate(order):
        if each.given:
            answers += 1
            given += each.weight
            right += each.weight * each.right
        # Equal confidences cannot be told apart by a threshold.
        if answers < FEWEST_ANSWERS or (at + 1 < len(order) and order[at + 1].logodds == each.logodds):
            continue
        found = AnswerThreshold(each.logodds, wanted, right / given, given / total, answers)
        if best is None or found.precision >= min(wanted, best.precision):
            best = found
    return best
