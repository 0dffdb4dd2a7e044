"""Two evaluations compared for CI: what holds, and what cannot be compared."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from ragtune.errors import ConfigError, EvaluationError
from ragtune.evaluate.answers import answer_metrics
from ragtune.evaluate.gate import METRICS, compare_models, parse_condition
from ragtune.evaluate.predictions import read_predictions
from ragtune.evaluate.score import score
from ragtune.types import Prediction
from synthetic_evaluation import make_evaluation

NAMES = ("now", "before")


def answers(skill: float, questions: int = 160) -> list[Prediction]:
    """The tuned arm of an evaluation, on the same questions whatever its skill."""
    made = make_evaluation(questions, skill={"tuned": skill}).predictions
    first = {(p.id, p.context): p for p in make_evaluation(questions, skill={"tuned": 0.5}).predictions}
    return [replace(p, references=first[p.id, p.context].references, question=first[p.id, p.context].question) for p in made]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("retrieved.f1 < -0.02", True),
        ("retrieved.f1.high < 0", True),
        ("retrieved.f1.low < -0.9", False),
        ("retrieved.f1 > 0", False),
        ("closed-book.f1 <= −1", False),
        ("oracle+distractors.f1.value<-.02", True),
    ],
)
def test_conditions_are_on_the_difference_or_a_bound_of_its_interval(text: str, holds: bool) -> None:
    result = compare_models(answers(0.2), answers(0.8), [parse_condition(text)], names=NAMES)
    assert result.conditions[0].holds is holds
    assert result.failed is holds


def test_the_difference_is_the_paired_mean_over_the_answerable_questions() -> None:
    worse, better = answers(0.3), answers(0.7)
    result = compare_models(worse, better, [], names=NAMES)
    row = next(row for row in result.rows if (row.context, row.metric) == ("retrieved", "f1"))
    f1 = [{p.id: answer_metrics(p)["f1"] for p in side if p.context == "retrieved" and p.references} for side in (worse, better)]
    assert row.difference.value == pytest.approx(np.mean([f1[0][id_] - f1[1][id_] for id_ in f1[0]]))
    assert row.difference.n == len(f1[0])
    assert row.difference.low < row.difference.value < row.difference.high < 0
    assert not result.failed, "no condition was given"
    assert result.questions == 160


def test_a_model_compared_with_itself_differs_nowhere() -> None:
    same = answers(0.5)
    result = compare_models(same, same, [parse_condition("retrieved.f1 < 0"), parse_condition("retrieved.f1.low < 0")], names=NAMES)
    assert not result.failed
    assert all(row.difference.value == 0 for row in result.rows)


def test_one_question_that_was_answered_worse_proves_no_model_worse() -> None:
    before = answers(0.5)
    spoilt = next(p for p in before if p.context == "retrieved" and p.references and answer_metrics(p)["f1"] == 1)
    now = [replace(p, answer="nothing of the kind") if p is spoilt else p for p in before]
    rows = {(row.context, row.metric): row for row in compare_models(now, before, [], names=NAMES).rows}
    row = rows["retrieved", "f1"]
    assert row.difference.value < 0
    assert (row.difference.high, row.p) == (0, 1)  # one group differs, and it could as well have been the other way round
    assert rows["retrieved", "rouge_l"].p == 1


def test_a_metric_that_only_some_answers_have_is_compared_over_those() -> None:
    """A share of quotes has a weight; its difference is that of the two shares."""
    one, other = answers(0.5), answers(0.5)
    other = [replace(p, quotes=tuple(replace(quote, valid=False) for quote in p.quotes)) for p in other]
    row = next(r for r in compare_models(one, other, [], names=NAMES).rows if (r.context, r.metric) == ("retrieved", "quotes_valid"))
    quotes = [quote.valid for p in one if p.context == "retrieved" for quote in p.quotes]
    assert row.value == pytest.approx(np.mean(quotes))
    assert row.value_against == 0


def test_passages_that_retrieval_served_otherwise_are_counted() -> None:
    one = answers(0.5)
    other = [replace(p, passages=p.passages[::-1]) if p.id < "q005" else p for p in one]
    assert compare_models(one, other, [], names=NAMES).shown_otherwise == 5


def test_other_questions_are_an_error_that_names_them() -> None:
    some = [p for p in answers(0.5) if p.id not in ("q003", "q004")]
    changed = [replace(p, references=("another",)) if p.id == "q001" else p for p in answers(0.5)]
    with pytest.raises(EvaluationError, match=r"2 only in before \(q003, q004\); 1 with another wording or answer \(q001\).*--dataset"):
        compare_models(some, changed, [], names=NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("retrieved.f1 << 2", "is no condition.*retrieved.f1 < -0.02"),
        ("retrieved.f1 < much", "is no condition"),
        ("retrieved.f2 < 0", "no metric 'f2'; did you mean f1"),
        ("retrieve.f1 < 0", "no context 'retrieve'; did you mean retrieved"),
        ("retrieved.f1.lower < 0", "no bound 'lower'; did you mean low"),
        ("retrieved.f1 < nan", "is no condition"),
        ("retrieved.f1 < 1e400", r"1e400 is more than a number can be here: write one such as -0\.02"),
        ("retrieved.f1 > -1e999", "-1e999 is more than a number"),
    ],
)
def test_a_malformed_condition_says_how_to_write_one(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_condition(text)


def test_a_figure_that_is_not_there_is_an_error_and_no_pass() -> None:
    one = [p for p in answers(0.5) if p.context == "retrieved"]
    with pytest.raises(EvaluationError, match=r"no f1 in the context oracle in common .*retrieved"):
        compare_models(one, one, [parse_condition("oracle.f1 < 0")], names=NAMES)
    with pytest.raises(EvaluationError, match="no dollars"):
        compare_models(one, one, [parse_condition("retrieved.dollars > 0")], names=NAMES)
    lone = [replace(p, group="one") for p in one]
    with pytest.raises(EvaluationError, match="no interval"):
        compare_models(lone, [replace(p, raw=p.raw + " ") for p in lone], [parse_condition("retrieved.f1.high < 0")], names=NAMES)
    with pytest.raises(EvaluationError, match="no answers of the arm tuned"):
        compare_models(one, [replace(p, arm="base") for p in one], [], names=NAMES)


def test_every_metric_can_be_found() -> None:
    one = [replace(p, cost=0.1) for p in answers(0.5)]
    gold = {example.id: example.evidence for example in make_evaluation().examples}
    rows = compare_models(one, one, [], names=NAMES, evidence=(gold, gold)).rows
    assert {row.metric for row in rows if row.context == "retrieved"} == set(METRICS)


def test_whether_the_evidence_is_cited_is_compared_where_it_is_known() -> None:
    made = make_evaluation(160, skill={"tuned": 0.5})
    gold = {example.id: example.evidence for example in made.examples}
    condition = [parse_condition("retrieved.cites_gold < -0.02")]
    worse = [replace(p, quotes=()) if p.id < "q080" else p for p in made.predictions]
    result = compare_models(worse, made.predictions, condition, names=NAMES, evidence=(gold, gold))
    assert result.failed
    row = next(row for row in result.rows if (row.context, row.metric) == ("retrieved", "cites_gold"))
    for value, side in ((row.value, worse), (row.value_against, made.predictions)):
        cell = score(side, made.examples, {}).cell("tuned", "retrieved")
        assert cell is not None
        assert value == pytest.approx(cell.metrics["cites_gold"].value)
    with pytest.raises(EvaluationError, match=r"no cites_gold .*while the dataset is there"):
        compare_models(worse, made.predictions, condition, names=NAMES, evidence=(gold, {}))


def test_predictions_are_read_back_as_they_were(tmp_path: Path) -> None:
    import json

    made = [replace(p, raw=p.raw + "\u2028") for p in answers(0.5)[:50]]
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in made), encoding="utf-8")
    assert read_predictions(path) == made
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"cannot read .*predictions\.jsonl"):
        read_predictions(path)


def test_equal_figures_of_other_answers_are_no_certainty() -> None:
    before, now = answers(0.5), [replace(each, raw=each.raw + " ") for each in answers(0.5)]
    strict = [parse_condition("retrieved.f1.low < -0.05"), parse_condition("retrieved.f1 < 0")]
    assert [each.holds for each in compare_models(now, before, strict, names=NAMES).conditions] == [True, False]


def test_a_limit_is_met_exactly() -> None:
    asked = [p for p in answers(0.5) if p.arm == "tuned" and p.context == "retrieved" and p.references][:50]
    right = [replace(p, answer=p.references[0], abstained=False) for p in asked]
    one_less = [replace(right[0], answer="quite another thing"), *right[1:]]
    conditions = [parse_condition("retrieved.f1 < -0.02"), parse_condition("retrieved.f1 <= -0.02")]
    result = compare_models(one_less, right, conditions, names=NAMES)
    assert [each.holds for each in result.conditions] == [False, True]
    assert result.conditions[0].found == pytest.approx(-0.02)
