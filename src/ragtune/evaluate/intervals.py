"""Intervals and p-values that respect how questions come: in groups that share documents.

Questions on one document are alike, so whole groups are resampled, never single questions (Davison and Hinkley, 1997, section 3.8).
A statistic is a function of how often each group was drawn, which makes ten thousand resamples one matrix product. Intervals are
bias-corrected and accelerated (BCa; Efron, 1987) with Student's t in place of the normal, since percentiles of a bootstrap with
few groups are too narrow (Hesterberg, 2015, section 4.2). p-values invert the same interval: p < 0.05 where it excludes zero.

Where most groups do not differ at all, a resample that misses the few that do is rare, and such intervals exclude zero too often. So a
paired difference must stand a second test, which does not mind that: that of flipped signs (Fisher, 1935; Good, Permutation Tests, 2000,
section 3.2), which asks how often a difference as large comes about if each group's could as well have had the other sign. Where it is
not significant the interval reaches zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from ragtune.types import Estimate

Float64 = NDArray[np.float64]
Statistic = Callable[[Float64], Float64]
"""Group counts ``[r, g]`` to one value for each row; NaN where it is undefined."""

RESAMPLES = 10_000
_ALL_FLIPS = 13
"""Groups that differ of which all 2 ** 13 ways to flip signs are tried; of more groups, as many ways are drawn as there are resamples."""
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference and its two-sided p-value; ``None`` where there are too few groups."""

    estimate: Estimate
    p: float | None


def bootstrap(
    values: Sequence[float],
    groups: Sequence[str],
    weights: Sequence[float] | None = None,
    *,
    n: int | None = None,
    share: bool = True,
    seed: int = 0,
) -> Estimate:
    """The (weighted) mean of ``values`` with a 95 % interval from resampling whole groups.

    Where all values of a share are 0, or all 1, resampling sees no spread; the far bound is then the exact binomial one, with a
    trial a group.

    Args:
        values: one for each answer, at least one.
        groups: the document group of each.
        weights: of each; equal where ``None``.
        n: questions that it rests on, where several answers belong to one; by default the number of values.
        share: values lie in [0, 1].
        seed: of the resampling; same seed, same interval.

    Returns:
        Bounds are ``None`` with fewer than two groups.
    """
    value = np.asarray(values, dtype=np.float64)
    weight = np.ones_like(value) if weights is None else np.asarray(weights, dtype=np.float64)
    index, count = number_groups(groups)
    sums = np.bincount(index, weights=value * weight, minlength=count)
    totals = np.bincount(index, weights=weight, minlength=count)
    n = len(value) if n is None else n
    if share and count >= 2 and (np.all(value == 0) or np.all(value == 1)):
        slack = float(((1 - LEVEL) / 2) ** (1 / count))
        return Estimate(1.0, slack, 1.0, n) if value[0] else Estimate(0.0, 0.0, 1 - slack, n)
    return bootstrap_statistic(lambda drawn: divide(drawn @ sums, drawn @ totals), count, n, seed=seed).estimate


def paired_difference(
    a: Sequence[float],
    b: Sequence[float],
    groups: Sequence[str],
    weights: tuple[Sequence[float], Sequence[float]] | None = None,
    *,
    n: int | None = None,
    share: bool = True,
    seed: int = 0,
) -> Difference:
    """The (weighted) mean of ``a`` less that of ``b`` over the same questions, with interval and p-value from whole groups.

    Groups are resampled. The interval includes zero, and p is the larger one, where swapping the sides of random groups, which flips the
    signs of their differences, makes as large a difference in one of twenty cases or more. With fewer than six groups that differ it
    always does. Where all groups of a share differ alike, or not at all, resampling sees no spread: the interval then has what others may
    bring, of which there are as many as the exact binomial bound allows where none of so many groups was one of them.

    Args:
        a: one value for each question.
        b: of the same questions.
        groups: the document group of each.
        weights: of the values of each side; equal where ``None``.
        n: questions that it rests on; by default all.
        share: values lie in [0, 1].
        seed: of the resampling.
    """
    index, count = number_groups(groups)
    n = len(a) if n is None else n
    weight_sq = np.ones((2, len(a))) if weights is None else np.asarray(weights, dtype=np.float64)
    value_sq = np.asarray((a, b), dtype=np.float64) * weight_sq
    sums_sg, totals_sg = (np.array([np.bincount(index, each, count) for each in side_sq]) for side_sq in (value_sq, weight_sq))
    found = bootstrap_statistic(
        lambda drawn: divide(drawn @ sums_sg[0], drawn @ totals_sg[0]) - divide(drawn @ sums_sg[1], drawn @ totals_sg[1]),
        count,
        n,
        seed=seed,
    )
    value, low, high, p = found.estimate.value, found.estimate.low, found.estimate.high, found.p
    per_g = divide(sums_sg[0], totals_sg[0]) - divide(sums_sg[1], totals_sg[1])
    known = per_g[np.isfinite(per_g)]
    if share and low == high and len(known) >= 2 and np.ptp(known) < 1e-12:
        low, high, p = _alike(value, len(known))
    if p is None or low is None or high is None:
        return found
    p = max(p, _flipped(sums_sg, totals_sg, value, seed))
    if p > 1 - LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(Estimate(value, low, high, n), p)


def _alike(value: float, groups: int) -> tuple[float, float, float]:
    """Bounds and p-value of a difference that all groups have alike: others may have any from -1 to 1, but would have been seen if many."""
    others = 1 - float(((1 - LEVEL) / 2) ** (1 / groups))
    return value - others * (1 + value), value + others * (1 - value), min(1.0, 2 / (1 + abs(value)) ** groups)


def _flipped(sums_sg: Float64, totals_sg: Float64, value: float, seed: int) -> float:
    """The share of ways to swap the two sides of groups that make a difference at least as far from zero as theirs."""
    differ = (np.abs(sums_sg[0] - sums_sg[1]) > 1e-12) | (np.abs(totals_sg[0] - totals_sg[1]) > 1e-12)
    count = int(differ.sum())
    if count <= _ALL_FLIPS:
        swapped = np.arange(2**count)[:, None] >> np.arange(count) & 1
        extra = 0
    else:
        swapped = np.random.default_rng([seed, count]).integers(2, size=(RESAMPLES, count))
        extra = 1  # what was observed is one of the ways
    # Either side's sums and totals, after so many of the other's have come in place of its own.
    sums, totals = (
        [each[side].sum() + swapped @ (each[1 - side] - each[side])[differ] for side in (0, 1)] for each in (sums_sg, totals_sg)
    )
    differences = divide(sums[0], totals[0]) - divide(sums[1], totals[1])
    differences = differences[np.isfinite(differences)]
    far = np.count_nonzero(np.abs(differences) >= abs(value) - 1e-12)
    return (far + extra) / (len(differences) + extra)


def bootstrap_statistic(statistic: Statistic, groups: int, n: int, *, seed: int = 0) -> Difference:
    """Value, 95 % BCa interval and p-value (against 0) of any statistic of group counts.

    Args:
        statistic: see ``Statistic``.
        groups: how many there are.
        n: questions that it rests on.
        seed: of the resampling.
    """
    value = float(statistic(np.ones((1, groups)))[0])
    if groups < 2:
        return Difference(Estimate(value, None, None, n), None)
    draws = statistic(_draws(groups, seed))
    draws = draws[np.isfinite(draws)]
    if len(draws) < RESAMPLES / 2:
        return Difference(Estimate(value, None, None, n), None)
    if np.ptp(draws) < 1e-12:  # no spread to resample: only "no difference anywhere" says something
        same = abs(value) < 1e-12
        return Difference(Estimate(value, value if same else None, value if same else None, n), 1.0 if same else None)
    bias = _normal_score(draws, value)
    skew = _acceleration(statistic(1 - np.eye(groups)))
    # Student's t with the n - 1 of a sample variance: "expanded percentiles".
    wide = float(stdtrit(groups - 1, (1 + LEVEL) / 2)) * (groups / (groups - 1)) ** 0.5
    shares = [ndtr(bias + (bias + z) / max(1e-6, 1 - skew * (bias + z))) for z in (-wide, wide)]
    low, high = (float(bound) for bound in np.quantile(draws, shares))
    z = _normal_score(draws, 0.0) - bias
    t = (z / (1 + skew * z) - bias) * ((groups - 1) / groups) ** 0.5
    tail = float(stdtr(groups - 1, t))
    return Difference(Estimate(value, low, high, n), min(1.0, 2 * min(tail, 1 - tail)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method (1979), in the order given."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for step, at in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[at]))
        corrected[at] = largest
    return corrected


def divide(numerator: Float64, denominator: Float64) -> Float64:
    """The quotient, NaN where the denominator is 0: a resample in which a statistic is undefined."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator != 0)


@lru_cache(maxsize=8)
def _draws(groups: int, seed: int) -> Float64:
    """How often each group was drawn, ``[RESAMPLES, groups]``."""
    drawn = np.random.default_rng([seed, groups]).integers(groups, size=(RESAMPLES, groups))
    drawn += np.arange(RESAMPLES)[:, None] * groups
    return np.bincount(drawn.ravel(), minlength=RESAMPLES * groups).reshape(RESAMPLES, groups).astype(np.float64)


def number_groups(groups: Sequence[str]) -> tuple[NDArray[np.intp], int]:
    """Each name's number, and how many names there are."""
    names, index = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    return index, len(names)


def _normal_score(draws: Float64, value: float) -> float:
    """Normal quantile of the share of draws below ``value``, ties half; kept finite."""
    tie = 1e-9 * float(np.ptp(draws))  # sums in another order differ by rounding, and are the same draw
    share = (np.count_nonzero(draws < value - tie) + np.count_nonzero(draws <= value + tie)) / (2 * len(draws))
    edge = 1 / (2 * len(draws))
    return float(ndtri(min(1 - edge, max(edge, share))))


def _acceleration(jackknife: Float64) -> float:
    off = jackknife[np.isfinite(jackknife)]
    off = off.mean() - off
    spread = float((off**2).sum())
    return float((off**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
