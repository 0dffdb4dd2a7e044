"""A teacher and a judge of each vendor, through the vendor's own protocol and SDK."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")
pytest.importorskip("openai", reason="openai is not installed")
pytest.importorskip("google.genai", reason="google-genai is not installed")
pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")

from test_run import Recorder

from judge_server import fair
from ragtune import Project
from teacher_server import TeacherServer
from tiny_project import write_project, write_sources
from vendors import GEMINI, OPENAI, Vendors, serve


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, tiny_chat: Path, tiny_embedder: Path) -> Path:
    """A project with a tuned model whose answers are known, so that only the judge is asked."""
    root = tmp_path_factory.mktemp("vendors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGTUNE_CACHE", str(root / "cache"))
        project = write_project(root / "project", write_sources(root / "sources"), tiny_chat, tiny_embedder)
        Project(project, overrides=["evaluate.contexts=['retrieved']"]).run()
    return project


@pytest.fixture
def teachers() -> Iterator[Vendors]:
    teacher = TeacherServer()
    try:
        with serve(lambda request: teacher.answer(request)["choices"][0]["message"]["content"]) as vendors:
            yield vendors
    finally:
        teacher.close()


@pytest.fixture
def judges() -> Iterator[Vendors]:
    def grade(request: dict[str, Any]) -> str:
        data, _ = json.JSONDecoder().raw_decode(request["messages"][1]["content"])
        return json.dumps(fair(data))

    with serve(grade) as vendors:
        yield vendors


@pytest.mark.parametrize("model", [*OPENAI, *GEMINI])
def test_a_teacher_writes_questions_that_come_through(model: str, evaluated: Path, teachers: Vendors, tmp_path: Path):
    project = _copy(evaluated, tmp_path, teachers)
    result = Project(project, overrides=[f"teacher.model={model}", "questions=['questions']"]).synthesise(3, yes=True)
    assert result.accepted == 3
    _only_spoke(teachers, model)


@pytest.mark.parametrize("model", [*OPENAI, *GEMINI])
def test_a_judge_grades_answers_and_is_found_sound(model: str, evaluated: Path, judges: Vendors, tmp_path: Path):
    project = _copy(evaluated, tmp_path, judges)
    settings = [f"judge.model={model}", "judge.questions=2", "evaluate.contexts=['retrieved']"]
    report = Project(project, overrides=settings).evaluate().report
    assert (report.judge.model, report.judge.questions, report.judge.sound) == (model, 2, True)
    assert all(cell.asked == 2 and not cell.failed for cell in report.judge.cells)
    _only_spoke(judges, model)


def test_a_local_teacher_that_writes_nonsense_is_counted_and_breaks_nothing(evaluated: Path, tiny_chat: Path, tmp_path: Path):
    project = shutil.copytree(evaluated, tmp_path / "project")
    told = Recorder()
    settings = [f"teacher.model=local:{tiny_chat}", "questions=['questions']"]
    result = Project(project, overrides=settings, progress=told).synthesise(2)
    assert (result.accepted, result.asked) == (0, 8), "four times as many as wanted are asked for, and none of a random model's is one"
    assert sum(each["count"] for each in result.figures["dropped"].values()) == 8
    assert any("expect few questions" in note for note in told.notes)


def _copy(evaluated: Path, to: Path, vendors: Vendors) -> Path:
    project = shutil.copytree(evaluated, to / "project")
    (project / ".env").write_text(vendors.dotenv, encoding="utf-8")
    return project


def _only_spoke(vendors: Vendors, model: str) -> None:
    spoken, silent = ("gemini", "openai") if model in GEMINI else ("openai", "gemini")
    assert vendors.spoken[spoken] > 0
    assert vendors.spoken[silent] == 0
