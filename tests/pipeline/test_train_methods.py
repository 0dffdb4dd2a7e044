"""Every way to train, through the commands: what a plan says, what a run writes, and that what it made answers and is evaluated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ragtune import Project, cli
from ragtune.dataset.store import read_dataset
from ragtune.pipeline import train as training
from ragtune.pipeline.records import TrainingPlan
from ragtune.rag import Answer
from tiny_project import write_project_with_dataset

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")


class Recorder:
    def __init__(self) -> None:
        self.finished: dict[str, str] = {}
        self.notes: list[str] = []

    def start(self, stage: str, total: float | None = None) -> None: ...

    def update(self, stage: str, done: float, detail: str = "", left: float | None = None) -> None: ...

    def finish(self, stage: str, message: str) -> None:
        self.finished[stage] = message

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def with_dataset(tmp_path_factory, tiny_chat, tiny_embedder) -> Path:
    return write_project_with_dataset(tmp_path_factory.mktemp("methods"), tiny_chat, tiny_embedder)


@pytest.fixture
def ready(with_dataset, tmp_path) -> Path:
    return shutil.copytree(with_dataset, tmp_path / "copy")


QUICK = ["evaluate.arms=['base', 'tuned']", "evaluate.contexts=['retrieved']", "evaluate.max_questions=3", "train.max_answers=8"]


def test_a_whole_model_is_evaluated_and_answers(ready):
    recorder = Recorder()
    project = Project(ready, overrides=[*QUICK, "train.method='full'", "train.watch_questions=2"], progress=recorder)
    made = project.train()
    folder = Path(made.folder)
    assert (folder / "model" / "model.safetensors").is_file()
    assert not (folder / "adapter").exists()
    assert any("whole models take 1e-5 to 1e-4" in note for note in recorder.notes)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert sum("validation_f1" in line for line in lines) == 3
    assert all(0 <= line["validation_f1"] <= 1 for line in lines if "validation_f1" in line)
    evaluation = project.evaluate(split="validation")
    arms = {(each.arm, each.change is None) for each in evaluation.report.forgetting}
    assert arms == {("base", True), ("tuned", False)}
    assert evaluation.report.forgetting[1].change.value != 0
    *_, answer = project.ask("Who built the mill of Calder?")
    assert isinstance(answer, Answer)
    # Again, and its cached answers are its own.
    assert project.evaluate(split="validation").report == evaluation.report


def test_what_a_run_took_stands_beside_what_was_predicted(ready):
    recorder = Recorder()
    made = Project(ready, overrides=["train.method='dora'", "train.answers_per_step=1", "train.epochs=4"], progress=recorder).train()
    figures = made.figures
    assert figures["steps"] >= 50
    assert figures["predicted_seconds"] > 0
    assert figures["predicted_memory"] == pytest.approx(figures["peak_memory"], rel=0.5)
    assert "s (predicted " in recorder.finished["train"]
    assert "GB at the peak (predicted " in recorder.finished["train"]


def test_a_dry_run_says_what_training_would_take_and_makes_nothing(ready, capsys, monkeypatch):
    def said(*options: str) -> str:
        monkeypatch.setattr("sys.argv", ["ragtune", "train", "--dry-run", *options, "--project", str(ready)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    before = sorted(path.name for path in (ready / ".ragtune").rglob("*"))
    plan = Project(ready).plan_tuning()
    assert isinstance(plan, TrainingPlan)
    assert (plan.questions * 2, plan.epochs) == (plan.forecast.answers, 2)
    assert plan.seconds > 0
    out = said()
    assert f"{plan.forecast.steps}, about" in out
    assert "for it" in out
    told = json.loads(said("--json"))
    assert told["forecast"]["steps"] == plan.forecast.steps
    assert told["forecast"]["peak"] > 0
    assert sorted(path.name for path in (ready / ".ragtune").rglob("*")) == before


def test_few_training_questions_are_told_with_what_helps(ready, monkeypatch):
    def notes(act: str, *overrides: str) -> list[str]:
        recorder = Recorder()
        getattr(Project(ready, overrides=overrides, progress=recorder), act)()
        return [note for note in recorder.notes if "training questions, and" in note]

    count = len(read_dataset(Path(Project(ready).dataset().folder)).train)
    (said,) = notes("dataset")
    assert said.startswith(f"{count} training questions, and there should be 100 at least")
    assert "'ragtune dataset --synthesise'" in said
    assert notes("train", "train.epochs=1") == [], "it was said when the dataset was made"
    monkeypatch.setattr(training, "FEW", count)
    assert notes("dataset") == []
    (sampled,) = notes("train", "train.epochs=1", "train.max_answers=8")
    assert sampled.startswith("8 training questions")


def test_a_dry_run_counts_the_writing_of_what_is_rehearsed_until_that_is_written(ready):
    def rehearsal(*overrides: str) -> float:
        plan = Project(ready, overrides=overrides).plan_tuning()
        assert isinstance(plan, TrainingPlan)
        assert plan.seconds == plan.forecast.seconds + plan.watched_seconds + plan.rehearsal_seconds
        return plan.rehearsal_seconds

    assert rehearsal("train.rehearsal=0") == 0
    assert rehearsal("train.rehearsal=1", "train.epochs=1") > 0
    Project(ready, overrides=["train.rehearsal=1", "train.epochs=1"]).train()
    assert rehearsal("train.rehearsal=1", "train.epochs=1") == 0
    assert rehearsal("train.rehearsal=1", "train.epochs=1", "train.seed=7") > 0


def test_settings_that_change_no_weight_make_no_new_model(ready):
    first = Project(ready, overrides=["train.epochs=1"]).train()
    again = Project(ready, overrides=["train.epochs=1", "train.watch_questions=3", "train.gradient_checkpointing=true"]).train()
    assert (again.name, again.made) == (first.name, False)
    assert Project(ready, overrides=["train.epochs=1", "train.rslora=true"]).train().name != first.name
