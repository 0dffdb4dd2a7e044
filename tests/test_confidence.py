"""How sure an answer is: the signals, what is learned from them, and the threshold for a precision."""

from __future__ import annotations

import math
import random

import pytest

from ragtune.confidence import Confidence, answer_signals, probability
from ragtune.evaluate.calibration import FEWEST_ANSWERS, Rated, choose_threshold, fit_confidence
from ragtune.highlights import coverage
from ragtune.types import Generation, Passage, Reply, Span, Usage


def passage(text: str, prefix: str = "") -> Passage:
    return Passage("p", "a.md", "", prefix, text, (Span("a.md", 0, len(text)),), ("c",))


def rated(rights: str) -> list[Rated]:
    """Answers in falling confidence: ``+`` right, ``-`` wrong, ``0`` an abstention."""
    return [Rated(-float(at), each != "0", each == "+") for at, each in enumerate(rights)]


def test_coverage_counts_the_words_of_one_sentence_and_its_headings():
    question = "When did the harbour of Ardmoor open?"
    assert coverage(question, []) == 0
    whole = coverage(question, [passage("The harbour of Ardmoor did open in 1951, when it was asked for.")])
    assert whole == 1
    apart = coverage(question, [passage("The harbour is old. Ardmoor is a town.")])
    assert 0 < apart < coverage(question, [passage("The harbour is old.", prefix="Ardmoor")]) < whole
    assert coverage("?", [passage("Anything.")]) == 0


def test_a_model_that_tells_no_log_probabilities_has_no_signals():
    assert answer_signals("Why?", [passage("So.")], Generation("x", 1, 1, 0.0, True)) is None
    generation = Generation("x y", 1, 2, 0.0, True, abstain_logodds=-30.0, logprob=-1.5)
    reply = Reply("x y", Usage(1, 2), abstain_logodds=-30.0, logprob=-1.5)
    assert answer_signals("Why?", [], generation) == answer_signals("Why?", [], reply) == (0.0, -14.0, -0.5)


def test_what_is_learned_is_a_calibrated_probability():
    draw = random.Random(0)
    signals, labels = [], []
    for _ in range(4000):
        own = (draw.random(), draw.gauss(0, 3), draw.gauss(-1, 0.5))
        signals.append(own)
        labels.append(draw.random() < probability(4 * own[0] - 0.5 * own[1] - 2))
    learned = fit_confidence(signals, labels)
    assert learned is not None
    assert learned.weights == pytest.approx((4, -0.5, 0), abs=0.35)
    assert learned.bias == pytest.approx(-2, abs=0.35)
    near = [label for own, label in zip(signals, labels, strict=True) if 0.7 < probability(learned.logodds(own)) < 0.8]
    assert sum(near) / len(near) == pytest.approx(0.75, abs=0.06)


def test_a_signal_counts_one_way_only_whatever_chance_says_of_few_answers():
    learned = fit_confidence([(0.9, 2.0, -2.0), (0.1, -2.0, -0.1)] * 20, [True, False] * 20)  # doubting and unlikely, and yet there
    assert learned is not None
    assert learned.weights[0] > 0
    assert learned.weights[1:] == (0.0, 0.0)


def test_weights_say_how_often_a_kind_of_question_comes():
    signals, labels = [(0.5, 0.0, -1.0)] * 100, [True] * 50 + [False] * 50
    even = fit_confidence(signals, labels)
    seldom = fit_confidence(signals, labels, [1.0] * 50 + [0.25] * 50)
    assert even is not None
    assert seldom is not None
    assert probability(even.logodds(signals[0])) == pytest.approx(0.5, abs=0.01)
    assert probability(seldom.logodds(signals[0])) == pytest.approx(0.8, abs=0.01)


def test_nothing_is_learned_from_contexts_of_one_kind():
    assert fit_confidence([(0.1, 0.0, -1.0), (0.9, 0.0, -1.0)], [True, True]) is None


def test_signals_that_never_differ_are_no_reason_to_fail():
    learned = fit_confidence([(0.1, 5.0, -1.0), (0.9, 5.0, -1.0)] * 20, [False, True] * 20)
    assert learned is not None
    assert learned.logodds((0.9, 5.0, -1.0)) > 0 > learned.logodds((0.1, 5.0, -1.0))


def test_the_lowest_threshold_that_reaches_the_precision_is_taken():
    answers = rated("+" * 20 + "-" * 5 + "+" * 15 + "-" * 20)
    found = choose_threshold(answers, 0.85)
    assert found is not None
    assert (found.logodds, found.n) == (-40.0, 41)  # 35 of 41
    assert found.precision == pytest.approx(35 / 41)
    assert found.coverage == pytest.approx(41 / 60)
    assert choose_threshold(answers, 0.5).coverage == 1


def test_a_precision_that_nothing_reaches_gives_the_nearest():
    found = choose_threshold(rated("+-" * 15 + "-" * 30), 0.9)
    assert found is not None
    assert found.precision == pytest.approx(11 / 21)
    assert found.wanted == 0.9


def test_few_answers_decide_nothing_and_abstentions_are_none():
    assert choose_threshold(rated("+" * (FEWEST_ANSWERS - 1) + "0" * 50), 0.5) is None
    found = choose_threshold(rated("0" * 20 + "+" * FEWEST_ANSWERS), 1.0)
    assert found is not None
    assert found.precision == 1
    assert found.coverage == pytest.approx(0.5)


def test_weights_count_like_so_many_answers():
    answers = [Rated(-at, True, at % 2 == 0, 1.0 if at % 2 == 0 else 0.25) for at in range(100)]
    assert choose_threshold(answers, 0.79).precision == pytest.approx(0.8, abs=0.02)


def test_equal_confidences_are_not_torn_apart():
    answers = [*rated("+" * 20), *(Rated(-30.0, True, right) for right in (True, True, False, False))]
    assert choose_threshold(answers, 0.95).n == 20


def test_log_odds_of_any_size_are_probabilities():
    assert probability(0) == 0.5
    assert probability(math.inf) == 1
    assert probability(-1e9) == pytest.approx(0)
    assert Confidence((1.0, 0.0, 0.0), -0.5).logodds((1, 2, 3)) == 0.5
