"""The report as a whole, from synthetic predictions."""

from __future__ import annotations

import json
import os
import random
import stat
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ragtune.errors import EvaluationError
from ragtune.evaluate.answers import answer_metrics
from ragtune.evaluate.contamination import contamination, contamination_words
from ragtune.evaluate.decide import decide, named_contrast
from ragtune.evaluate.quoting import quote_metrics
from ragtune.evaluate.report import ClosedBook, Contrast, Report
from ragtune.evaluate.report_json import read_report_json, report_from_json, report_to_json, write_report_json
from ragtune.evaluate.score import score
from ragtune.evaluate.terminal import terminal_table
from ragtune.types import Estimate, Evidence, Quote
from synthetic_evaluation import Evaluation, make_evaluation


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return make_evaluation(120, 40)


@pytest.fixture(scope="module")
def report(evaluation: Evaluation) -> Report:
    return score(evaluation.predictions, evaluation.examples, evaluation.retrieved, evaluation.passages)


def contrast(low: float | None, high: float | None, value: float = 0.1) -> Contrast:
    return Contrast("tuned", "base-fewshot", "retrieved", "all", "f1", 0.4, 0.4 - value, Estimate(value, low, high, 131), 30, 0.01)


def test_better_only_where_the_whole_interval_is_above_zero() -> None:
    assert decide(contrast(0.22, 0.39, 0.31)) == (
        "better",
        "The tuned model answers better: F1 0.40 against 0.09 for the base model with two worked examples, difference "
        "+0.31 [0.22, 0.39] on 131 questions it was not trained on.",
    )
    assert decide(contrast(-0.01, 0.2))[0] == "undecided"
    assert decide(contrast(0.0, 0.2))[0] == "undecided"
    assert decide(contrast(-0.3, -0.02, -0.1))[0] == "worse"
    assert "[−0.30, −0.02]" in decide(contrast(-0.3, -0.02, -0.1))[1]


def test_undecided_where_there_is_nothing_to_decide_on(evaluation: Evaluation) -> None:
    assert decide(None)[0] == "undecided"
    assert decide(contrast(None, None))[0] == "undecided"
    alone = [p for p in evaluation.predictions if p.arm == "tuned"]
    found = score(alone, evaluation.examples, evaluation.retrieved)
    assert (found.decision, found.named) == ("undecided", None)
    untuned = [p for p in evaluation.predictions if p.arm != "tuned"]
    found = score(untuned, evaluation.examples, evaluation.retrieved)
    assert (found.decision, found.named) == ("undecided", None)
    assert found.sentence == "There is nothing to decide: the tuned model was not asked (evaluate.arms does not name it)."


def test_arms_that_differ_by_chance_alone_are_seldom_told_apart(evaluation: Evaluation) -> None:
    shown = [p for p in evaluation.predictions if p.context == "retrieved"]
    left, right = ([p for p in shown if p.arm == arm] for arm in ("base-fewshot", "tuned"))
    groups = sorted({p.group for p in shown})
    decisions = []
    for seed in range(40):
        rng = random.Random(seed)
        swap = {group: rng.random() < 0.5 for group in groups}  # whole groups change sides: then there is no true difference
        tuned = [b if swap[a.group] else a for a, b in zip(right, left, strict=True)]
        base = [a if swap[a.group] else b for a, b in zip(right, left, strict=True)]
        decisions.append(decide(named_contrast({("tuned", "retrieved"): tuned, ("base-fewshot", "retrieved"): base}))[0])
    assert decisions.count("undecided") >= 34  # 38 are expected


def test_the_named_contrast_is_the_paired_mean_over_common_answerable_questions(evaluation: Evaluation, report: Report) -> None:
    f1 = {
        arm: {p.id: answer_metrics(p)["f1"] for p in evaluation.predictions if p.arm == arm and p.context == "retrieved" and p.references}
        for arm in ("tuned", "base-fewshot")
    }
    pairs = [f1["tuned"][key] - f1["base-fewshot"][key] for key in f1["tuned"]]
    assert report.named is not None
    assert report.named.difference.value == pytest.approx(sum(pairs) / len(pairs))
    assert report.named.difference.n == len(pairs)
    assert report.named.p_holm is None
    assert report.decision == "better"


def test_other_contrasts_are_corrected_and_do_not_hold_the_named_one(report: Report) -> None:
    keys = [(c.arm, c.against, c.context, c.stratum) for c in report.contrasts]
    assert ("tuned", "base-fewshot", "retrieved", "all") not in keys
    assert ("tuned", "base-fewshot", "retrieved", "new_documents") in keys
    assert all(c.p_holm is not None and c.p is not None and c.p_holm >= c.p for c in report.contrasts)


def test_the_strata_add_up(report: Report) -> None:
    whole = report.cell("tuned", "retrieved", "all")
    parts = [report.cell("tuned", "retrieved", "new_questions"), report.cell("tuned", "retrieved", "new_documents")]
    assert whole is not None
    assert whole.questions == sum(part.questions for part in parts if part is not None) == report.questions
    assert whole.metrics["f1"].n == report.answerable


def test_exact_answers_of_the_base_without_passages_are_counted(evaluation: Evaluation, report: Report) -> None:
    asked = [p for p in evaluation.predictions if (p.arm, p.context) == ("base", "closed-book") and p.references]
    assert report.closed_book == ClosedBook(0, len(asked))
    first, second, *_ = asked
    known = {
        id(first): replace(first, answer=first.references[0].upper()),
        id(second): replace(second, answer=f"It is {second.references[0]}"),  # holds the answer, and is not exact
    }
    found = score([known.get(id(p), p) for p in evaluation.predictions], evaluation.examples, evaluation.retrieved)
    assert found.closed_book == ClosedBook(1, len(asked))
    others = [p for p in evaluation.predictions if p.context != "closed-book"]
    assert score(others, evaluation.examples, evaluation.retrieved).closed_book is None


def test_no_recall_is_claimed_deeper_than_was_retrieved(report: Report) -> None:
    assert set(report.retrieval[0].metrics) == {"recall@1", "recall@3", "recall@5", "ndcg@5", "mrr"}


def test_few_groups_and_repeated_readings_are_said_in_words() -> None:
    small = make_evaluation(24, 8)
    found = score(small.predictions, small.examples, small.retrieved, test_readings=3)
    assert any("fewer than 20" in note for note in found.notes)
    assert any("read 3 times" in note for note in found.notes)


def test_seeds_share_a_question_so_n_counts_questions(evaluation: Evaluation, report: Report) -> None:
    doubled = [*evaluation.predictions, *(replace(p, seed=1) for p in evaluation.predictions)]
    again = score(doubled, evaluation.examples, evaluation.retrieved)
    assert again.named == report.named
    first, second = again.cell("tuned", "retrieved"), report.cell("tuned", "retrieved")
    assert first is not None
    assert second is not None
    assert first.metrics["f1"].n == second.metrics["f1"].n
    assert first.metrics["f1"].low == pytest.approx(second.metrics["f1"].low)


def test_the_order_of_predictions_changes_nothing(evaluation: Evaluation, report: Report) -> None:
    shuffled = list(evaluation.predictions)
    random.Random(3).shuffle(shuffled)
    assert report_to_json(score(shuffled, evaluation.examples, evaluation.retrieved, evaluation.passages)) == report_to_json(report)


def test_quotes_are_counted_by_answer_and_by_quote(evaluation: Evaluation) -> None:
    gold = (Evidence("d", 10, 20, "0123456789"),)
    quotes = (Quote("a", True, "d", 19, 25), Quote("b", False), Quote("c", True, "d", 20, 30))
    prediction = replace(evaluation.predictions[0], context="retrieved", quotes=quotes, abstained=False)
    assert quote_metrics(prediction, gold) == {
        "quotes": (1, 1),
        "quotes_valid": (pytest.approx(2 / 3), 3),
        "quotes_gold": (1, 1),
        "cites_gold": (1, 1),
    }
    beside = replace(prediction, quotes=quotes[1:])
    assert quote_metrics(beside, gold)["quotes_gold"] == (0, 1)
    found = replace(prediction, quotes=(replace(quotes[0], found=True),))
    assert quote_metrics(found, gold) == {"quotes": (0, 1), "cites_gold": (1, 1)}
    assert quote_metrics(replace(prediction, quotes=()), gold) == {"quotes": (0, 1), "cites_gold": (0, 1)}
    assert quote_metrics(replace(prediction, context="closed-book"), gold) == {}
    assert quote_metrics(replace(prediction, quotes=(), abstained=True), gold) == {}


def test_answers_cut_off_and_going_round_are_counted(evaluation: Evaluation) -> None:
    tuned = [p for p in evaluation.predictions if (p.arm, p.context) == ("tuned", "retrieved")]
    changed = [
        replace(p, finished=False, raw="Answer: one two three " * 9 if n < 3 else p.raw) if n < 10 else p for n, p in enumerate(tuned)
    ]
    metrics = score(changed, evaluation.examples, {}).cell("tuned", "retrieved").metrics
    assert metrics["cut_off"].value == pytest.approx(10 / len(tuned))
    assert metrics["looping"].value == pytest.approx(3 / len(tuned))


def test_throughput_is_answers_over_seconds(evaluation: Evaluation, report: Report) -> None:
    cell = next(c for c in report.cost if (c.arm, c.context) == ("tuned", "retrieved"))
    seconds = [p.seconds for p in evaluation.predictions if (p.arm, p.context) == ("tuned", "retrieved")]
    assert cell.metrics["answers_per_second"].value == pytest.approx(len(seconds) / sum(seconds))


def test_report_json_comes_back_as_it_was(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report = replace(report, unasked={"ocr": 8})
    write_report_json(report, path)
    assert read_report_json(path) == report
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_a_report_of_before_the_audit_is_read(report: Report) -> None:
    data = report_to_json(report)
    data["needs"] = []
    del data["closed_book"], data["unasked"], data["strata"]
    assert report_from_json(data) == replace(report, closed_book=None, strata=())


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX only")
def test_report_json_is_on_the_disk_with_its_name(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda at: (synced.append(stat.S_ISDIR(os.fstat(at).st_mode)), real(at)))
    write_report_json(report, tmp_path / "report.json")
    assert synced == [False, True], "the file, then its folder"


def test_every_figure_in_report_json_has_value_bounds_and_n(report: Report) -> None:
    data = json.loads(json.dumps(report_to_json(report), allow_nan=False))
    figures = [figure for part in ("grid", "retrieval", "abstention", "cost") for cell in data[part] for figure in cell["metrics"].values()]
    figures += [contrast["difference"] for contrast in [data["named"], *data["contrasts"]]] + [kind["f1"] for kind in data["kinds"]]
    figures += [figure for part in data["strata"] for figure in (*part["f1"].values(), part["difference"])]
    assert len(figures) > 100
    for figure in figures:
        assert set(figure) == {"value", "low", "high", "n"}
        assert figure["low"] is None or figure["low"] <= figure["value"] <= figure["high"]


def test_a_file_that_is_no_report_is_named(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"format": "other"}')
    with pytest.raises(EvaluationError, match="'other'"):
        read_report_json(path)
    with pytest.raises(EvaluationError, match=r"missing\.json"):
        read_report_json(tmp_path / "missing.json")


def test_the_terminal_shows_grid_decision_retrieval_and_quotes(report: Report) -> None:
    out = StringIO()
    Console(file=out, width=200, color_system=None).print(terminal_table(report))
    text = out.getvalue()
    assert report.sentence in text
    assert report.closed_book is not None
    assert f"the base model answers {report.closed_book.exact} of {report.closed_book.n} answerable questions exactly" in text
    for words in ("base-fewshot", "oracle+distractors", "recall@5", "of answers quote", "n = "):
        assert words in text


def test_the_named_contrast_is_given_without_questions_that_may_have_been_known(evaluation: Evaluation, report: Report) -> None:
    answerable = sorted({p.id for p in evaluation.predictions if p.references})
    near, trained = answerable[:5], [*answerable[3:9], "of another dataset"]
    closed = {
        p.id
        for p in evaluation.predictions
        if (p.arm, p.context) == ("base", "closed-book") and p.references and answer_metrics(p)["exact_match"] == 1
    }
    found = contamination(evaluation.predictions, near, trained)
    left_out = {*near, *trained[:-1], *closed}
    assert (found.answerable, found.near_identical, found.evidence_trained) == (len(answerable), 5, 6)
    assert (found.closed_book, found.left_out) == (len(closed), len(left_out))
    assert found.difference.n == report.named.difference.n - len(left_out)
    others = [p for p in evaluation.predictions if p.id not in left_out]
    again = score(others, evaluation.examples, evaluation.retrieved).named
    assert (found.value, found.value_against, found.difference) == (again.value, again.value_against, again.difference)
    words = contamination_words(found)
    assert "5 nearly repeat a training question and 6 have evidence that training answers quote" in words
    assert f"on the {found.difference.n} others F1 is" in words
    assert contamination_words(contamination([p for p in others if p.context != "closed-book"], [], [])) == ""
    everything = contamination(evaluation.predictions, answerable, [])
    assert everything.difference is None
    assert "too few are left" in contamination_words(everything)
    untuned = contamination_words(contamination([p for p in evaluation.predictions if p.arm == "base"], ["q001"], []))
    assert "1 nearly repeat a training question" in untuned
    assert "too few" not in untuned, "there is nothing to compare, however many are left"
    data = report_to_json(replace(report, contamination=found))
    assert report_from_json(json.loads(json.dumps(data))).contamination == found
