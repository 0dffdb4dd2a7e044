"""How many questions would decide a comparison that is undecided?

The difference and its spread between document groups are taken as they were observed, so the figure is a plan and no proof: where the true
difference is smaller, more are needed. The test is Student's t over groups, as the intervals are; its power is a tail of the noncentral t
(Lehr, 1992, gives the same but for small numbers of groups). More questions come in groups as large as those observed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import nctdtr, stdtrit

from ragtune.evaluate.findings import Power
from ragtune.evaluate.intervals import LEVEL, number_groups

WANTED = 0.8
_MOST = 1_000_000
"""Groups; a difference that needs more will never be decided."""


def power_of(a: Sequence[float], b: Sequence[float], groups: Sequence[str]) -> Power | None:
    """The power of a paired comparison at its observed effect and spread, and what would bring it to 80 %.

    Args:
        a: one value for each question.
        b: of the same questions.
        groups: the document group of each.

    Returns:
        ``None`` where nothing can be said: fewer than two groups, no difference, or no spread.
    """
    index, count = number_groups(groups)
    change = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    mean = abs(float(change.mean()))
    residual = np.bincount(index, weights=change - change.mean(), minlength=count)
    if count < 2 or mean < 1e-9 or np.abs(residual).max() < 1e-9:
        return None
    # Of the mean over questions in whole groups, linearised; ``effect`` is in standard deviations of one group's part of it.
    error = math.sqrt(count / (count - 1) * float((residual**2).sum())) / len(change)
    effect = mean / (error * math.sqrt(count))
    needed = _groups_needed(effect)
    each = len(change) / count
    return Power(round(_power(effect, count), 4), None if needed is None else math.ceil(needed * each - 1e-9), needed)


def _groups_needed(effect: float) -> int | None:
    """The fewest groups whose power reaches what is wanted, by bisection: power rises with their number."""
    if _power(effect, _MOST) < WANTED:
        return None
    low, high = 1, 2
    while _power(effect, high) < WANTED:
        low, high = high, min(2 * high, _MOST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(effect, middle) >= WANTED else (middle, high)
    return high


def _power(effect: float, groups: int) -> float:
    """The chance that a two-sided t test over so many groups finds the effect."""
    far = float(stdtrit(groups - 1, (1 + LEVEL) / 2))
    shift = effect * math.sqrt(groups)
    wrong_side = float(nctdtr(groups - 1, shift, -far))
    # Below about 1e-9 SciPy gives NaN now and then.
    return float(1 - nctdtr(groups - 1, shift, far)) + (0.0 if math.isnan(wrong_side) else wrong_side)
