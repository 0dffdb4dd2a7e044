"""Drift: the same questions show none, others do, and little data says little."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ragtune.traces.drift import FEWEST, compare, likeness

DRAW = np.random.default_rng(7)


def beta(a: float, b: float, n: int) -> list[float]:
    return DRAW.beta(a, b, n).tolist()


def test_the_same_distribution_is_called_changed_as_seldom_as_promised() -> None:
    for n in (30, 100, 400):
        verdicts = [compare(beta(2, 5, n), beta(2, 5, 200)).verdict for _ in range(200)]
        assert verdicts.count("stable") >= 190, n


def test_another_distribution_is_noticed() -> None:
    found = compare(beta(1, 9, 100), beta(2, 5, 200))
    assert found.verdict == "changed"
    assert found.psi is not None
    assert found.psi > 0.25
    assert found.p is not None
    assert found.p < 0.001
    slight = compare(beta(2, 3.6, 3000), beta(2, 5, 3000))
    assert slight.verdict == "some change"


def test_psi_is_what_its_formula_gives() -> None:
    """Ten bins of 10 % each; afterwards all in the upper half: 5 bins at 20 %, 5 empty, each count half a question more."""
    baseline = [float(n) for n in range(1000)]
    now = [float(n) for n in range(500, 1000)]
    p = np.array([0.5] * 5 + [100.5] * 5) / 505
    q = np.full(10, 0.1)
    found = compare(now, baseline)
    assert found.psi == pytest.approx(float(np.sum((p - q) * np.log(p / q))), abs=2e-3)
    assert found.ks == pytest.approx(stats.ks_2samp(now, baseline).statistic, abs=1e-4)


def test_few_questions_get_no_verdict() -> None:
    assert compare([0.1] * (FEWEST - 1), beta(2, 5, 200)).verdict == "too few questions"
    assert compare(beta(2, 5, 200), []).verdict == "no baseline"
    assert compare([0.0] * 40, [0.0] * 40).verdict == "stable", "equal scores are one bin, and no error"


def test_likeness_is_that_of_the_nearest_other() -> None:
    known = ["How long is the crossing?", "How long is the pier?", "Who built the mill?"]
    assert likeness(["How long is the ferry crossing?", "zebra"], known) == [5 / 6, 0.0]
    assert likeness(known, known) == [4 / 6, 4 / 6, 1 / 8]
    assert likeness(["how long is the CROSSING"], [*known, known[0]]) == [1.0], "one that is there twice is like itself"


def test_questions_on_another_subject_are_noticed_and_more_of_the_same_are_not() -> None:
    places, things = [f"place{n}" for n in range(40)], ["mill", "bridge", "tower", "well"]
    asked = [f"Who built the {thing} of {place}?" for place in places for thing in things]
    order = DRAW.permutation(len(asked))
    known, same = [asked[at] for at in order[:80]], [asked[at] for at in order[80:]]
    baseline = likeness(known, known)
    assert compare(likeness(same, known), baseline).verdict == "stable"
    again = [known[at].lower() for at in DRAW.integers(0, len(known), 100)]
    assert compare(likeness(again, known), baseline).verdict == "stable", "what was evaluated is asked"
    others = [f"Can I pay invoice {n} by card?" for n in range(60)]
    assert compare(likeness(others, known), baseline).verdict == "changed"
