"""Answer metrics against hand-computed values of SQuAD's official definitions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rouge_score.rouge_scorer import RougeScorer

from ragtune.evaluate.answers import (
    answer_metrics,
    containment,
    exact_match,
    f1,
    length_ratio,
    loops,
    normalise_answer,
    rouge_l,
    written_answer,
)
from ragtune.prompts import parse_answer
from synthetic_evaluation import make_evaluation


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat!", "cat"),
        ("an apple, a pear", "apple pear"),
        ("U.S.A.", "usa"),
        ("state-of-the-art", "stateoftheart"),  # punctuation goes first, so no article is left to drop
        ("1,200 m", "1200 m"),
        ("the", ""),
    ],
)
def test_normalisation_follows_the_official_order(text: str, normal: str) -> None:
    assert normalise_answer(text) == normal


def test_exact_match_is_after_normalisation_and_over_all_references() -> None:
    assert exact_match("The cat.", ["dog", "cat"]) == 1
    assert exact_match("cats", ["cat"]) == 0


def test_f1_is_the_harmonic_mean_of_word_precision_and_recall() -> None:
    # 2 of 3 words right, 2 of 4 found: P = 2/3, R = 1/2, F1 = 4/7.
    assert f1("red tall house", ["red house by river"]) == pytest.approx(4 / 7)


def test_f1_counts_a_repeated_word_as_often_as_the_reference_has_it() -> None:
    assert f1("ten ten ten", ["ten"]) == pytest.approx(0.5)


def test_f1_is_the_best_over_references() -> None:
    assert f1("in 1931", ["the spring of 1931", "1931"]) == pytest.approx(2 / 3)


def test_f1_of_empty_texts_is_one_only_where_both_are_empty() -> None:
    assert f1("the", ["a"]) == 1
    assert f1("", ["cat"]) == 0
    assert f1("cat", []) == 0


def test_containment_wants_whole_words() -> None:
    assert containment("It was opened in 1995, they say", ["1995"]) == 1
    assert containment("It was opened in 1995", ["99"]) == 0
    assert containment("anything", ["the"]) == 0


def test_rouge_l_is_rouge_scores_best_over_references() -> None:
    expected = RougeScorer(["rougeL"], use_stemmer=False).score("the hut on the hill", "a hut on a hill")["rougeL"].fmeasure
    assert rouge_l("a hut on a hill", ["no", "the hut on the hill"]) == pytest.approx(expected)
    assert expected == pytest.approx(0.6)  # hut, on, hill: 3 of 5 both ways


def test_length_ratio_is_of_the_first_reference() -> None:
    assert length_ratio("one two three", ["one two", "one"]) == 1.5
    assert length_ratio("one", []) is None


def test_an_abstention_on_an_answerable_question_scores_zero_even_where_words_agree() -> None:
    prediction = replace(make_evaluation(4, 4).predictions[0], references=("passages",), answer="not in the passages")
    assert answer_metrics(replace(prediction, abstained=False))["f1"] > 0
    abstained = answer_metrics(replace(prediction, abstained=True))
    assert abstained == {"f1": 0, "exact_match": 0, "containment": 0, "rouge_l": 0}


def test_an_unanswerable_question_has_no_answer_metrics() -> None:
    assert answer_metrics(replace(make_evaluation(4, 4).predictions[0], references=())) == {}


@pytest.mark.parametrize(
    ("raw", "goes_round"),
    [
        ("Answer: forty minutes\n" * 9 + "Answer: for", True),
        ('"It opens."\nAnswer: in May in May in May in May in May in', True),
        ("a" * 40, True),
        ("Answer: 1,000,000", False),
        ("no, no, no", False),
        ("Answer: forty minutes\nAnswer: forty minutes", False),
        ('"The crossing takes forty minutes, and the crossing back takes forty"\nAnswer: forty minutes', False),
        ("", False),
    ],
)
def test_a_loop_is_the_same_three_times_over_at_the_end(raw: str, goes_round: bool) -> None:
    assert loops(raw) is goes_round


def test_an_answer_that_goes_round_until_the_limit_is_not_that_answer() -> None:
    raw = "Answer: forty minutes\n" * 9 + "Answer: forty minutes"
    parsed = parse_answer(raw).answer
    assert f1(parsed, ["forty minutes"]) == 1.0
    assert f1(written_answer(raw, parsed, finished=False), ["forty minutes"]) < 0.2
    assert exact_match(written_answer(raw, parsed, finished=False), ["forty minutes"]) == 0
    assert written_answer(raw, parsed, finished=True) == parsed, "it stopped by itself, and its last line is the answer"
    cut = '"A long quote"\nAnswer: forty minutes\nThe passage goes on to'
    assert written_answer(cut, "forty minutes", finished=False) == "forty minutes", "what is cut off behind it does not change it"
    below = "Answer: forty\n" + "forty\n" * 20
    assert f1(written_answer(below, "forty", finished=False), ["forty"]) < 0.2
