"""``ragtune train`` with a hosted base: what is sent, what is asked before money is spent, and one job whatever is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="openai is not installed")
pytest.importorskip("google.genai", reason="google-genai is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

from google_account import write_account
from ragtune import Project, build
from ragtune.dataset.shared import epoch_groups
from ragtune.dataset.store import read_dataset
from ragtune.errors import ConfigError, ConsentError, EvaluationError, ProjectError, TuningJobError
from ragtune.pipeline.train import find_tuned
from ragtune.prompts import build_messages
from ragtune.testing.loopback import Fault
from ragtune.testing.tuning_server import KEY, TuningServer
from ragtune.types import Message, Usage
from ragtune.workspace import Workspace
from tiny_project import write_project, write_sources

BASE = "openai:gpt-4.1-mini-2025-04-14"
_PATIENCE_S = 400.0


def yes(_: str) -> bool:
    return True


@pytest.fixture(scope="module")
def with_dataset(tmp_path_factory: pytest.TempPathFactory, tiny_chat: Path, tiny_embedder: Path) -> Path:
    root = tmp_path_factory.mktemp("hosted")
    project = write_project(root / "project", write_sources(root / "sources"), tiny_chat, tiny_embedder)
    opened = Project(project)
    opened.ingest()
    opened.index()
    opened.dataset()
    return project


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TuningServer]:
    with TuningServer(tmp_path / "vendor") as running:
        yield running
    assert running.errors == []


@pytest.fixture
def project(tmp_path: Path, with_dataset: Path, server: TuningServer) -> Path:
    """A project with a dataset, whose OpenAI is the server."""
    copy = shutil.copytree(with_dataset, tmp_path / "project")
    (copy / ".env").write_text(f"OPENAI_API_KEY={KEY}\nOPENAI_BASE_URL={server.url}\n", encoding="utf-8")
    return copy


def hosted(project: Path, *more: str) -> Project:
    settings = [f"model.base={BASE}", "tuning.poll_seconds=0.05", "chat.retries=0", *more]
    return Project(project, overrides=settings)


def command(project: Path, *arguments: str) -> subprocess.Popen[str]:
    """``ragtune train`` in a process of its own."""
    settings = [f"model.base={BASE}", "tuning.poll_seconds=0.1"]
    options = [part for setting in settings for part in ("--set", setting)]
    return subprocess.Popen(
        [sys.executable, "-m", "ragtune.cli", "train", "--project", str(project), *options, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=_PATIENCE_S)
    return process.returncode, out, err


def test_a_hosted_model_is_tuned_on_the_prompts_of_local_training_and_answers(project, server):
    result = hosted(project).train(confirm=yes)
    manifest = find_tuned(Workspace(project), None)
    assert (result.made, manifest.name) == (True, result.name)
    assert manifest.settings["hosted"] == "openai:ft:gpt-4.1-mini-2025-04-14:org-stub:ragtune:0001"
    assert manifest.settings["model"]["base"] == BASE
    assert manifest.figures["trained_tokens"] == 100 * manifest.figures["answers"]
    assert manifest.figures["train_loss"] == 0.5
    assert manifest.figures["estimate"]["dollars"] == pytest.approx(manifest.figures["estimate"]["tokens"] * 5 / 1e6)
    (job,) = server.jobs.values()
    sent = [json.loads(line)["messages"] for line in server.content(job["training"]).decode().splitlines()]
    assert sent == local_prompts(project, epochs=2)
    opened = hosted(project)
    chat = build.chat_model(opened.workspace, opened.settings, manifest.settings["hosted"])
    assert chat.complete([Message("user", "Who?")]).text == "Answer: not in the passages"
    assert not hosted(project).train(confirm=yes).made
    assert len(server.jobs) == 1


def local_prompts(project: Path, epochs: int) -> list[list[dict[str, str]]]:
    workspace = Workspace(project)
    source = workspace.find("datasets", None)
    data = read_dataset(workspace.artifact("datasets", source.name))
    shown: dict[str, Any] = {"total_epochs": epochs, "seed": 0, "p": source.figures["p_oracle"], "k": 2, "shared": False}
    groups = [group for epoch in range(epochs) for group in epoch_groups(data.train, data.passages, epoch=epoch, **shown)]
    return [
        [
            *({"role": each.role, "content": each.content} for each in build_messages(branch.question, group.passages)),
            {"role": "assistant", "content": branch.completion},
        ]
        for group in groups
        for branch in group.branches
    ]


def test_what_the_vendor_does_not_read_changes_no_key(project, server):
    made = hosted(project).train(confirm=yes)
    assert hosted(project, "train.rank=8", "tuning.suffix=other", "tuning.poll_seconds=1").train().name == made.name
    assert hosted(project, "tuning.epochs=1").plan_tuning().examples == made.figures["answers"] / 2


def test_without_a_confirmation_nothing_is_sent_and_the_cost_is_said(project, server):
    with pytest.raises(
        ConsentError, match=r"shut down on 2027-01-14.*about [\d,]+ tokens, about \$0\.\d\d.*Nothing of it was spent.*--yes"
    ):
        hosted(project).train()
    said: list[str] = []
    with pytest.raises(ConsentError, match="nothing was spent"):
        hosted(project).train(confirm=lambda text: bool(said.append(text)))
    assert "new tuning jobs on openai:gpt-4.1-mini-2025-04-14 end on 2027-01-06" in said[0]
    assert server.requests == []
    assert hosted(project, "tuning.price=0").train().made, "what is free is not asked about"


def test_a_dry_run_checks_and_prices_and_sends_nothing(project, server):
    plan = hosted(project).plan_tuning()
    assert Path(plan.training).is_file()
    assert plan.problems == ()
    assert plan.dollars == pytest.approx(plan.tokens * 5 / 1e6)
    assert hosted(project, "tuning.price=50").plan_tuning().dollars == pytest.approx(plan.tokens * 50 / 1e6)
    assert server.requests == []


def test_a_dry_run_of_what_is_made_says_so_and_prices_nothing(project, server):
    before = hosted(project).plan_tuning()
    made = hosted(project).train(confirm=yes)
    sent = len(server.requests)
    plan = hosted(project).plan_tuning()
    assert (plan.made, plan.dollars, len(server.requests)) == (made.name, 0.0, sent)
    counted = ("base", "training", "examples", "validation_examples", "tokens")
    assert all(getattr(plan, name) == getattr(before, name) for name in counted)
    code, out, err = finish(command(project, "--dry-run"))
    assert code == 0, err
    assert f"model {made.name} is as these inputs make it" in out
    assert hosted(project, "tuning.epochs=1").plan_tuning().made is None
    with pytest.raises(ProjectError, match="made from other inputs"):
        hosted(project, "tuning.epochs=1").plan_tuning(name=made.name)


def test_a_dataset_that_is_too_small_is_refused_before_anything_is_sent(project, server):
    small = hosted(project, "train.max_answers=4", "tuning.epochs=1")
    with pytest.raises(TuningJobError, match="has 4 examples, and must have 10"):
        small.train(confirm=yes)
    assert server.requests == []


def test_a_failed_job_says_why_and_the_next_run_starts_a_new_one(project, server):
    server.script, server.reason = ["queued", "failed"], ("insufficient_quota", "add credits")
    with pytest.raises(TuningJobError, match="insufficient_quota: add credits"):
        hosted(project).train(confirm=yes)
    with pytest.raises(ConsentError, match="--yes"):
        hosted(project).train()
    server.script = ["succeeded"]
    hosted(project).train(confirm=yes)
    assert list(server.jobs) == ["ftjob-0001", "ftjob-0002"]
    (record,) = (project / ".ragtune" / "models").glob("*/job.json")
    assert json.loads(record.read_text(encoding="utf-8"))["earlier"] == ["ftjob-0001"]


def test_a_job_is_cancelled_by_name_and_told_so(project, server):
    server.script = ["running"]
    server.faults["state"] = [Fault(500)]
    with pytest.raises(Exception, match="failed with status 500"):
        hosted(project).train(confirm=yes)
    (job,) = hosted(project).jobs()
    assert (job.status, job.job) == ("submitted", "ftjob-0001")
    assert hosted(project).cancel_job().status == "cancelled"
    with pytest.raises(TuningJobError, match="was cancelled"):
        hosted(project).train()
    with pytest.raises(TuningJobError, match="has ended"):
        hosted(project).cancel_job(job.name)
    with pytest.raises(ProjectError, match="there are: tuned-"):
        hosted(project).cancel_job("nobody")


def test_a_job_whose_note_was_lost_is_looked_for_before_it_is_cancelled(project, server):
    server.script = ["running"]
    server.faults["state"] = [Fault(500)]
    with pytest.raises(Exception, match="failed with status 500"):
        hosted(project).train(confirm=yes)
    (path,) = (project / ".ragtune" / "models").glob("*/job.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    killed = {**record, "job": None, "status": "creating"}
    path.write_text(json.dumps({**killed, "tag": "ragtune-unknown", "training": "file-unknown"}), encoding="utf-8")
    with pytest.raises(TuningJobError, match="run this again in a minute") as caught:
        hosted(project).cancel_job()
    assert "remove" not in str(caught.value)
    path.write_text(json.dumps(killed), encoding="utf-8")
    cancelled = hosted(project).cancel_job()
    assert (cancelled.job, cancelled.status) == ("ftjob-0001", "cancelled")
    with pytest.raises(TuningJobError, match="was cancelled"):
        hosted(project).train()
    assert list(server.jobs) == ["ftjob-0001"]
    path.write_text(json.dumps({**killed, "status": "intended"}), encoding="utf-8")
    with pytest.raises(TuningJobError, match="nothing to stop"):
        hosted(project).cancel_job()


def test_the_control_without_passages_is_used_where_it_was_tuned_and_never_bought_on_the_way(project, server):
    arms = ['evaluate.arms=["tuned", "dsf"]', 'evaluate.contexts=["retrieved"]', "evaluate.max_questions=3"]
    hosted(project).train(confirm=yes)
    sent = len(server.requests)
    with pytest.raises(EvaluationError, match=r"ragtune train --without-context --dataset \S+'"):
        hosted(project, *arms).evaluate()
    assert len(server.requests) == sent
    control = hosted(project).train(without_context=True, confirm=yes)
    report = hosted(project, *arms, "train.epochs=1").evaluate().report  # the tuned model's settings count, not today's
    assert report.models["dsf"] == control.figures["hosted"]
    assert report.models["tuned"] != report.models["dsf"]
    assert len(server.jobs) == 2


def test_a_checkpoint_becomes_a_model_of_its_own(project, server):
    made = hosted(project).train(confirm=yes)
    assert [each.step for each in hosted(project).checkpoints()] == [2, 4]
    picked = hosted(project).use_checkpoint(2)
    manifest = find_tuned(Workspace(project), picked.name)
    assert manifest.name == f"{made.name}-step2"
    assert manifest.settings["hosted"] == "openai:ft:gpt-4.1-mini-2025-04-14:org-stub:ragtune:0001:ckpt-step-2"
    assert manifest.figures["train_loss"] == 1.0
    with pytest.raises(TuningJobError, match="there are: 2, 4"):
        hosted(project).use_checkpoint(3)


def test_gemini_is_tuned_on_vertex_and_says_what_is_missing(project, server):
    gemini = hosted(project, "model.base=gemini:gemini-3.5-flash")
    assert gemini.plan_tuning().base == "vertex:gemini-3.5-flash"
    assert gemini.plan_tuning().dollars is None
    with pytest.raises(TuningJobError, match=r"tuning\.bucket"):
        gemini.train(confirm=yes)
    with pytest.raises(ConfigError, match="GOOGLE_CLOUD_PROJECT"):
        build.vertex_place(gemini.workspace, gemini.settings, "gemini-3.5-flash")
    with pytest.raises(TuningJobError, match="deepseek has no tuning"):
        hosted(project, "model.base=deepseek:deepseek-flash").train(confirm=yes)


def test_a_model_tuned_on_vertex_is_an_endpoint_that_answers_at_its_bases_price(project, server, monkeypatch):
    account = write_account(project / "account.json", f"{server.root}/token")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.root)
    place = ["tuning.project=acme", "tuning.location=europe-west4", "tuning.bucket=gs://examples"]
    opened = hosted(project, "model.base=gemini:gemini-3.5-flash", *place, f'chat.base_urls={{vertex = "{server.root}"}}')
    opened.train(confirm=yes)
    manifest = find_tuned(opened.workspace, None)
    assert manifest.settings["hosted"] == "vertex:projects/acme/locations/europe-west4/endpoints/0001"
    assert manifest.settings["model"]["base"] == "vertex:gemini-3.5-flash"
    chat = build.chat_model(opened.workspace, opened.settings, manifest.settings["hosted"])
    assert chat.complete([Message("user", "Who?")]).text == "Answer: not in the passages"
    base = build.tuned_from(opened.workspace, chat.name)
    price, listed = (build.price_of(opened.settings, name, None, base) for name in (chat.name, "gemini:gemini-3.5-flash"))
    assert price is not None
    assert listed is not None
    assert price(Usage(1000, 1000)) == listed(Usage(1000, 1000)) > 0
    assert [each.step for each in opened.checkpoints()] == [2, 4]


WHERE = ["upload:before", "upload:after", "create:before", "create:after", "state:after", "events:after"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("where", WHERE)
def test_a_killed_run_goes_on_and_pays_for_one_job(project, server, where):
    assert killed_at(server, project, where) == -signal.SIGKILL
    code, _, err = finish(command(project))  # without --yes: it was confirmed
    if where == "upload:before":
        assert len(server.files) == 2
    assert (code, len(server.jobs)) == (0, 1), err
    assert find_tuned(Workspace(project), None).settings["hosted"].endswith(":0001")


def killed_at(server: TuningServer, project: Path, where: str) -> int:
    """Have a run killed when the server comes to a point; how the run ended."""
    started: Future[subprocess.Popen[str]] = Future()
    server.gate = killer(started, where)  # before there is a run, which may come there at once
    process = command(project, "--yes")
    started.set_result(process)
    code = finish(process)[0]
    server.gate = lambda _: None
    return code


def killer(started: Future[subprocess.Popen[str]], where: str) -> Callable[[str], None]:
    def gate(point: str) -> None:
        process = started.result()
        if point == where and process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(_PATIENCE_S)
            if point.endswith("before"):
                raise ConnectionAbortedError  # the request went down with its client

    return gate


def test_a_run_killed_twice_while_its_server_is_restarted_ends_at_the_same_job(project, server):
    server.script = ["queued", *["running"] * 6, "succeeded"]
    for where in ("create:after", "events:after"):
        assert killed_at(server, project, where) == -signal.SIGKILL
        server.stop()
        server.start()
    code, _, err = finish(command(project, "--yes"))
    assert code == 0, err
    assert list(server.jobs) == ["ftjob-0001"]
    (folder,) = (project / ".ragtune" / "models").iterdir()
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert steps == [1, 2, 3, 4], "each step once"


def test_the_command_refuses_without_a_terminal_and_prints_a_plan(project, server):
    code, out, err = finish(command(project))
    assert (code, out) == (2, "")
    assert "--yes" in err
    code, out, err = finish(command(project, "--dry-run", "--json"))
    assert code == 0, err
    assert json.loads(out)["examples"] > 10
    assert server.requests == []


def test_no_file_holds_the_key(project, server):
    hosted(project).train(confirm=yes)
    kept = [path for path in project.rglob("*") if path.is_file() and path.name != ".env"]
    assert len(kept) > 10
    assert not [path for path in kept if KEY.encode() in path.read_bytes()]
