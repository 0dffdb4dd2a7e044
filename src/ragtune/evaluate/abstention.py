"""Does a model abstain where it should: where the passages that it was shown do not hold the evidence?

Judged against *context* answerability, beside the two policies that need no model: always answer, always abstain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragtune.evaluate.answers import RIGHT_F1, answer_metrics, f1
from ragtune.evaluate.intervals import Float64, bootstrap, bootstrap_statistic, divide
from ragtune.prompts import ParsedAnswer, parse_answer
from ragtune.types import Estimate, Prediction

FIRST = 10
PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of right answers that thresholds are shown for."""
POINTS = 50
"""A risk-coverage curve is thinned to about this many points."""


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """``risk`` (mean of 1 − F1) of the share ``coverage`` of questions about which the model was surest."""

    coverage: float
    risk: float


def abstention_metrics(predictions: Sequence[Prediction], *, seed: int = 0) -> dict[str, Estimate]:
    """How well abstaining tells contexts without the evidence from those with it.

    ``accuracy`` of answering or abstaining, beside ``always_answer`` and ``always_abstain``; ``precision`` and ``recall`` of
    abstaining; ``auroc`` of the model's own log-odds of abstaining, and ``auroc_calibrated`` of the confidence that was learned on
    validation, which need no threshold. What is undefined (nothing abstained, one class only, no log-odds) is left out.

    Args:
        predictions: of one arm in one context; at least one.
        seed: of the resampling.
    """
    groups = [p.group for p in predictions]
    should = [float(not p.answerable_in_context) for p in predictions]
    did = [float(p.abstained) for p in predictions]
    n = len({p.id for p in predictions})

    def mean(values: Sequence[float], weights: Sequence[float] | None = None) -> Estimate:
        return bootstrap(values, groups, weights, n=n, seed=seed)

    metrics = {
        "accuracy": mean([float(s == d) for s, d in zip(should, did, strict=True)]),
        "always_answer": mean([1 - s for s in should]),
        "always_abstain": mean(should),
        "abstained": mean(did),
    }
    for name, values, given in (("precision", should, did), ("recall", did, should)):
        chosen = [i for i, weight in enumerate(given) if weight]
        if chosen:
            ids = {predictions[i].id for i in chosen}
            metrics[name] = bootstrap([values[i] for i in chosen], [groups[i] for i in chosen], n=len(ids), seed=seed)
    doubts = {"auroc": [p.abstain_logodds for p in predictions], "auroc_calibrated": [_doubt(p) for p in predictions]}
    for name, scores in doubts.items():
        if all(score is not None for score in scores) and 0 < sum(should) < len(should):
            statistic, count = _auroc(np.array(scores, dtype=np.float64), np.array(should) > 0, groups)
            metrics[name] = bootstrap_statistic(statistic, count, n, seed=seed).estimate
    return metrics


def threshold_metrics(predictions: Sequence[Prediction], least: float, *, seed: int = 0) -> tuple[Estimate, Estimate | None]:
    """Coverage and precision of a confidence threshold: the share of questions answered, and of right ones among the answers.

    An answer is right from an F1 of ``RIGHT_F1`` on. What the model abstains from by itself is not answered either.

    Args:
        predictions: of one arm in one context, with confidences.
        least: log-odds below which no answer is given.
        seed: of the resampling.
    """
    given = [p for p in predictions if p.confidence is not None and p.confidence >= least and not _parsed(p).abstained]
    ids = {id(p) for p in given}
    groups = [p.group for p in predictions]
    coverage = bootstrap([float(id(p) in ids) for p in predictions], groups, n=len({p.id for p in predictions}), seed=seed)
    if not given:
        return coverage, None
    right = [float(bool(p.references) and f1(_parsed(p).answer, p.references) >= RIGHT_F1) for p in given]
    return coverage, bootstrap(right, [p.group for p in given], n=len({p.id for p in given}), seed=seed)


def risk_coverage(predictions: Sequence[Prediction]) -> tuple[RiskPoint, ...]:
    """Risk against coverage, surest first (El-Yaniv and Wiener, 2010).

    Sure is a high confidence, and where nothing was calibrated a low log-odds of abstaining. An answer to a question that the documents, or
    the distractors shown alone, do not answer has risk 1. Empty where an arm has neither.
    """
    calibrated = all(p.confidence is not None for p in predictions)
    doubts = [_doubt(p) if calibrated else p.abstain_logodds for p in predictions]
    scored = [(doubt, _risk(p)) for doubt, p in zip(doubts, predictions, strict=True) if doubt is not None]
    if not scored or len(scored) < len(predictions):
        return ()
    scored.sort()
    risks = np.cumsum([risk for _, risk in scored])
    count = len(scored)
    # Equal scores cannot be told apart by a threshold, so a point stands only where the score changes.
    # A risk of fewer than FIRST answers is noise.
    ends = [i for i in range(min(FIRST, count) - 1, count) if i + 1 == count or scored[i][0] != scored[i + 1][0]]
    kept = ends[:: max(1, len(ends) // POINTS)]
    if kept[-1] != ends[-1]:
        kept.append(ends[-1])
    return tuple(RiskPoint((i + 1) / count, float(risks[i]) / (i + 1)) for i in kept)


def _doubt(prediction: Prediction) -> float | None:
    return None if prediction.confidence is None else -prediction.confidence


def _risk(prediction: Prediction) -> float:
    if prediction.context == "distractors" or not prediction.references:
        return 1.0
    return 1 - f1(_parsed(prediction).answer, prediction.references) if prediction.withheld else 1 - answer_metrics(prediction)["f1"]


def _parsed(prediction: Prediction) -> ParsedAnswer:
    """What the model wrote, were it withheld or not."""
    return parse_answer(prediction.raw)


def _auroc(scores: Float64, positive: NDArray[np.bool_], groups: Sequence[str]) -> tuple[Callable[[Float64], Float64], int]:
    """The Mann-Whitney statistic as a quadratic form in group counts: pairs won between each two groups, over pairs."""
    _, index = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    count = int(index.max()) + 1
    above, below = scores[positive][:, None], scores[~positive][None, :]
    won_gg = np.zeros((count, count))
    pairs = np.broadcast_arrays(index[positive][:, None], index[~positive][None, :])
    np.add.at(won_gg, (pairs[0], pairs[1]), (above > below) + 0.5 * (above == below))
    positives = np.bincount(index[positive], minlength=count).astype(np.float64)
    negatives = np.bincount(index[~positive], minlength=count).astype(np.float64)

    def statistic(drawn: Float64) -> Float64:
        total = (drawn @ positives) * (drawn @ negatives)
        won: Float64 = ((drawn @ won_gg) * drawn).sum(axis=1)
        return divide(won, total)

    return statistic, count
