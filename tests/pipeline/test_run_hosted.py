"""The whole run with hosted models, each vendor's place taken by a server on loopback that speaks its protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_run import Recorder

from judge_server import fair, serve_judge
from ragtune import Project
from ragtune.errors import ConsentError, KeyRefusedError
from ragtune.rag import Answer
from ragtune.testing.tuning_server import KEY, TuningServer
from teacher_server import TeacherServer

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")
pytest.importorskip("openai", reason="openai is not installed")

BASE = "openai:gpt-4.1-mini-2025-04-14"
SECRETS = ("sk-of-deepseek-0123456789", "sk-of-mistral-0123456789")


class Told(Recorder):
    """A vendor does not say how long its job will take."""

    def update(self, stage: str, done: float, detail: str = "", left: float | None = None) -> None:
        assert stage in self.started


@pytest.fixture
def teacher() -> Iterator[TeacherServer]:
    server = TeacherServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _own_rates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "cache"))


def test_a_run_with_a_hosted_teacher_and_judge_from_documents_alone_to_a_judged_report(project, sources, teacher):
    toml = project / "ragtune.toml"
    toml.write_text(toml.read_text(encoding="utf-8").replace(f"questions = [{json.dumps(str(sources.questions))}]", ""), encoding="utf-8")
    with serve_judge(fair) as judge:
        (project / ".env").write_text(
            f"DEEPSEEK_API_KEY={SECRETS[0]}\nDEEPSEEK_BASE_URL={teacher.url}\nMISTRAL_API_KEY={SECRETS[1]}\nMISTRAL_BASE_URL={judge.url}\n",
            encoding="utf-8",
        )
        settings = ["teacher.model=deepseek:deepseek-v4-pro", "teacher.questions=20", "judge.model=mistral:mistral-small-latest"]
        settings += ["judge.questions=5", "evaluate.contexts=['retrieved']"]
        result = Project(project, overrides=settings).run(yes=True)
        asked = sum(teacher.requests.values()), len(judge.prompts)
        again = Project(project, overrides=settings).run(yes=True)
    assert result.evaluation is not None
    report = result.evaluation.report
    assert (report.judge.model, report.judge.sound) == ("mistral:mistral-small-latest", True)
    assert any("were written by deepseek:deepseek-v4-pro" in note for note in report.notes)
    assert not again.evaluation.made
    assert asked == (sum(teacher.requests.values()), len(judge.prompts)), "nothing is asked, and so nothing is paid for, twice"
    for path in (project / ".ragtune").rglob("*"):
        held = path.read_bytes() if path.is_file() else b""
        assert not [secret for secret in SECRETS if secret.encode() in held], f"{path} holds a key"


@pytest.mark.parametrize(
    ("setting", "missing"),
    [
        ("judge.model=mistral:mistral-small-latest", "MISTRAL_API_KEY"),
        ("teacher.model=deepseek:deepseek-flash", "DEEPSEEK_API_KEY"),
        (f"model.base={BASE}", "OPENAI_API_KEY"),
        ("embed.model=together:m", "TOGETHER_API_KEY"),
    ],
)
def test_a_key_that_is_missing_is_said_before_anything_is_read(setting, missing, project):
    with pytest.raises(KeyRefusedError, match=missing):
        Project(project, overrides=[setting, "teacher.questions=5"]).run(yes=True)
    assert not (project / ".ragtune" / "corpus.db").exists()
    assert not (project / ".ragtune" / "plan.json").exists()


def test_a_hosted_base_is_tuned_by_its_vendor_evaluated_against_itself_and_asked(project, tmp_path):
    recorder = Told()
    settings = [f"model.base={BASE}", "tuning.poll_seconds=0.05", "evaluate.max_questions=4", "evaluate.control_questions=2"]
    with TuningServer(tmp_path / "vendor") as server:
        (project / ".env").write_text(f"OPENAI_API_KEY={KEY}\nOPENAI_BASE_URL={server.url}\n", encoding="utf-8")
        with pytest.raises(ConsentError, match="--yes"):
            Project(project, overrides=settings).run()
        opened = Project(project, overrides=settings, progress=recorder)
        result = opened.run(yes=True)
        assert result.evaluation is not None
        report = result.evaluation.report
        assert report.models["base"] == report.models["base-fewshot"] == BASE
        assert report.models["tuned"].startswith("openai:ft:")
        assert report.forgetting == ()
        assert all(cell.metrics["dollars"].value == 0 for cell in report.cost), "a server on this machine is free"
        assert any("is a guess" in note for note in recorder.notes)
        assert any("training tokens" in note or "examples" in note for note in recorder.notes), "what it costs is said, though agreed to"
        again = opened.run(yes=True)
        assert (again.model.made, again.evaluation.made) == (False, False)
        assert opened.workspace.find("evaluations", result.evaluation.name).settings["thinking"] is False, "it decides what is answered"
        told = [note for note in recorder.notes if "shut down on 2027-01-14" in note]
        assert len(told) > 1, "before the job and before the evaluation"
        answer = list(opened.ask("Who built the mill of Calder?"))[-1]
        assert isinstance(answer, Answer)
        assert answer.model.startswith("openai:ft:")
        shown = opened.dataset_show()
        assert shown.text.startswith("[system]")
    assert server.errors == []
