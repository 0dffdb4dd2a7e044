"""Models ranked for a project and measured on its validation questions."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragtune import Project
from ragtune.errors import ConsentError, EvaluationError, ProjectError
from teacher_server import PRICES, TeacherServer

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")
pytest.importorskip("openai", reason="openai is not installed")


def test_a_key_makes_a_vendors_model_ready_and_its_absence_is_said(project: Path) -> None:
    (project / ".env").write_text("DEEPSEEK_API_KEY=sk-0123456789abcdef\n", encoding="utf-8")
    ranked = {choice.candidate.name: choice for choice in Project(project).choose_models("judge", budget=10, calls=100)}
    assert ranked["deepseek:deepseek-flash"].candidate.ready
    assert not ranked["openai:gpt-6-luna"].candidate.ready
    assert "OPENAI_API_KEY" in "; ".join(ranked["openai:gpt-6-luna"].reasons)
    assert ranked["deepseek:deepseek-flash"].cost == pytest.approx(100 * (700 * 0.3 + 60 * 1.2) / 1e6, rel=0.6), (
        "dear by day, cheap by night"
    )
    assert not ranked["deepseek:deepseek-chat"].fits


def test_vertex_is_ready_with_credentials_and_a_project(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    for name in ("GOOGLE_CLOUD_PROJECT", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)

    def vertex() -> tuple[bool, str]:
        ranked = {choice.candidate.name: choice.candidate for choice in Project(project).choose_models()}
        found = ranked["vertex:gemini-3.5-flash"]
        return found.ready, found.missing

    assert "GOOGLE_CLOUD_PROJECT" in vertex()[1]
    assert "application-default login" in vertex()[1]
    (project / ".env").write_text("GOOGLE_CLOUD_PROJECT=acme\n", encoding="utf-8")
    assert (vertex()[0], "GOOGLE_CLOUD_PROJECT" in vertex()[1]) == (False, False)
    (tmp_path / "gcloud").mkdir()
    (tmp_path / "gcloud" / "application_default_credentials.json").touch()
    assert vertex() == (True, "")


def test_each_model_answers_the_same_validation_questions_and_the_test_split_stays_unread(project: Path, tiny_chat: Path) -> None:
    opened = Project(project, overrides=["dataset.validation_share=0.3"])
    for stage in (opened.ingest, opened.index, opened.dataset):
        stage()
    good, again, missing = opened.try_models([f"local:{tiny_chat}", str(tiny_chat), "openai:gpt-6-luna"], questions=5)
    assert (good.f1, good.quoting, good.cost, good.questions) == (again.f1, again.quoting, 0.0, 5)
    assert good.f1 is not None
    assert good.f1.n == 5
    assert good.seconds is not None
    assert missing.f1 is None
    assert "OPENAI_API_KEY" in missing.problem
    assert not (project / ".ragtune" / "test_readings.json").exists()


def test_paid_models_are_tried_where_somebody_agreed(project: Path) -> None:
    teacher = TeacherServer()
    try:
        (project / ".env").write_text(f"COMPATIBLE_BASE_URL={teacher.url}\nCOMPATIBLE_API_KEY=sk-test-0123456789\n", encoding="utf-8")
        opened = Project(project, overrides=["dataset.validation_share=0.3", PRICES, "chat.max_cost=1000"])
        for stage in (opened.ingest, opened.index, opened.dataset):
            stage()
        names = ["compatible:teacher", "openai:gpt-6-luna"]
        with pytest.raises(ConsentError, match=r"^compatible:teacher answers 3 prompts, about [\d,]+ tokens, for about \$\d"):
            opened.try_models(names, questions=3)
        assert not teacher.requests
        good, missing = opened.try_models(names, questions=3, yes=True)
    finally:
        teacher.close()
    assert (good.cost or 0) > 0
    assert "OPENAI_API_KEY" in missing.problem


def test_without_a_dataset_it_says_what_to_do(project: Path) -> None:
    with pytest.raises(ProjectError, match="ragtune dataset"):
        Project(project).try_models(["base"])


def test_a_dataset_without_validation_questions_is_refused(project: Path) -> None:
    opened = Project(project)
    for stage in (opened.ingest, opened.index, opened.dataset):
        stage()
    folder = project / ".ragtune" / "datasets" / opened.dataset().name
    (folder / "validation.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(EvaluationError, match="no validation questions"):
        opened.try_models(["base"])
