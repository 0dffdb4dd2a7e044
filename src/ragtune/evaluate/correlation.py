"""Do two measures of the same answers agree? Rank correlation, partial rank correlation and Cohen's kappa, with intervals.

As everywhere, whole document groups are resampled; ranks are taken anew in each resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ragtune.evaluate.intervals import Float64, bootstrap_statistic, divide, number_groups
from ragtune.types import Estimate

_ROWS = 250
"""Resamples ranked at once: bounds memory to a few MB for a thousand answers."""


def rank_correlation(
    x: Sequence[float],
    y: Sequence[float],
    groups: Sequence[str],
    *,
    given: Sequence[Sequence[float]] = (),
    n: int | None = None,
    seed: int = 0,
) -> Estimate | None:
    """Spearman's rank correlation of ``x`` and ``y``, ties at their mean rank; with ``given``, what is left of it where those are equal.

    The partial correlation is Pearson's of the ranks, by the recursion that holds one more variable equal at a time.

    Args:
        x: one value for each answer.
        y: likewise.
        groups: the document group of each answer.
        given: further values for each answer, held equal.
        n: questions that it rests on; by default the number of answers.
        seed: of the resampling.

    Returns:
        ``None`` where it is undefined: ``x`` or ``y`` is all alike, or ``given`` leaves nothing of it.
    """
    index, count = number_groups(groups)
    columns = [np.unique(np.asarray(column, dtype=np.float64), return_inverse=True)[1] for column in (x, y, *given)]

    def statistic(drawn: Float64) -> Float64:
        return np.concatenate([_partial(drawn[at : at + _ROWS][:, index], columns) for at in range(0, len(drawn), _ROWS)])

    return _defined(bootstrap_statistic(statistic, count, n or len(x), seed=seed).estimate)


def kappa(a: Sequence[bool], b: Sequence[bool], groups: Sequence[str], *, n: int | None = None, seed: int = 0) -> Estimate | None:
    """Cohen's kappa (1960): agreement of two verdicts beyond what their frequencies alone would give; ``None`` where both are all alike."""
    index, count = number_groups(groups)
    cells_gc = np.zeros((count, 4))
    np.add.at(cells_gc, (index, 2 * np.asarray(a, dtype=np.int64) + np.asarray(b, dtype=np.int64)), 1.0)

    def statistic(drawn: Float64) -> Float64:
        neither, second, first, both = (drawn @ cells_gc).T
        total = neither + second + first + both
        by_chance = divide((first + both) * (second + both) + (neither + second) * (neither + first), total**2)
        return divide(divide(neither + both, total) - by_chance, 1 - by_chance)

    return _defined(bootstrap_statistic(statistic, count, n or len(a), seed=seed).estimate)


def _partial(weights_rn: Float64, columns: Sequence[NDArray[np.intp]]) -> Float64:
    """Of each resample, the correlation of the first two columns' ranks with the others held equal."""
    total_r = weights_rn.sum(axis=1)
    ranks = [_ranks(weights_rn, column) for column in columns]
    centred = [rank_rn - ((weights_rn * rank_rn).sum(axis=1) / total_r)[:, None] for rank_rn in ranks]
    spread = [np.sqrt((weights_rn * each**2).sum(axis=1)) for each in centred]
    left = {
        (i, j): divide((weights_rn * centred[i] * centred[j]).sum(axis=1), spread[i] * spread[j])
        for i, j in combinations(range(len(columns)), 2)
    }
    for held in reversed(range(2, len(columns))):
        # What does not vary is equal already.
        with_held = [np.nan_to_num(left[i, held]) for i in range(held)]
        rest = [np.sqrt(np.maximum(0.0, 1 - each**2)) for each in with_held]
        left = {
            (i, j): divide(left[i, j] - with_held[i] * with_held[j], np.where(rest[i] * rest[j] < 1e-9, 0.0, rest[i] * rest[j]))
            for i, j in combinations(range(held), 2)
        }
    return left[0, 1]


def _ranks(weights_rn: Float64, codes_n: NDArray[np.intp]) -> Float64:
    """Mean ranks of values (given as codes in rising order), each counted as often as its resample drew it."""
    levels_nm = np.eye(int(codes_n.max()) + 1)[codes_n]
    counts_rm = weights_rn @ levels_nm
    ranks_rn: Float64 = (np.cumsum(counts_rm, axis=1) - counts_rm / 2)[:, codes_n]
    return ranks_rn


def _defined(estimate: Estimate) -> Estimate | None:
    return estimate if np.isfinite(estimate.value) else None
