"""Abstention against what the shown passages hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from synthetic_evaluation import make_evaluation

from ragtune.evaluate.abstention import abstention_metrics, risk_coverage
from ragtune.types import Prediction


def predictions(rows: list[tuple[bool, bool, float | None]]) -> list[Prediction]:
    """Of (evidence shown, abstained, log-odds); the answer is right where it is given."""
    one = make_evaluation(4, 4).predictions[0]
    return [
        replace(one, id=f"q{i}", group=f"g{i}", context="retrieved", references=("x",), answer="x", answerable_in_context=shown,
                abstained=abstained, abstain_logodds=logodds)
        for i, (shown, abstained, logodds) in enumerate(rows)
    ]  # fmt: skip


def test_confusion_is_counted_against_context_answerability() -> None:
    found = abstention_metrics(predictions([(True, False, -1), (True, True, 0), (False, True, 2), (False, False, -2), (True, False, -3)]))
    assert found["accuracy"].value == pytest.approx(3 / 5)
    assert found["precision"].value == 0.5
    assert found["precision"].n == 2
    assert found["recall"].value == 0.5
    assert found["always_answer"].value == pytest.approx(3 / 5)
    assert found["always_abstain"].value == pytest.approx(2 / 5)


def test_auroc_is_the_mann_whitney_statistic_ties_half() -> None:
    rng = np.random.default_rng(0)
    shown = rng.random(80) < 0.6
    scores = np.round(rng.normal(size=80) - shown, 1)
    found = abstention_metrics(predictions([(bool(s), False, float(x)) for s, x in zip(shown, scores, strict=True)]))["auroc"]
    u = stats.mannwhitneyu(scores[~shown], scores[shown]).statistic
    assert found.value == pytest.approx(u / ((~shown).sum() * shown.sum()))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high <= 1


def test_what_is_undefined_is_left_out() -> None:
    found = abstention_metrics(predictions([(True, False, None), (True, False, None)]))
    assert {"auroc", "precision", "recall"}.isdisjoint(found)


def test_risk_falls_with_coverage_where_doubt_is_well_placed() -> None:
    good = predictions([(True, False, -5.0 + i / 100) for i in range(60)])
    bad = [replace(p, id=f"b{p.id}", answer="wrong", abstain_logodds=5.0 + i / 100) for i, p in enumerate(good[:20])]
    curve = risk_coverage([*bad, *good])
    assert curve[0].risk == 0
    assert curve[-1].coverage == 1
    assert curve[-1].risk == pytest.approx(20 / 80)


def test_equal_log_odds_are_one_point_and_missing_ones_none() -> None:
    assert len(risk_coverage(predictions([(True, False, 0.0)] * 40))) == 1
    assert risk_coverage(predictions([(True, False, 0.0), (True, False, None)])) == ()
