"""Retrieval measured and calibrated on a project's own questions, and what search and ask make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragtune import Project
from ragtune.errors import EvaluationError, ProjectError
from ragtune.progress import Silent
from ragtune.rag import NOTHING_FOUND, Answer
from tiny_project import Sources

pytest.importorskip("faiss", reason="faiss is not installed")


@pytest.fixture
def built(project: Path) -> Path:
    Project(project).ingest()
    Project(project).dataset()
    return project


def test_the_report_agrees_with_the_dataset_and_lists_every_miss(built: Path) -> None:
    opened = Project(built)
    result = opened.evaluate_retrieval(split="train")
    report = result.report
    figures = opened.workspace.find("datasets", None).figures
    assert report.overall.metrics["recall@2"].value == pytest.approx(figures["recall"]["train"], abs=1e-4)
    assert len(report.misses) == round((1 - figures["recall"]["train"]) * report.overall.n)
    assert sum(row.n for row in report.sources) == report.overall.n
    written = json.loads((Path(result.folder) / "report.json").read_text(encoding="utf-8"))
    assert len(written["misses"]) == len(report.misses)
    assert all(miss.question in (Path(result.folder) / "report.html").read_text(encoding="utf-8") for miss in report.misses)


def test_shares_of_questions_and_of_evidence_are_told_apart(project: Path) -> None:
    told: dict[str, str] = {}

    class Told(Silent):
        def finish(self, stage: str, message: str) -> None:
            told[stage] = message

    opened = Project(project, progress=Told())
    opened.ingest()
    figures = opened.dataset().figures
    assert f", all evidence in the top 2 for {figures['recall']['validation']:.0%} of those of validation: " in told["dataset"]
    recall = opened.evaluate_retrieval().report.overall.metrics["recall@2"].value
    assert f"{recall:.2f} of the evidence in the top 2, " in told["evaluate"]


def test_it_measures_retrieval_as_it_is_set_now(built: Path) -> None:
    dense = Project(built, overrides=["retrieve.dense_weight=1"]).evaluate_retrieval(split="train").report
    lexical = Project(built, overrides=["retrieve.dense_weight=0"]).evaluate_retrieval(split="train").report
    assert dense.overall.metrics["mrr"].value < lexical.overall.metrics["mrr"].value, "the tiny embedder's weights mean nothing"


def test_each_reading_of_the_test_questions_counts_once(built: Path) -> None:
    opened = Project(built)
    assert opened.evaluate_retrieval(split="test").report.test_readings == 1
    assert opened.evaluate_retrieval(split="test").report.test_readings == 1
    assert Project(built, overrides=["retrieve.dense_weight=1"]).evaluate_retrieval(split="test").report.test_readings == 2
    assert opened.evaluate_retrieval().report.test_readings == 0


def test_questions_of_documents_that_changed_are_left_out(built: Path, sources: Sources) -> None:
    opened = Project(built)
    before = opened.evaluate_retrieval(split="train").report
    (document,) = {gold.document for gold in _first_evidence(opened)}
    path = sources.documents / document
    path.write_text("New words first.\n\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    opened.ingest()
    opened.index()
    after = opened.evaluate_retrieval(split="train").report
    assert after.stale
    assert after.overall.n + len(after.stale) == before.overall.n


def _first_evidence(opened: Project):
    from ragtune.dataset.store import read_dataset

    data = read_dataset(opened.workspace.artifact("datasets", opened.workspace.find("datasets", None).name))
    return next(example.evidence for example in data.train if example.evidence)


def test_a_calibrated_threshold_is_used_while_scores_are_made_the_same_way(built: Path) -> None:
    opened = Project(built)
    question = "Who built the mill of Calder?"
    assert opened.search(question)[0].sure is None
    threshold = opened.evaluate_retrieval(precision=0.3).report.threshold
    assert threshold is not None
    assert threshold.precision >= 0.3
    assert opened.evaluate_retrieval().report.threshold == threshold
    hits = opened.search(question)
    assert [hit.sure for hit in hits] == [hit.score >= round(threshold.score, 4) for hit in hits]
    assert Project(built, overrides=["retrieve.fusion=rrf"]).search(question)[0].sure is None

    path = built / ".ragtune" / "threshold.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    kept["threshold"]["score"] = 1e9
    path.write_text(json.dumps(kept), encoding="utf-8")
    (answer,) = opened.ask(question, model="base")
    assert isinstance(answer, Answer)
    assert (answer.markdown, answer.abstained, answer.raw) == (NOTHING_FOUND, True, "")
    assert len(answer.passages) == 2


def test_no_threshold_is_chosen_on_test_questions_and_none_that_is_not_precise(built: Path) -> None:
    opened = Project(built)
    with pytest.raises(EvaluationError, match="made on validation"):
        opened.evaluate_retrieval(split="test", precision=0.9)
    with pytest.raises(EvaluationError, match="there is no split"):
        opened.evaluate_retrieval(split="all")
    assert not (built / ".ragtune" / "threshold.json").exists()


def test_what_is_expanded_is_trained_on_as_it_is_served(built: Path) -> None:
    opened = Project(built, overrides=["retrieve.expand=section", "prepare.chunk_size=32"])
    opened.ingest()
    made = opened.dataset()
    from ragtune.dataset.store import read_dataset

    data = read_dataset(Path(made.folder))
    several = [passage for passage in data.passages.values() if len(passage.chunk_ids) > 1]
    assert several
    texts = {path.name: path.read_text(encoding="utf-8") for path in Path(opened.settings.documents[0]).iterdir()}
    assert all(len(passage.spans) == 1 and passage.text in texts[passage.document] for passage in several)
    *_, answer = opened.ask("Who built the mill of Calder?", model="base", k=3)
    assert isinstance(answer, Answer)
    assert all(data.passages.get(passage.id, passage) == passage for passage in answer.passages)
    assert {passage.id for passage in answer.passages} & data.passages.keys()


def test_weights_are_compared_on_training_and_measured_on_validation_questions(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragtune.pipeline import weigh

    monkeypatch.setattr(weigh, "_FEWEST", 2)
    before = json.dumps(_counted(built))
    result = Project(built).weigh_retrieval()
    at = {row.weight: row for row in result.weights}
    assert list(at) == [step / 10 for step in range(11)]
    for weight in (0.0, 0.5, 1.0):
        for split in ("train", "validation"):
            report = Project(built, overrides=[f"retrieve.dense_weight={weight}"]).evaluate_retrieval(split=split).report
            row = at[weight]
            assert (row.training if split == "train" else row.validation) == pytest.approx(report.overall.metrics["ndcg@10"].value)
    assert at[result.best].training == max(row.training for row in result.weights)
    assert result.difference.value == pytest.approx(at[result.best].validation - at[result.current].validation)
    assert json.dumps(_counted(built)) == before, "no test question is read"


def _counted(project: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in (project / ".ragtune").glob("*readings*")}


def test_weights_of_few_questions_are_refused(built: Path) -> None:
    with pytest.raises(EvaluationError, match="add questions"):
        Project(built).weigh_retrieval()


def test_a_hosted_model_without_its_provider_is_told_how_it_is_named(built: Path) -> None:
    with pytest.raises(ProjectError, match="openai:gpt-5-mini"):
        list(Project(built).ask("Who built the mill of Calder?", model="gpt-5-mini"))
