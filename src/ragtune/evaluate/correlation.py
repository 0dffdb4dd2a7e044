"""Do two measures of the same answers agree? Rank correlation, also within strata, and Cohen's kappa, with intervals.

As everywhere, whole document groups are resampled; ranks are taken anew in each resample.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

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
    within: Sequence[Hashable] | None = None,
    n: int | None = None,
    seed: int = 0,
) -> Estimate | None:
    """Spearman's rank correlation of ``x`` and ``y``, ties at their mean rank.

    With ``within``, answers are ranked among those of their own stratum only, ranks are shares of the stratum's size, and its mean is
    taken off before all strata are put together (aligned ranks; Hodges and Lehmann, 1962). Unlike a partial correlation, this takes no
    relation between strata and values for a straight line.

    Args:
        x: one value for each answer.
        y: likewise.
        groups: the document group of each answer.
        within: the stratum of each answer.
        n: questions that it rests on; by default the number of answers.
        seed: of the resampling.

    Returns:
        ``None`` where it is undefined: in every stratum, ``x`` or ``y`` is all alike.
    """
    index, count = number_groups(groups)
    names = list(dict.fromkeys(within or ()))
    strata_n = np.array([names.index(name) for name in within] if within else [0] * len(x))
    columns = [np.unique(np.column_stack([strata_n, column]), axis=0, return_inverse=True)[1].ravel() for column in (x, y)]

    def statistic(drawn: Float64) -> Float64:
        return np.concatenate([_correlate(drawn[at : at + _ROWS][:, index], columns, strata_n) for at in range(0, len(drawn), _ROWS)])

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


def _correlate(weights_rn: Float64, columns: Sequence[NDArray[np.intp]], strata_n: NDArray[np.intp]) -> Float64:
    """Of each resample, the correlation of two columns' ranks within strata."""
    member_ns = np.eye(int(strata_n.max()) + 1)[strata_n]
    total_rs = np.maximum(1.0, weights_rn @ member_ns)  # weights are counts: an empty stratum has none
    centred = []
    for column in columns:
        ranks_rn = _ranks(weights_rn, column) / total_rs[:, strata_n]
        centred.append(ranks_rn - ((weights_rn * ranks_rn) @ member_ns / total_rs)[:, strata_n])
    x_rn, y_rn = centred
    spread_r = np.sqrt((weights_rn * x_rn**2).sum(axis=1) * (weights_rn * y_rn**2).sum(axis=1))
    return divide((weights_rn * x_rn * y_rn).sum(axis=1), np.where(spread_r < 1e-9, 0.0, spread_r))


def _ranks(weights_rn: Float64, codes_n: NDArray[np.intp]) -> Float64:
    """Mean ranks of values (given as codes in rising order), each counted as often as its resample drew it."""
    levels_nm = np.eye(int(codes_n.max()) + 1)[codes_n]
    counts_rm = weights_rn @ levels_nm
    ranks_rn: Float64 = (np.cumsum(counts_rm, axis=1) - counts_rm / 2)[:, codes_n]
    return ranks_rn


def _defined(estimate: Estimate) -> Estimate | None:
    return estimate if np.isfinite(estimate.value) else None
