"""``ragtune report`` on stored evaluations: the page made anew, several compared, no model needed for either."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ragtune import Project
from ragtune.cli import app
from ragtune.dataset.store import write_dataset
from ragtune.errors import ConfigError, ProjectError
from ragtune.evaluate.report_json import write_report_json
from ragtune.evaluate.score import score
from ragtune.evaluate.terminal import gate_table
from ragtune.pipeline.rules import VERSION, evaluation_key
from ragtune.serve.catalog import asked
from ragtune.workspace import Manifest, Workspace, write_bytes, write_manifest
from synthetic_evaluation import Evaluation, make_evaluation


def store(workspace: Workspace, name: str, made: Evaluation, rate: float) -> Path:
    """A dataset, a model and an evaluation as the commands leave them, but for the weights."""
    data, model, output = (
        workspace.artifact(kind, each) for kind, each in (("datasets", "data"), ("models", f"m-{name}"), ("evaluations", name))
    )
    if not data.exists():
        write_dataset(data, made.examples, made.passages)
        write_manifest(data, Manifest("datasets", "data", "d", {}, {"retrieve": {"k": 5}}))
    write_bytes(
        model / "metrics.jsonl", b'{"step": 1, "loss": 2.0, "device": "cpu"}\n{"step": 2, "loss": 1.5}\n{"step": 2, "loss": 1.25}\n'
    )
    train = {"train": {"learning_rate": rate, "epochs": 2}}
    write_manifest(model, Manifest("models", f"m-{name}", f"m{name}", {"dataset": "data"}, train, {"answers": 1200}, "2026-01-01", 660.0))
    write_report_json(score(made.predictions, made.examples, made.retrieved), output / "report.json")
    for file, records in (("predictions", made.predictions), ("passages", [*made.passages.values()])):
        lines = "".join(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in records)  # type: ignore[call-overload]
        write_bytes(output / f"{file}.jsonl", lines.encode())
    settings = {"evaluate": {"max_questions": 90}, "generate": {"max_new_tokens": 96}, "k": 5, "split": "test"}
    inputs = {"dataset": "data", "questions": "q" * 64, "corpus": "c" * 64, "model_names": {"tuned": f"m-{name}"}}
    write_manifest(output, Manifest("evaluations", name, f"e{name}", inputs, settings, created=f"2026-01-0{len(name)}T00:00:00"))
    return output


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    Project.init(folder)
    for name, tuned, rate in (("slow", 0.3, 1e-4), ("quick", 0.95, 5e-4)):
        skill = {"base": 0.3, "base-fewshot": 0.36, "tuned": tuned}
        store(Workspace(folder), name, make_evaluation(60, 24, skill=skill), rate)
    return folder


def test_the_page_is_made_anew_from_what_was_stored(project: Path) -> None:
    result = Project(project).report("quick")
    text = (Path(result.folder) / "report.html").read_text(encoding="utf-8")
    data = json.loads(text[text.index('id="data">') + 10 :].partition("</script>")[0])
    assert len(data["questions"]) == 60
    assert any(mark[3] == -1 for question in data["questions"] for mark in question["marks"]), "gold evidence, from the dataset"
    assert "Training took 11 minutes on cpu on 1,200 answers, once." in text
    assert "--split test --set evaluate.max_questions=90" in text
    assert "ragtune train --dataset data --name m-quick --set train.learning_rate=0.0005" in text
    assert "training: 2 at step 1, 1.25 at step 2." in text, "a step that was done again counts once"


def test_page_and_server_call_the_same_questions_won_where_the_worked_examples_were_not_asked(tmp_path: Path) -> None:
    Project.init(tmp_path)
    store(Workspace(tmp_path), "two", make_evaluation(30, 12, skill={"base": 0.1, "tuned": 0.9}), 1e-3)
    text = (Path(Project(tmp_path).report().folder) / "report.html").read_text(encoding="utf-8")
    data = json.loads(text[text.index('id="data">') + 10 :].partition("</script>")[0])
    won = [question["id"] for question in data["questions"] if question["outcome"] == "won"]
    assert len(won) > 10
    served = asked(Workspace(tmp_path), "two").questions
    assert [each["id"] for each in served if each["outcome"] == "won"] == won
    assert [each["change"] for each in served] == [question["change"] for question in data["questions"]]


def test_several_are_compared_in_a_page_and_as_json(project: Path) -> None:
    run = CliRunner().invoke(app, ["report", "slow", "quick", "--project", str(project), "--json"])
    assert run.exit_code == 0, run.output
    made = json.loads(run.stdout)
    folder, comparison = Path(made["folder"]), made["comparison"]
    assert comparison["sentence"] == "quick answers better than slow"
    assert comparison["settings"]["train.learning_rate"] == [1e-4, 5e-4]
    assert "evaluate.max_questions" not in comparison["settings"]
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == comparison
    assert "quick answers better than slow" in (folder / "report.html").read_text(encoding="utf-8")
    assert [each.name for each in Workspace(project).manifests("evaluations")] == ["slow", "quick"], "a comparison is no evaluation"
    turned = CliRunner().invoke(app, ["report", "quick", "slow", "--project", str(project)])
    assert "slow answers worse than quick" in turned.stdout


def test_a_gate_compares_how_often_the_evidence_is_cited_as_the_reports_have_it(project: Path) -> None:
    opened = Project(project)
    found = opened.compare_evaluated("slow", ["retrieved.cites_gold < 0", "retrieved.quotes_gold < 0"], model="m-quick")
    assert not found.failed
    cells = [opened.report(name).report.cell("tuned", "retrieved") for name in ("quick", "slow")]
    for checked, metric in zip(found.conditions, ("cites_gold", "quotes_gold"), strict=True):
        now, before = (cell.metrics[metric].value for cell in cells if cell is not None)
        assert checked.found == pytest.approx(now - before)


def test_evaluations_made_by_different_rules_are_compared_with_a_note_on_what_to_make_again(tmp_path: Path) -> None:
    Project.init(tmp_path)
    opened = Project(tmp_path)
    for name, version in (("old", VERSION - 1), ("now", VERSION), ("later", VERSION)):
        output = store(opened.workspace, name, make_evaluation(60, 24), 1e-3)
        made = opened.workspace.find("evaluations", name)
        write_manifest(output, replace(made, key=evaluation_key(made.settings, made.inputs, version)))
    note = f"old was made by other rules than evaluations are now (version {VERSION - 1}, now {VERSION})"
    gate = opened.compare_evaluated("old", model="m-now")
    (told,) = gate.notes
    assert told.startswith(note)
    assert "ragtune evaluate --model m-old --split test --set evaluate.max_questions=90" in told
    shown = Console(width=400, file=io.StringIO(), record=True)
    shown.print(gate_table(gate))
    assert note in shown.export_text()
    compared = opened.compare(["now", "old", "later"])
    assert [text for text in compared.comparison.notes if "rules" in text] == [told]
    assert note in (Path(compared.folder) / "report.html").read_text(encoding="utf-8")
    assert opened.compare_evaluated("later", model="m-now").notes == ()
    assert not any("rules" in text for text in opened.compare(["now", "later"]).comparison.notes)


def test_a_name_given_twice_or_unknown_is_an_error(project: Path) -> None:
    with pytest.raises(ConfigError, match="named twice in slow slow"):
        Project(project).compare(["slow", "slow"])
    with pytest.raises(ProjectError, match=r"no finished evaluation named other \(there are: slow, quick\)"):
        Project(project).compare(["slow", "other"])


def test_where_dataset_and_model_are_gone_the_page_shows_what_is_left(tmp_path: Path) -> None:
    Project.init(tmp_path)
    workspace = Workspace(tmp_path)
    output = store(workspace, "left", make_evaluation(30, 12), 1e-3)
    for kind, name in (("datasets", "data"), ("models", "m-left")):
        (workspace.artifact(kind, name) / "manifest.json").unlink()  # type: ignore[arg-type]
    (workspace.artifact("datasets", "data") / "test.jsonl").unlink()
    Project(tmp_path).report()
    text = (output / "report.html").read_text(encoding="utf-8")
    assert 'id="training"' not in text
    assert "ragtune evaluate --split test" in text
