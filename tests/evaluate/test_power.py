"""The number of questions that would decide a comparison, held to simulation and to statsmodels' figures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ragtune.evaluate.decide import decide
from ragtune.evaluate.findings import Power
from ragtune.evaluate.intervals import paired_difference
from ragtune.evaluate.power import _groups_needed, _power, power_of
from ragtune.evaluate.report import Contrast
from ragtune.types import Estimate

SIZE = 4
SPREAD_OF_GROUPS, SPREAD_OF_QUESTIONS = 0.25, 0.4


def sample(draw: np.random.Generator, effect: float, groups: int) -> tuple[NDArray[np.float64], list[str]]:
    """Differences of questions that come in groups, and their groups."""
    changes = effect + draw.normal(0, SPREAD_OF_GROUPS, groups)[:, None] + draw.normal(0, SPREAD_OF_QUESTIONS, (groups, SIZE))
    return changes.ravel(), [f"g{number}" for number in range(groups) for _ in range(SIZE)]


@pytest.mark.parametrize(
    # Cohen's d and the fewest pairs for 80 % power at 5 %, two-sided: G*Power 3.1, "means: difference from constant".
    ("effect", "groups"),
    [(0.2, 199), (0.5, 34), (0.8, 15)],
)
def test_the_groups_needed_are_those_of_the_t_test(effect: float, groups: int) -> None:
    assert _groups_needed(effect) == groups
    assert _power(effect, groups) >= 0.8 > _power(effect, groups - 1)


def test_an_effect_of_nothing_is_found_as_often_as_the_level_says() -> None:
    assert _power(0.0, 30) == pytest.approx(0.05, abs=1e-6)


def test_the_needed_questions_decide_four_in_five_repetitions() -> None:
    """From a sample whose difference is the true one: how often does a new sample of the size asked for exclude zero?"""
    draw = np.random.default_rng(11)
    effect, groups = 0.12, 20
    changes, names = sample(draw, 0.0, groups)
    # Observed difference and spread made those of the population, so that only the number is put to the test.
    by_group = changes.reshape(groups, SIZE)
    true = np.sqrt(SPREAD_OF_GROUPS**2 + SPREAD_OF_QUESTIONS**2 / SIZE)
    changes = (effect + (changes - changes.mean()) * true / by_group.mean(axis=1).std(ddof=1)).ravel()
    power = power_of(changes, np.zeros_like(changes), names)
    assert power is not None
    assert power.questions == power.groups * SIZE
    assert power.groups > groups
    repetitions = 300
    decided = 0
    for _ in range(repetitions):
        again, names_again = sample(draw, effect, power.groups)
        estimate = paired_difference(again, np.zeros_like(again), names_again).estimate
        decided += not estimate.low <= 0 <= estimate.high
    # Three standard errors of a share of 300.
    assert decided / repetitions == pytest.approx(0.8, abs=3 * np.sqrt(0.8 * 0.2 / repetitions))


def test_unequal_groups_spread_as_their_sums_do() -> None:
    """Ten questions that move together are worth one, not ten."""
    together = [0.5] * 10 + [-0.4] * 10 + [0.3] * 10 + [-0.2] * 10
    groups = [f"g{at // 10}" for at in range(40)]
    apart = [f"q{at}" for at in range(40)]
    zero = [0.0] * 40
    assert power_of(together, zero, groups).questions > 5 * power_of(together, zero, apart).questions


def test_nothing_is_said_without_spread_difference_or_groups() -> None:
    assert power_of([0.1, 0.1], [0.0, 0.0], ["a", "b"]) is None
    assert power_of([0.1, -0.1], [0.0, 0.0], ["a", "b"]) is None
    assert power_of([0.1, 0.3], [0.0, 0.0], ["a", "a"]) is None
    tiny = power_of([1.0, -1.0 + 1e-6] * 10, [0.0] * 20, [str(at) for at in range(20)])
    assert tiny is not None
    assert tiny.questions is None


def test_two_groups_have_a_power_too() -> None:
    """SciPy gives NaN for some of what it is made of, which no report.json can hold."""
    found = [power_of([value, 0.1], [0.0, 0.0], ["a", "b"]) for value in np.linspace(0.101, 0.2, 200)]
    assert all(each is not None and 0 < each.now <= 1 for each in found)


@pytest.mark.parametrize(
    ("power", "words"),
    [
        (Power(0.3, 1420, 210), "1,420 questions on 210 groups of documents would decide it 80 times in 100, instead of these 131"),
        (Power(0.05, None, None), "no number of questions would decide"),
        (Power(0.83, 120, 27), "a test of its size finds such a difference 83 times in 100"),
    ],
)
def test_the_sentence_says_what_an_undecided_comparison_lacks(power: Power, words: str) -> None:
    named = Contrast("tuned", "base-fewshot", "retrieved", "all", "f1", 0.4, 0.38, Estimate(0.02, -0.01, 0.05, 131), 30, 0.2, power=power)
    decision, sentence = decide(named)
    assert decision == "undecided"
    assert words in sentence
    assert "the interval includes zero" in sentence


def test_of_differences_that_are_all_alike_nothing_is_said() -> None:
    groups = [f"g{i}" for i in range(20)]
    assert power_of([0.6] * 20, [0.5] * 20, groups) is None
