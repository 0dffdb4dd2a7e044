"""A whole evaluation with a judge: a rule on loopback, a local model, and a small real model behind a server."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_run import Recorder

from judge_server import fair, serve_judge
from ragtune import Project
from ragtune.errors import ConsentError
from ragtune.evaluate.report_json import read_report_json
from ragtune.pipeline import judge as pipeline_judge
from ragtune.pipeline.records import RunResult
from ragtune.types import Prediction
from tiny_project import write_project, write_sources

if TYPE_CHECKING:
    from servers import Server

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")
pytest.importorskip("openai", reason="openai is not installed")


@pytest.fixture(scope="module")
def judged(tmp_path_factory, tiny_chat, tiny_embedder) -> tuple[Path, RunResult, Recorder]:
    root = tmp_path_factory.mktemp("judged")
    project = write_project(root / "project", write_sources(root / "sources"), tiny_chat, tiny_embedder)
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGTUNE_CACHE", str(root / "cache"))
        with serve_judge(fair) as server:
            overrides = ["judge.model=compatible:rule", "judge.questions=5", f'chat.base_urls={{compatible = "{server.url}"}}']
            result = Project(project, overrides=overrides, progress=recorder).run()
            asked = len(server.prompts)
            assert not Project(project, overrides=overrides).evaluate().made
            assert len(server.prompts) == asked, "a finished evaluation is not judged again"
    return project, result, recorder


def test_a_run_with_a_judge_reports_grades_and_keeps_them(judged):
    _, result, recorder = judged
    folder = Path(result.evaluation.folder)
    report = read_report_json(folder / "report.json")
    assert report.judge is not None
    assert (report.judge.model, report.judge.questions, report.judge.sound) == ("compatible:rule", 5, True)
    assert "judge" in recorder.finished
    lines = [json.loads(line) for line in (folder / "grades.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(line["kind"] == "grade" for line in lines) == 15
    assert sum(line["kind"] == "anchor" for line in lines) == 10
    assert 'id="judge"' in (folder / "report.html").read_text(encoding="utf-8")
    prediction = json.loads((folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert prediction.keys() == {field.name for field in fields(Prediction)}


def test_a_judge_makes_another_evaluation_and_none_leaves_the_key_as_it_was(judged):
    project, result, _ = judged
    assert Project(project).workspace.find("evaluations", result.evaluation.name).settings["judge"]["questions"] == 5
    without = Project(project).evaluate()
    assert without.made
    assert without.report.judge is None
    assert not (Path(without.folder) / "grades.jsonl").exists()
    settings = Project(project).workspace.find("evaluations", without.name).settings
    assert "judge" not in settings
    assert "thinking" not in settings


def test_a_paid_judge_is_asked_where_somebody_agreed_and_no_reading_is_counted_before(judged):
    project, _, _ = judged
    readings = project / ".ragtune" / "test_readings.json"
    before, recorder = readings.read_bytes(), Recorder()
    with serve_judge(fair) as server:
        overrides = ["judge.model=openai:gpt-5-mini", "judge.questions=3", f'chat.base_urls={{openai = "{server.url}"}}']
        (project / ".env").write_text("OPENAI_API_KEY=sk-test-0123456789\n", encoding="utf-8")
        paid = Project(project, overrides=[*overrides, 'chat.prices={"openai:gpt-5-mini" = [10, 10]}'], progress=recorder)
        with pytest.raises(ConsentError, match=r"openai:gpt-5-mini judges in \d+ calls, about [\d,]+ tokens, for about \$0\.\d+.*--yes"):
            paid.evaluate()
        assert (server.prompts, readings.read_bytes()) == ([], before)
        assert any("shut down on 2026-12-11" in note for note in recorder.notes)
        told: list[str] = []
        assert paid.evaluate(confirm=lambda plan: not told.append(plan)).report.judge is not None
        estimate = float(told[0].split("about $")[1].split(";")[0])
        assert estimate == pytest.approx(server.tokens * 10 / 1e6, rel=0.5)


def test_a_local_model_that_cannot_judge_is_exposed_and_breaks_nothing(judged, tiny_chat, monkeypatch):
    project, _, _ = judged
    monkeypatch.setattr(pipeline_judge, "MAX_TOKENS", 16)
    report = Project(project, overrides=[f"judge.model=local:{tiny_chat}", "judge.questions=1"]).evaluate().report
    assert report.judge.anchors_kept == 0
    assert all(sum(cell.failed.values()) == cell.asked == 1 for cell in report.judge.cells)
    assert report.judge.notes[0].startswith("This judge cannot tell right from wrong")


def test_a_small_real_model_as_judge_is_exposed_by_the_anchors(judged, llama_server: Server, monkeypatch):
    project, _, _ = judged
    monkeypatch.setenv("COMPATIBLE_API_KEY", llama_server.key)
    monkeypatch.setattr(pipeline_judge, "MAX_TOKENS", 24)
    overrides = [f"judge.model=compatible:{llama_server.model}", "judge.questions=1", "evaluate.contexts=['retrieved']"]
    report = Project(project, overrides=[*overrides, f'chat.base_urls={{compatible = "{llama_server.url}"}}']).evaluate().report
    assert not report.judge.sound
    assert all(cell.asked == 1 for cell in report.judge.cells)
