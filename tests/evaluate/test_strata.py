"""Strata: every question in its part, and differences corrected together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ragtune.evaluate.answers import answer_metrics
from ragtune.evaluate.intervals import holm
from ragtune.evaluate.score import score
from ragtune.evaluate.strata import OTHERS
from ragtune.types import Evidence, Prediction
from synthetic_evaluation import Evaluation, make_evaluation


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return make_evaluation(120, 12)


@pytest.fixture(scope="module")
def found(evaluation):
    """By factor, its strata by name."""
    report = score(evaluation.predictions, evaluation.examples, evaluation.retrieved, evaluation.passages)
    return {by: {each.stratum: each for each in report.strata if each.by == by} for by in {each.by for each in report.strata}}


def answerable(evaluation: Evaluation, arm: str = "tuned") -> list[Prediction]:
    return [p for p in evaluation.predictions if (p.arm, p.context) == (arm, "retrieved") and p.references]


def test_each_answerable_question_is_in_one_stratum_of_a_factor(evaluation, found) -> None:
    count = len(answerable(evaluation))
    assert set(found) >= {"kind", "source", "oracle_place", "answer_words", "question_words"}
    assert "hops" not in found, "all questions have one oracle"
    for by, strata in found.items():
        assert sum(each.questions for each in strata.values()) == count, by
        for each in strata.values():
            assert set(each.f1) == {"base", "base-fewshot", "tuned"}
            assert {estimate.n for estimate in each.f1.values()} == {each.questions} == {each.difference.n}


def test_the_oracles_place_is_where_it_was_shown(evaluation, found) -> None:
    place = {e.id: e.oracles[0] for e in evaluation.examples}
    by_place: dict[str, list[float]] = {}
    for p in answerable(evaluation):
        name = str(p.passages.index(place[p.id]) + 1) if place[p.id] in p.passages else "missed"
        by_place.setdefault(name, []).append(answer_metrics(p)["f1"])
    assert list(found["oracle_place"]) == [*sorted(set(by_place) - {"missed"}), "missed"], "in order, what was missed last"
    for name, values in by_place.items():
        assert found["oracle_place"][name].f1["tuned"].value == pytest.approx(np.mean(values))


def test_evidence_in_two_passages_counts_at_the_second(evaluation) -> None:
    example = next(e for e in evaluation.examples if e.evidence)
    prediction = next(p for p in answerable(evaluation) if p.id == example.id)
    shown = [evaluation.passages[id_] for id_ in prediction.passages]
    ends = [Evidence(shown[at].document, shown[at].spans[0].start, shown[at].spans[0].start + 9, shown[at].text[:9]) for at in (0, 2)]
    changed = [
        replace(e, evidence=tuple(ends), oracles=(shown[0].id, shown[2].id)) if e.id == example.id else e for e in evaluation.examples
    ]
    strata = score(evaluation.predictions, changed, {}, evaluation.passages).strata
    assert {each.stratum: each.questions for each in strata if each.by == "hops"}["2"] == 1
    before = score(evaluation.predictions, evaluation.examples, {}, evaluation.passages).strata
    at = {
        name: {each.stratum: each.questions for each in some if each.by == "oracle_place"}["3"]
        for name, some in (("before", before), ("after", strata))
    }
    assert at["after"] == at["before"] + (
        prediction.passages.index(example.oracles[0]) != 2 if example.oracles[0] in prediction.passages else 1
    )


def test_a_document_with_enough_questions_has_an_interval_over_its_questions(evaluation, found) -> None:
    sources = found["source"]
    assert {name for name in sources if name != OTHERS} <= {e.evidence[0].document for e in evaluation.examples if e.evidence}
    named = [each for name, each in sources.items() if name != OTHERS]
    assert all(each.questions >= 5 and each.groups == 1 for each in named)
    assert all(each.difference.low is not None for each in named if each.difference.value)
    few = make_evaluation(60, 40)
    strata = score(few.predictions, few.examples, few.retrieved, few.passages).strata
    assert not [each for each in strata if each.by == "source"], "no document has five questions, so there are only others"


def test_differences_of_all_strata_are_corrected_together(found) -> None:
    every = [each for strata in found.values() for each in strata.values()]
    tested = [each for each in every if each.p is not None]
    assert sorted(each.p_holm for each in tested) == pytest.approx(sorted(holm([each.p for each in tested])))
    assert all(each.p_holm is None for each in every if each.p is None)


def test_without_passages_nothing_is_parted_by_them(evaluation) -> None:
    strata = score(evaluation.predictions, evaluation.examples, evaluation.retrieved).strata
    assert not {"oracle_place", "context_words"} & {each.by for each in strata}


def test_one_arm_has_figures_and_no_difference(evaluation) -> None:
    alone = [p for p in evaluation.predictions if p.arm == "base"]
    strata = score(alone, evaluation.examples, evaluation.retrieved, evaluation.passages).strata
    assert strata
    assert all(set(each.f1) == {"base"} and each.difference is None and each.p_holm is None for each in strata)
