"""The commands of the loop, on a project in which nothing was trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from made_traces import GOOD, trace
from ragtune import Project, cli
from ragtune.prompts import PROMPT_VERSION
from ragtune.workspace import Manifest, now, write_manifest


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    made = Project.init(tmp_path)
    for day, name in enumerate(("first", "second")):
        settings = {"prompt": PROMPT_VERSION, "k": 2}
        write_manifest(made.workspace.artifact("models", name), Manifest("models", name, name, {}, settings, created=f"2026-01-0{day + 1}"))
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["ragtune", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    assert stopped.value.code == code
    out, err = capsys.readouterr()
    return out if code == 0 else out + err


def test_the_queue_is_listed_shown_and_dismissed(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    id_ = project.traces.record(GOOD)
    project.traces.rate(id_, "down", reason="too short", correction="40 minutes")
    (item,) = json.loads(run(capsys, "review", "list", "--json"))["items"]
    assert item["why"] == ["thumbs down"]
    assert "thumbs down" in run(capsys, "review", "list")
    shown = run(capsys, "review", "show", item["id"])
    assert "too short" in shown
    assert "The crossing takes forty minutes." in shown
    assert "--unanswerable" in run(capsys, "review", "accept", item["id"], code=2)
    assert "dismissed" in run(capsys, "review", "dismiss", item["id"], "--note", "fine as it is")
    assert run(capsys, "review", "list").strip() == "nothing to review"
    (closed,) = json.loads(run(capsys, "review", "list", "--state", "dismissed", "--json"))["items"]
    assert closed["note"] == "fine as it is"
    assert "was dismissed on" in run(capsys, "review", "dismiss", item["id"], code=2)


def test_models_are_promoted_rolled_back_and_logged(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert "first serves now, second did before" in run(capsys, "promote", "first", "--note", "quick")
    assert json.loads(run(capsys, "promote", "base", "--json"))["previous"] == "first"
    assert "first serves now, base did before" in run(capsys, "rollback")
    assert [each["action"] for each in json.loads(run(capsys, "audit", "--json"))] == ["promote", "promote", "rollback"]
    assert "quick" in run(capsys, "audit")
    assert "named nothing" in run(capsys, "promote", "nothing", code=2)
    assert "say --against NAME too" in run(capsys, "promote", "first", "--fail-if", "retrieved.f1 < 0", code=2)


def test_hours_and_drift_are_there_before_anything_was_evaluated(project: Project) -> None:
    project.traces.record(trace(at=now()))
    seen = project.monitor(days=1)
    assert (seen.totals["answers"], seen.evaluation) == (1, None)
    assert {each.verdict for each in seen.drift.values()} == {"no baseline"}
