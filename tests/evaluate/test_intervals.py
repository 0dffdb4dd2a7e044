"""Intervals: against scipy where questions are their own groups, and by simulation where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ragtune.evaluate.intervals import bootstrap, holm, paired_difference
from ragtune.types import Estimate


def clustered(rng: np.random.Generator, groups: int) -> tuple[list[float], list[str]]:
    values: list[float] = []
    names: list[str] = []
    for group in range(groups):
        shift = rng.normal(0, 0.3)
        for _ in range(int(rng.integers(1, 8))):
            values.append(0.1 + shift + rng.normal(0, 0.3))
            names.append(f"g{group}")
    return values, names


def test_single_questions_agree_with_scipys_bca() -> None:
    values = np.random.default_rng(1).beta(0.4, 0.8, size=300)
    ours = bootstrap(list(values), [str(i) for i in range(300)])
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="BCa", rng=np.random.default_rng(2)).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.04 * width)


def test_ninety_five_in_a_hundred_intervals_hold_the_truth_with_25_groups() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(250):
        found = bootstrap(*clustered(rng, 25))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.1 <= found.high
    assert 0.91 <= held / 250 <= 0.985


def test_resampling_groups_is_wider_than_resampling_their_questions() -> None:
    values = [float(group % 2) for group in range(20) for _ in range(10)]
    grouped = bootstrap(values, [f"g{i // 10}" for i in range(200)])
    single = bootstrap(values, [f"q{i}" for i in range(200)])
    assert grouped.low is not None
    assert single.low is not None
    assert grouped.value - grouped.low > 2 * (single.value - single.low)


def test_the_same_seed_gives_the_same_interval_whatever_order_the_groups_have() -> None:
    values, groups = clustered(np.random.default_rng(3), 12)
    order = np.random.default_rng(4).permutation(len(values))
    again = bootstrap([values[i] for i in order], [groups[i] for i in order])
    first = bootstrap(values, groups)
    assert first == bootstrap(values, groups)
    assert (again.low, again.high) == pytest.approx((first.low, first.high))


def test_one_group_has_a_value_but_no_bounds() -> None:
    assert bootstrap([0.0, 1.0], ["g", "g"]) == Estimate(0.5, None, None, 2)
    assert paired_difference([1.0, 1.0], [0.0, 0.5], ["g", "g"]).p is None


def test_all_right_is_not_certainty() -> None:
    found = bootstrap([1.0] * 30, [f"g{i}" for i in range(30)])
    # The exact binomial bound: the chance of 30 successes at p = low is 2.5 %.
    assert found.low == pytest.approx(0.025 ** (1 / 30))
    assert found.high == 1
    assert bootstrap([0.0] * 30, [f"g{i}" for i in range(30)]).high == pytest.approx(1 - 0.025 ** (1 / 30))


def test_a_figure_that_is_no_share_has_no_bounds_where_nothing_varies() -> None:
    assert bootstrap([1.0] * 5, list("abcde"), share=False) == Estimate(1.0, None, None, 5)
    assert bootstrap([3.0] * 5, list("abcde")) == Estimate(3.0, None, None, 5)


def test_weights_make_a_weighted_mean() -> None:
    assert bootstrap([1.0, 0.0, 0.5], ["a", "b", "c"], [2.0, 1.0, 1.0]).value == pytest.approx(0.625)


def test_p_is_below_one_in_twenty_exactly_where_the_interval_excludes_zero() -> None:
    rng = np.random.default_rng(11)
    both = set()
    for shift in np.linspace(-0.3, 0.3, 41):
        values, groups = clustered(rng, 15)
        found = paired_difference([v - 0.1 + shift for v in values], [0.0] * len(values), groups)
        assert found.p is not None
        assert found.estimate.low is not None
        assert found.estimate.high is not None
        excludes = not found.estimate.low <= 0 <= found.estimate.high
        if abs(found.p - 0.05) > 0.002:
            assert (found.p < 0.05) == excludes
        both.add(excludes)
    assert both == {True, False}


def test_p_agrees_with_students_t_test_on_plain_pairs() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.normal(0.12, 1, 200), rng.normal(0, 1, 200)
    found = paired_difference(list(a), list(b), [str(i) for i in range(200)])
    assert found.p == pytest.approx(float(stats.ttest_rel(a, b).pvalue), abs=0.02)


def test_few_differences_among_many_ties_seldom_look_decided() -> None:
    rng = np.random.default_rng(1)
    decided = 0
    for _ in range(200):
        change = np.where(rng.random(25) < 0.15, rng.uniform(-1, 1, 25), 0.0)  # no difference in the mean
        found = paired_difference(list(change), [0.0] * 25, [str(i) for i in range(25)])
        assert found.estimate.low is not None
        assert found.estimate.high is not None
        decided += not found.estimate.low <= 0 <= found.estimate.high
    assert decided <= 10  # one of twenty; resampling alone decides three of twenty


def test_one_question_that_differs_much_decides_nothing() -> None:
    found = paired_difference([1 / 3, 0.9, *[0.5] * 11], [1.0, 0.95, *[0.5] * 11], [str(i) for i in range(13)])
    assert found.estimate.high == 0
    assert found.p == 0.5
    all_flips = paired_difference([1.0] * 6 + [0.0] * 9, [0.0] * 15, [str(i) for i in range(15)])
    assert all_flips.estimate.low is not None
    assert all_flips.estimate.low > 0
    assert all_flips.p == pytest.approx(2 / 2**6)


def test_differences_that_are_all_alike_are_no_certainty() -> None:
    groups = [f"g{i}" for i in range(30)]
    others = 1 - 0.025 ** (1 / 30)
    better = paired_difference([1.0] * 30, [0.0] * 30, groups)
    assert better.estimate == Estimate(1.0, pytest.approx(1 - 2 * others), 1.0, 30)
    assert better.p == pytest.approx(0, abs=1e-3)
    worse = paired_difference([0.0] * 30, [1.0] * 30, groups)
    assert worse.estimate == Estimate(-1.0, -1.0, pytest.approx(2 * others - 1), 30)
    same = paired_difference([0.2, 0.8] * 15, [0.2, 0.8] * 15, groups)
    assert same.estimate == Estimate(0.0, pytest.approx(-others), pytest.approx(others), 30)
    assert same.p == 1


def test_few_groups_that_all_differ_alike_decide_nothing() -> None:
    five = paired_difference([1.0] * 5, [0.0] * 5, list("abcde"))
    assert five.estimate.low < 0
    assert five.p == 2 / 2**5
    six = paired_difference([1.0] * 6, [0.0] * 6, list("abcdef"))
    assert six.p == 2 / 2**6
    assert six.estimate.low > 0
    little = paired_difference([0.6] * 20, [0.5] * 20, [f"g{i}" for i in range(20)])
    assert little.estimate.low < 0 < little.estimate.high
    assert little.p == pytest.approx(2 / 1.1**20)
    two = paired_difference([0.5, 0.5], [0.5, 0.5], ["a", "b"])
    assert two.estimate.low == pytest.approx(0.025**0.5 - 1)


def test_what_is_no_share_has_no_bounds_where_all_differ_alike() -> None:
    found = paired_difference([30.0] * 8, [20.0] * 8, list("abcdefgh"), share=False)
    assert found.estimate == Estimate(10.0, None, None, 8)
    same = paired_difference([30.0, 20.0], [30.0, 20.0], ["a", "b"], share=False)
    assert (same.estimate, same.p) == (Estimate(0.0, 0.0, 0.0, 2), 1)


def test_holm_steps_down_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
