"""Several evaluations against the first: paired, corrected, on common questions alone; and how they are shown."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest
from rich.console import Console
from test_report_html import HOSTILE, tags

from ragtune.errors import EvaluationError
from ragtune.evaluate.answers import answer_metrics
from ragtune.evaluate.intervals import holm, paired_difference
from ragtune.evaluate.score import score
from ragtune.evaluate.several import Evaluated, Several, compare_evaluations, verdict
from ragtune.evaluate.several_page import render_several
from ragtune.evaluate.several_terminal import several_table
from synthetic_evaluation import Evaluation, make_evaluation


def evaluated(name: str, made: Evaluation, settings: Mapping[str, Any] | None = None) -> Evaluated:
    report = score(made.predictions, made.examples, made.retrieved)
    steps = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    return Evaluated(name, report, made.predictions, made.passages, made.examples, settings or {}, steps)


def skilled(tuned: float) -> Evaluation:
    """The same questions and passages, answered by a tuned model of another skill."""
    return make_evaluation(120, 30, skill={"base": 0.3, "base-fewshot": 0.36, "tuned": tuned})


@pytest.fixture(scope="module")
def three() -> list[Evaluated]:
    poor, good, poor_too = (skilled(chance) for chance in (0.3, 0.95, 0.305))
    return [
        evaluated("first", poor, {"train.rate": 1e-4, "train.rank": 16}),
        evaluated("good", good, {"train.rate": 3e-4, "train.rank": 16}),
        evaluated("other", poor_too, {"train.rate": 1e-4, "train.rank": 16, "train.kind": HOSTILE}),
    ]


@pytest.fixture(scope="module")
def found(three: list[Evaluated]) -> Several:
    return compare_evaluations(three)


def test_differences_are_paired_against_the_first_and_corrected_together(three: list[Evaluated], found: Several) -> None:
    f1 = [
        {p.id: answer_metrics(p)["f1"] for p in each.predictions if (p.arm, p.context) == ("tuned", "retrieved") and p.references}
        for each in three
    ]
    group = {example.id: example.group for example in three[0].examples}
    ids = sorted(f1[0])
    raw = [paired_difference([side[i] for i in ids], [f1[0][i] for i in ids], [group[i] for i in ids]) for side in f1[1:]]
    assert [each.difference for each in found.results] == [None, *(each.estimate for each in raw)]
    assert [each.p for each in found.results[1:]] == holm([each.p for each in raw if each.p is not None])
    assert [verdict(each) for each in found.results] == ["undecided", "better", "undecided"]
    assert found.sentence == "good answers better than first; whether other and first differ is undecided"


def test_only_settings_that_differ_are_listed(found: Several) -> None:
    assert found.settings == {"train.rate": [1e-4, 3e-4, 1e-4], "train.kind": [None, None, HOSTILE]}


def test_other_question_sets_are_said_and_only_the_common_ones_compared(three: list[Evaluated]) -> None:
    ids = {f"q{number:03d}" for number in range(30, 120)}
    changed = "q031"
    fewer = [replace(p, question=p.question + "!" if p.id == changed else p.question) for p in three[1].predictions if p.id in ids]
    small = compare_evaluations([three[0], replace(three[1], predictions=fewer)])
    assert small.common == 89, "a question of another wording is another question"
    assert [each.asked for each in small.results] == [120, 90]
    assert "asked were first 120 and good 90. Only the 89 that all asked are compared." in small.notes[0]
    assert all(each.f1["retrieved"].n == small.answerable for each in small.results)


def test_one_model_under_two_names_does_not_differ(three: list[Evaluated]) -> None:
    same = compare_evaluations([three[0], replace(three[0], name="again")])
    assert same.sentence == "It is undecided whether again and first differ"
    assert "again answered every question as first did." in same.notes


def test_evaluations_without_a_common_question_or_context_are_refused(three: list[Evaluated]) -> None:
    others = replace(three[1], predictions=[replace(p, id=f"x{p.id}") for p in three[1].predictions])
    with pytest.raises(EvaluationError, match="no question was asked in all of first, good: compare"):
        compare_evaluations([three[0], others])
    closed = replace(three[1], predictions=[p for p in three[1].predictions if p.context == "closed-book"])
    served = replace(three[0], predictions=[p for p in three[0].predictions if p.context == "retrieved"])
    with pytest.raises(EvaluationError, match="no context in common"):
        compare_evaluations([served, closed])


def test_the_record_is_json(found: Several) -> None:
    data = json.loads(json.dumps(asdict(found), allow_nan=False))
    assert (data["format"], data["version"], data["context"]) == ("ragtune-comparison", 1, "retrieved")
    assert data["results"][1]["difference"]["n"] == data["answerable"]


def test_the_page_has_all_side_by_side_and_takes_no_text_for_html(three: list[Evaluated]) -> None:
    named = [replace(each, name=f"{each.name} {HOSTILE}") for each in three]
    text = render_several(compare_evaluations(named), named, "now")
    seen = tags(text)
    assert sum(tag == "script" for tag, _ in seen) == 2
    assert not any(tag == "img" or any(name.startswith("on") for name in attributes) for tag, attributes in seen)
    data = json.loads(text[text.index('id="data">') + 10 :].partition("</script>")[0])
    assert [side["style"] for side in data["sides"]] == ["run-0", "run-1", "run-2"]
    assert all(len(question["answers"]) == 3 for question in data["questions"])
    assert {question["outcome"] for question in data["questions"]} <= {"they differ", "all right", "all wrong"}
    assert text.count('class="curve arm-run-1"') >= 2, "its learning curve and the legend"


def test_two_evaluations_are_told_apart_as_won_and_lost(three: list[Evaluated]) -> None:
    text = render_several(compare_evaluations(three[:2]), three[:2], "now")
    data = json.loads(text[text.index('id="data">') + 10 :].partition("</script>")[0])
    assert data["outcomes"][0] == "won"


def test_a_terminal_of_80_columns_holds_it(found: Several) -> None:
    screen = Console(width=80, file=io.StringIO(), record=True)
    screen.print(several_table(found))
    text = screen.export_text()
    assert "good answers better than first" in text
    assert "train.rate: 0.0001 | 0.0003 | 0.0001" in text
    assert max(map(len, text.splitlines())) <= 80
    assert all(any(line.startswith(f"{name} ") for line in text.splitlines()) for name in ("first", "good", "other"))
