"""How sure a tuned model is: learned from validation, kept, shown, and used where a precision is wanted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ragtune import Project
from ragtune.errors import ProjectError
from ragtune.evaluate.predictions import read_predictions
from ragtune.progress import Silent
from ragtune.rag import Answer
from tiny_project import fact, write_project, write_sources

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

QUICK = [
    "train.epochs=1",
    "train.max_answers=8",
    "dataset.validation_share=0.35",
    'evaluate.arms=["base-fewshot", "tuned"]',
    'evaluate.contexts=["distractors", "retrieved"]',
]


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, tiny_chat, tiny_embedder) -> Path:
    root = tmp_path_factory.mktemp("confidence")
    folder = write_project(root / "project", write_sources(root / "sources", 12, 8), tiny_chat, tiny_embedder)
    project = Project(folder, overrides=QUICK)
    project.ingest()
    project.dataset()
    project.train(name="tuned")
    project.evaluate(name="first")
    return folder


def test_the_tuned_model_is_calibrated_on_validation_alone(evaluated):
    kept = json.loads((evaluated / ".ragtune" / "models" / "tuned" / "confidence.json").read_text())
    dataset = next((evaluated / ".ragtune" / "datasets").iterdir())
    validation = [json.loads(line) for line in (dataset / "validation.jsonl").read_text().splitlines()]
    assert len(kept["rated"]) == len(validation) + sum(bool(each["oracles"]) for each in validation)
    without = [each for each in kept["rated"] if each["weight"] != 1]
    assert len(without) == sum(bool(each["oracles"]) for each in validation)
    assert not any(each["right"] for each in without)
    shares = sum(each["weight"] for each in without) / sum(each["weight"] for each in kept["rated"])
    assert shares == pytest.approx(0.2)


def test_every_answer_of_the_tuned_model_has_a_confidence_and_thresholds_are_shown(evaluated):
    folder = evaluated / ".ragtune" / "evaluations" / "first"
    predictions = read_predictions(folder / "predictions.jsonl")
    assert all((each.confidence is not None) == (each.arm == "tuned") for each in predictions)
    assert not any(each.withheld for each in predictions)
    report = json.loads((folder / "report.json").read_text())
    cells = {(each["arm"], each["context"]): each["metrics"] for each in report["abstention"]}
    assert "auroc_calibrated" in cells["tuned", "distractors"]
    assert "auroc_calibrated" not in cells["base-fewshot", "distractors"]
    assert 0 < cells["tuned", "distractors"]["always_answer"]["value"] <= 0.5  # those with their evidence that retrieval found
    assert "distractors" not in {each["context"] for each in report["grid"]}
    coverage = [each["coverage"]["value"] for each in report["thresholds"]]
    assert coverage == sorted(coverage, reverse=True)
    page = (folder / "report.html").read_text()
    assert "Answering only where it is sure" in page
    short = [each for each in report["thresholds"] if each["expected"] < each["wanted"]]
    assert short, "an untrained model's answers should not be sure to be right"
    assert all(f"{each['wanted']:.0%}, not reached: at best {each['expected']:.0%} on validation" in page for each in short)


def test_a_precision_withholds_answers_when_evaluated_and_when_asked(evaluated, tmp_path):
    folder = shutil.copytree(evaluated, tmp_path / "copy")
    project = Project(folder, overrides=[*QUICK, "generate.precision=1.0"])
    result = project.evaluate(name="strict")
    predictions = [each for each in read_predictions(Path(result.folder) / "predictions.jsonl") if each.arm == "tuned"]
    withheld = [each for each in predictions if each.withheld]
    assert withheld, "no answer of a model that is hardly trained should be sure to be right"
    assert all(each.abstained and not each.answer and not each.quotes and each.raw for each in withheld)
    lowest = min((each.confidence for each in predictions if not each.withheld and not each.abstained), default=float("inf"))
    assert lowest > max(each.confidence for each in withheld)

    question = f"Who built the mill of Calder? {fact('Calder', 'mill')}"
    *pieces, answer = project.ask(question)
    assert isinstance(answer, Answer)
    assert pieces == []
    assert 0 <= answer.confidence <= 1
    told = Notes()
    list(Project(folder, overrides=[*QUICK, "generate.precision=1.0"], progress=told).ask(question))
    assert any("generate.precision = 1 was not reached on validation: at best" in note for note in told.notes)
    free_told = Notes()
    *_, free = Project(folder, progress=free_told).ask(question)
    assert not free_told.notes
    assert free.confidence == pytest.approx(answer.confidence, abs=1e-3)


def test_an_arm_that_a_precision_cannot_hold_back_is_named(evaluated, tmp_path):
    """An adapter from elsewhere has no validation questions to learn from."""
    folder = shutil.copytree(evaluated, tmp_path / "copy")
    elsewhere = shutil.copytree(folder / ".ragtune" / "models" / "tuned" / "adapter", tmp_path / "downloaded" / "peft")
    report = Project(folder, overrides=[*QUICK, "generate.precision=1.0"]).evaluate(model=str(elsewhere)).report
    assert any("generate.precision = 1 withheld no answer of tuned" in note for note in report.notes)


def test_a_precision_without_validation_answers_says_what_to_do(evaluated, tmp_path):
    folder = shutil.copytree(evaluated, tmp_path / "copy")
    (folder / ".ragtune" / "models" / "tuned" / "confidence.json").unlink()
    with pytest.raises(ProjectError, match="run 'ragtune evaluate --model tuned' first"):
        list(Project(folder, overrides=["generate.precision=0.8"]).ask("Who built the mill of Calder?"))


def test_few_validation_questions_calibrate_nothing_and_say_so(tmp_path, tiny_chat, tiny_embedder):
    told = Notes()
    folder = write_project(tmp_path / "project", write_sources(tmp_path / "sources", 4, 3), tiny_chat, tiny_embedder)
    project = Project(folder, overrides=QUICK[:2], progress=told)
    project.ingest()
    project.dataset()
    project.train()
    report = project.evaluate().report
    assert report.thresholds == ()
    assert any("fewer than 20 validation questions" in note for note in told.notes)
