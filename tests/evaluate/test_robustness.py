"""Answers in changed contexts beside those in the served one."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from ragtune.evaluate.answers import answer_metrics
from ragtune.evaluate.intervals import holm
from ragtune.evaluate.robustness import robustness
from ragtune.evaluate.score import score
from ragtune.evaluate.terminal import terminal_table
from ragtune.types import Prediction
from synthetic_evaluation import make_evaluation


def wrong(prediction: Prediction) -> Prediction:
    return replace(prediction, answer="nothing of the sort", abstained=False)


def test_the_difference_is_paired_with_the_served_context_of_the_same_arm() -> None:
    made = make_evaluation(120, 30).predictions
    served = [p for p in made if p.context == "retrieved"]
    some = [p for p in served if p.arm in ("tuned", "base-fewshot") and p.id < "q060"]
    found = robustness(made, {"reversed": some, "noise": [wrong(p) if p.arm == "tuned" else p for p in some]})
    assert [(each.change, each.arm) for each in found] == [
        ("reversed", "base-fewshot"), ("reversed", "tuned"), ("noise", "base-fewshot"), ("noise", "tuned"),
    ]  # fmt: skip
    f1 = [answer_metrics(p)["f1"] for p in some if p.arm == "tuned" and p.references]
    noise = found[3]
    assert noise.questions == noise.served.n == noise.f1.n == len(f1)
    assert noise.served.value == pytest.approx(np.mean(f1))
    assert noise.difference.value == pytest.approx(-np.mean(f1))
    assert noise.difference.high < 0
    assert all(each.difference.value == 0 for each in found[:3])
    assert [each.p_holm for each in found] == pytest.approx(holm([each.p for each in found]))


def test_what_was_not_asked_both_ways_is_not_compared() -> None:
    made = make_evaluation(40, 20).predictions
    tuned = [p for p in made if (p.arm, p.context) == ("tuned", "retrieved")]
    assert robustness([p for p in made if p.arm == "base"], {"noise": tuned}) == ()
    assert robustness(made, {}) == ()


def test_the_terminal_says_how_changed_contexts_and_another_model_compare() -> None:
    made = make_evaluation(60, 30, skill={"base-fewshot": 0.4, "tuned": 0.6, "other": 0.5})
    tuned = [p for p in made.predictions if (p.arm, p.context) == ("tuned", "retrieved")]
    report = score(made.predictions, made.examples, made.retrieved, made.passages)
    report = replace(report, robustness=robustness(made.predictions, {"one_passage": [wrong(p) for p in tuned]}))
    out = StringIO()
    Console(file=out, width=200, color_system=None).print(terminal_table(report))
    (changed,) = report.robustness
    other = next(each for each in report.contrasts if each.against == "other")
    assert f"Changed contexts (tuned, F1 less that as served): one passage −{abs(changed.difference.value):.2f} [" in out.getvalue()
    assert f"F1 {other.value:.2f} against {other.value_against:.2f}, difference " in out.getvalue()
