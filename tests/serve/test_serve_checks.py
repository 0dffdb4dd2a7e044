"""A judge grades a share of the answers in the background; what it says takes the place of counted words."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("openai", reason="openai is not installed")

from judge_server import fair, form, serve_judge
from made_traces import trace
from ragtune import Project
from ragtune.serve.checks import Checks
from ragtune.traces.records import Trace
from waiting import until


def opened(folder: Path, url: str, *overrides: str) -> Project:
    Project.init(folder)
    judge = ["judge.model='compatible:rule'", f"chat.base_urls={{compatible = '{url}'}}", "chat.retries=0", "traces.checked=1.0"]
    return Project(folder, overrides=[*judge, *overrides])


def graded(project: Project, id_: str, by: str = "judge") -> Trace:
    until(lambda: project.traces.find(id_).grounded_by == by)
    return project.traces.find(id_)


def test_the_judge_grades_what_it_is_given_and_the_queue_follows(tmp_path: Path) -> None:
    """The judge on loopback counts the words that stand in the passages: "by donkey" has none there."""
    with serve_judge(fair) as server:
        project = opened(tmp_path / "p", server.url)
        checks = Checks(project.workspace, project.settings, project.traces)
        invented, held = project.traces.record(trace(answer="donkey")), project.traces.record(trace(question="Is it long?"))
        for id_ in (invented, held):
            checks.offer(id_)
        assert (graded(project, invented).groundedness, graded(project, held).groundedness) == (0.0, 1.0)
        checks.close()
        assert [item.trace for item in project.review().items] == [invented]
        assert len(server.prompts) == 2
        assert "The crossing takes forty minutes." in server.prompts[0]


@pytest.mark.parametrize("overrides", [["traces.checked=0"], ["traces.keep=false"]])
def test_nobody_is_asked_who_need_not_be(tmp_path: Path, overrides: list[str]) -> None:
    with serve_judge(fair) as server:
        project = opened(tmp_path / "p", server.url, *overrides)
        checks = Checks(project.workspace, project.settings, project.traces)
        checks.offer(project.traces.record(trace()))
        checks.close()
        assert server.prompts == []


def test_the_share_is_about_what_is_set(tmp_path: Path) -> None:
    with serve_judge(fair) as server:
        project = opened(tmp_path / "p", server.url, "traces.checked=0.3")
        checks = Checks(project.workspace, project.settings, project.traces)
        ids = [project.traces.record(trace(question=f"Question {n}?")) for n in range(60)]
        for id_ in ids:
            checks.offer(id_)
        until(checks._waiting.empty)
        checks.close()
        assert 6 <= len({*server.prompts}) <= 34


def test_answers_without_a_grade_keep_the_count_and_deleted_ones_stop_nothing(tmp_path: Path) -> None:
    def odd(data: dict[str, Any]) -> dict[str, Any] | str | None:
        return "I think it is fine." if "malformed" in data["question"] else form(5, 1, 5, 5)

    with serve_judge(odd) as server:
        project = opened(tmp_path / "p", server.url)
        checks = Checks(project.workspace, project.settings, project.traces)
        malformed, last = project.traces.record(trace(question="malformed?")), project.traces.record(trace(question="the last?"))
        for id_ in (malformed, "tr-deleted", project.traces.record(trace(abstained=True)), last):
            checks.offer(id_)
        assert graded(project, last).groundedness == 0.0
        assert project.traces.find(malformed).grounded_by == "quotes"
        checks.close()


def test_a_grade_that_cannot_be_kept_is_the_only_one_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_judge(fair) as server:
        project = opened(tmp_path / "p", server.url)
        store = project.traces
        checks = Checks(project.workspace, project.settings, store)
        locked, last = store.record(trace(answer="donkey")), store.record(trace(question="Is it long?", answer="donkey"))
        keep = store.ground

        def ground(id_: str, value: float, by: Any) -> None:
            if id_ == locked:
                raise sqlite3.OperationalError("database is locked")
            keep(id_, value, by)

        monkeypatch.setattr(store, "ground", ground)
        for id_ in (locked, last):
            checks.offer(id_)
        assert graded(project, last).groundedness == 0.0
        assert store.find(locked).grounded_by == "quotes"
        checks.close()


def test_a_judge_that_cannot_be_asked_is_said_once_and_the_server_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    project = opened(tmp_path / "p", "http://127.0.0.1:9/v1", "chat.base_urls={}")
    checks = Checks(project.workspace, project.settings, project.traces)
    for n in range(3):
        checks.offer(project.traces.record(trace(question=f"Question {n}?")))
    until(lambda: "not judged any more" in caplog.text)
    checks.close()
    assert sum("not judged any more" in each.message for each in caplog.records) == 1
