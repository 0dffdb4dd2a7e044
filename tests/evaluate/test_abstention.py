"""Abstention against what the shown passages hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ragtune.evaluate.abstention import abstention_metrics, risk_coverage, threshold_metrics
from ragtune.types import Prediction
from synthetic_evaluation import make_evaluation


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


def sure(rows: list[tuple[str, float]]) -> list[Prediction]:
    """Of (what was written, confidence), each with its evidence; the reference is ``x``."""
    made = predictions([(True, False, 0.0)] * len(rows))
    return [replace(p, raw=f"Answer: {raw}", answer=raw, confidence=sureness) for p, (raw, sureness) in zip(made, rows, strict=True)]


def test_a_threshold_has_its_coverage_and_precision_on_these_questions() -> None:
    asked = sure([("x", 3.0), ("y", 2.0), ("x", 1.0), ("not in the passages", 1.0), ("x", -1.0)])
    coverage, precision = threshold_metrics(asked, 1.0)
    assert coverage.value == pytest.approx(3 / 5)
    assert precision is not None
    assert (precision.value, precision.n) == (pytest.approx(2 / 3), 3)
    withheld = [replace(p, answer="", abstained=True, withheld=True) for p in asked]
    assert threshold_metrics(withheld, 1.0)[1] == precision  # what would be were it not withheld
    assert threshold_metrics(asked, 9.0) == (threshold_metrics(asked, 9.0)[0], None)


def test_confidence_orders_the_curve_where_there_is_one_and_distractors_are_all_risk() -> None:
    asked = sure([("x", float(i)) for i in range(20)])
    alone = [replace(p, id=f"d{p.id}", context="distractors", confidence=-1.0 - i) for i, p in enumerate(asked)]
    curve = risk_coverage([*alone, *asked])
    assert curve[0].risk == 0
    assert curve[-1].risk == pytest.approx(0.5)  # the reference by chance, from passages that do not hold it


def test_the_calibrated_auroc_is_of_the_confidence() -> None:
    held = sure([("x", 2.0), ("x", 1.0)])
    without = [replace(p, id=f"n{p.id}", answerable_in_context=False, confidence=0.0) for p in held]
    found = abstention_metrics([*held, *without])
    assert found["auroc_calibrated"].value == 1
    assert found["auroc"].value == 0.5
