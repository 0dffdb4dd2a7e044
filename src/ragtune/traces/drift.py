"""Is what is asked now still what the evaluation asked? Two distributions of one number each, compared.

Questions are compared by their likeness to the nearest question of the evaluation (Jaccard of their words), each of the evaluation's own to
the nearest of the others: were both drawn alike, these would be too. One in the very words of an evaluated question is compared with the
others as well, for an evaluation asks nothing twice, and what it asked is no drift. One number a question and a two-sample test of it is
what finds shift best for its cost in Rabanser, Günnemann and Lipton, "Failing Loudly" (NeurIPS 2019, https://arxiv.org/abs/1810.11953),
there of learned representations. Retrieval is compared by the score of its best passage.

PSI is the population stability index over tenths of the baseline, with the usual words from 0.1 and 0.25 on (Siddiqi, "Credit Risk
Scorecards", 2006). Chance alone gives about chi²(bins - 1) · (1/n + 1/m) (Yurdakul, "Statistical Properties of Population Stability Index",
2018), which with few questions passes these marks: what chance would reach one time in twenty is called no change.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Verdict = Literal["stable", "some change", "changed", "too few questions", "no baseline"]

FEWEST = 30
"""Questions on either side below which nothing is said."""
SOME, MUCH = 0.1, 0.25
_BINS = 10
_CHANCE = 0.95
_SMOOTHING = 0.5
"""Added to each bin's count, so that an empty one has a logarithm."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Drift:
    """How far one distribution is from its baseline.

    Args:
        psi: population stability index; ``None`` where there are too few.
        ks: greatest distance of the two cumulative distributions, in [0, 1].
        p: of the two-sample Kolmogorov-Smirnov test.
        n: how many there are now.
        baseline: how many there were then.
        verdict: in words.
    """

    psi: float | None
    ks: float | None
    p: float | None
    n: int
    baseline: int
    verdict: Verdict


def compare(now: Sequence[float], baseline: Sequence[float]) -> Drift:
    """Compare a distribution with its baseline."""
    n, m = len(now), len(baseline)
    if min(n, m) < FEWEST:
        return Drift(None, None, None, n, m, "too few questions" if m else "no baseline")
    index, bins = _psi(np.asarray(now, float), np.asarray(baseline, float))
    test = stats.ks_2samp(now, baseline, method="asymp")
    by_chance = float(stats.chi2.ppf(_CHANCE, max(bins - 1, 1))) * (1 / n + 1 / m)
    p = float(test.pvalue)
    differs = index > by_chance and p < 1 - _CHANCE
    verdict: Verdict = "changed" if differs and index > MUCH else "some change" if differs and index > SOME else "stable"
    return Drift(round(index, 4), round(float(test.statistic), 4), round(p, 6), n, m, verdict)


def likeness(questions: Sequence[str], known: Sequence[str]) -> list[float]:
    """For each question its Jaccard similarity to the nearest known one; one of the same words, as itself, is left out."""
    asked, others = [_tokens(each) for each in questions], [_tokens(each) for each in known]
    having: dict[str, list[int]] = defaultdict(list)
    first: dict[frozenset[str], int] = {}
    for at, own in enumerate(others):
        first.setdefault(own, at)
        for token in own:
            having[token].append(at)
    found = []
    for own in asked:
        common = Counter(at for token in own for at in having.get(token, ()) if at != first.get(own))
        found.append(max((both / (len(own) + len(others[at]) - both) for at, both in common.items()), default=0.0))
    return found


def _psi(now: np.ndarray, baseline: np.ndarray) -> tuple[float, int]:
    """The index and the bins that it was computed over: tenths of the baseline; a value that fills more than one is a bin of its own."""
    tenths, times = np.unique(np.quantile(baseline, np.linspace(0, 1, _BINS + 1)), return_counts=True)
    often = tenths[times > 1]
    bounds = np.unique(np.concatenate([tenths[1:-1], often, np.nextafter(often, -np.inf)]))
    bins = len(bounds) + 1

    def shares(values: np.ndarray) -> np.ndarray:
        counts = np.bincount(np.searchsorted(bounds, values, side="left"), minlength=bins) + _SMOOTHING
        return np.asarray(counts / counts.sum())

    p, q = shares(now), shares(baseline)
    return float(np.sum((p - q) * np.log(p / q))), bins


def _tokens(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))
