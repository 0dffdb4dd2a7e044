"""How often is a comparison decided where nothing differs in the mean, and most groups do not differ at all?

Run:     python benchmarks/sparse_differences.py
Results: printed; docs/decisions/0019-ties.md tells them

A group's difference is 0, or else drawn evenly from -1 to 1. Both tests aim at 5 of 100: that of
resampled groups alone, and the one that flipped signs must pass too.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ragtune.evaluate.intervals import bootstrap_statistic, paired_difference
from ragtune.types import Estimate

DRAWS = 800
CASES = ((11, 0.3), (25, 0.15), (40, 0.1), (25, 0.5), (20, 1.0))
"""Groups, and the share of them that differ."""


def main() -> int:
    rng = np.random.default_rng(1)
    print(f"{'groups':>6} {'differ':>6} {'resampling':>10} {'with flips':>10}")
    for groups, share in CASES:
        resampled = both = 0
        for _ in range(DRAWS):
            change = np.where(rng.random(groups) < share, rng.uniform(-1, 1, groups), 0.0)
            alone = bootstrap_statistic(partial(mean_of, change), groups, groups)
            resampled += decided(alone.estimate)
            both += decided(paired_difference(list(change), [0.0] * groups, [str(at) for at in range(groups)]).estimate)
        print(f"{groups:6} {share:6.0%} {resampled / DRAWS:10.1%} {both / DRAWS:10.1%}", flush=True)
    return 0


def mean_of(change: NDArray[np.float64], drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each resample, by how often it drew each group."""
    means: NDArray[np.float64] = drawn @ change / len(change)
    return means


def decided(found: Estimate) -> bool:
    """Whether an interval excludes zero."""
    return found.low is not None and found.high is not None and not found.low <= 0 <= found.high


if __name__ == "__main__":
    sys.exit(main())
