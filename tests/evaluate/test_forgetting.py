from __future__ import annotations

import pytest

from ragtune.evaluate.forgetting import GENERAL, forgetting


def test_nats_are_averaged_over_tokens_and_compared_answer_by_answer() -> None:
    base, tuned = forgetting({"base": [(20.0, 10), (30.0, 30)], "tuned": [(22.0, 10), (36.0, 30)]})
    assert base.nll.value == pytest.approx(50 / 40)
    assert base.change is None
    assert tuned.nll.value == pytest.approx(58 / 40)
    assert tuned.change is not None
    assert tuned.change.value == pytest.approx(8 / 40)
    assert tuned.change.n == 2


def test_equal_weights_have_forgotten_nothing() -> None:
    sums = [(float(number), 10) for number in range(len(GENERAL))]
    _, same = forgetting({"base": sums, "tuned": sums})
    assert same.change is not None
    assert (same.change.value, same.change.low, same.change.high) == (0.0, 0.0, 0.0)
