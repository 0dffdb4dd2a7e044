"""Jobs: child processes that are started in turn, told of, stopped, killed, found again and resumed."""

from __future__ import annotations

import os
import signal
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from api_app import end_jobs

from ragtune import Project
from ragtune.errors import ConfigError, JobError, ProjectError
from ragtune.serve.jobs import Job, Jobs, queue, worker
from ragtune.serve.jobs import events as journal
from ragtune.serve.jobs.records import FINISHED
from ragtune.serve.jobs.settings import to_overrides
from ragtune.workspace import Workspace
from waiting import until

pytest.importorskip("faiss", reason="faiss is not installed")


@pytest.fixture
def workspace(project: Path) -> Workspace:
    return Workspace(project)


@pytest.fixture
def jobs(workspace: Workspace) -> Iterator[Jobs]:
    opened = Jobs(workspace)
    yield opened
    end_jobs(Jobs(workspace) if opened.closed else opened)


def ended(jobs: Jobs, id_: str) -> Job:
    until(lambda: found(jobs, id_).state in FINISHED)
    return found(jobs, id_)


def found(jobs: Jobs, id_: str) -> Job:
    job = jobs.find(id_)
    assert job is not None
    return job


def told(jobs: Jobs, id_: str, type_: str) -> list[dict[str, Any]]:
    events, place = jobs.events(id_)
    while more := jobs.events(id_, place)[0]:
        events, place = [*events, *more], more[-1][0]
    return [event for _, event in events if event["type"] == type_]


def pid_of(jobs: Jobs, id_: str) -> int:
    def pid() -> int | None:
        stored = jobs._load(id_)
        return stored.pid if stored else None

    return int(until(pid))


def holding(workspace: Workspace, command: str) -> Callable[[], None]:
    """Hold the project as a command line elsewhere does; what is given back lets go."""
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with workspace.lock(command):
            held.set()
            let_go.wait()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    held.wait()

    def release() -> None:
        let_go.set()
        thread.join()

    return release


def test_a_run_is_done_by_a_child_and_tells_its_stages_and_steps(jobs, workspace):
    job = jobs.create("run", {}, {"train.epochs": 1})
    done = ended(jobs, job.id)
    assert (done.state, done.error) == ("done", None)
    assert done.seconds > 0
    assert done.result is not None
    assert done.result["evaluation"]["report"]["decision"] in ("better", "worse", "undecided")
    assert done.model == done.result["model"]["name"]
    assert {each["stage"] for each in told(jobs, job.id, "stage")} >= {"ingest", "train", "evaluate"}
    steps = told(jobs, job.id, "metrics")
    assert [each["step"] for each in steps] == list(range(1, steps[-1]["steps"] + 1))
    assert {"loss", "rate", "gradient_norm", "answers_per_second", "model"} <= steps[0].keys()
    assert [each["state"] for each in told(jobs, job.id, "state")] == ["waiting", "running", "done"]
    assert Project(workspace.project).settings.train.epochs == 2, "a job's settings are its own"


def test_a_second_job_waits_for_the_first_and_a_waiting_one_can_be_stopped(jobs, workspace):
    release = holding(workspace, "train")
    first, second, third = jobs.create("ingest"), jobs.create("ingest"), jobs.create("ingest")
    until(lambda: "ragtune train" in (found(jobs, first.id).message or ""))
    assert found(jobs, first.id).state == "waiting"
    assert jobs.stop(second.id).state == "stopped"
    release()
    assert ended(jobs, first.id).state == ended(jobs, third.id).state == "done"
    assert found(jobs, third.id).started > (found(jobs, first.id).ended or "")
    assert found(jobs, second.id).state == "stopped"
    assert [each["state"] for each in told(jobs, first.id, "state")] == ["waiting", "running", "waiting", "running", "done"]


def test_a_killed_child_is_told_of_and_the_job_resumed(jobs, workspace):
    release = holding(workspace, "index")  # the child waits for as long: it cannot have ended before it is killed
    job = jobs.create("ingest")
    os.kill(pid_of(jobs, job.id), signal.SIGKILL)
    failed = ended(jobs, job.id)
    release()
    assert failed.state == "failed"
    assert "signal 9" in (failed.error or "")
    assert jobs.resume(job.id).state == "waiting"
    done = ended(jobs, job.id)
    assert (done.state, done.error) == ("done", None)
    assert done.result is not None
    assert done.result["ingest"]["documents"] == 8


def test_a_training_that_is_stopped_goes_on_from_where_it_was(jobs, workspace):
    Project(workspace.project).ingest()
    Project(workspace.project).index()
    Project(workspace.project).dataset()
    job = jobs.create("train", {"name": "mine"}, {"train.epochs": 2000})  # minutes, of which it is let work seconds
    until(lambda: told(jobs, job.id, "metrics"))
    pid = pid_of(jobs, job.id)
    assert jobs.stop(job.id).state == "running", "it is asked to, and stops by itself"
    stopped = ended(jobs, job.id)
    assert (stopped.state, stopped.model) == ("stopped", "mine")
    assert not psutil.pid_exists(pid)
    jobs.resume(job.id)
    last = told(jobs, job.id, "metrics")[-1]["step"]
    until(lambda: told(jobs, job.id, "metrics")[-1]["step"] > last)
    steps = [each["step"] for each in told(jobs, job.id, "metrics")]
    assert steps == sorted(set(steps)), "no step is told twice"


def test_a_child_that_does_not_stop_is_killed(jobs, workspace, monkeypatch):
    monkeypatch.setattr(queue, "GRACE_S", 0.5)
    release = holding(workspace, "index")
    job = jobs.create("ingest")
    pid = pid_of(jobs, job.id)
    os.kill(pid, signal.SIGSTOP)
    jobs.stop(job.id)
    assert ended(jobs, job.id).state == "stopped"
    release()
    assert not psutil.pid_exists(pid)


def test_after_a_restart_a_child_that_works_is_found_again(jobs, workspace):
    release = holding(workspace, "index")
    job = jobs.create("ingest")
    pid = pid_of(jobs, job.id)
    jobs.close()
    again = Jobs(workspace)
    try:
        assert found(again, job.id).state in ("running", "waiting")
        release()
        assert ended(again, job.id).state == "done"
        assert pid_of(again, job.id) == pid
    finally:
        again.close()


def test_after_a_restart_a_child_that_died_meanwhile_is_stopped_and_can_be_resumed(jobs, workspace, monkeypatch):
    release = holding(workspace, "index")
    job = jobs.create("ingest")
    pid = pid_of(jobs, job.id)
    jobs.close()
    process = psutil.Process(pid)
    process.kill()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    queue.process._started.pop(pid).wait()  # as another server's child
    again = Jobs(workspace)
    try:
        assert "resume" in (ended(again, job.id).message or "")
        assert found(again, job.id).state == "stopped"
        release()
        again.resume(job.id)
        assert ended(again, job.id).state == "done"
    finally:
        again.close()


def test_what_another_server_was_asked_for_is_begun_when_that_is_gone(jobs, workspace):
    other = Jobs(workspace)
    other.close()
    job = other.create("ingest")
    until(lambda: found(jobs, job.id).state != "waiting")
    assert pid_of(jobs, job.id)


@pytest.mark.parametrize(
    ("kind", "arguments", "settings", "says"),
    [
        ("tune", {}, {}, "there is no kind of job 'tune'"),
        ("train", {"epochs": 2}, {}, "epochs"),
        ("train", {"name": "../x"}, {}, "name"),
        ("evaluate", {"model": "/etc"}, {}, "model"),
        ("run", {"yes": True}, {}, "max_cost"),
        ("train", {}, {"train.epoks": 2}, "did you mean train.epochs"),
        ("train", {}, {"train.epochs": "many"}, "train.epochs"),
        ("ingest", {}, {"documents": ["/etc"]}, "ragtune.toml on the server"),
        ("ingest", {}, {"web.private": True}, "ragtune.toml on the server"),
        ("ingest", {}, {"prepare.metadata": {"*": {"access": "all"}}}, "ragtune.toml on the server"),
        ("train", {}, {"chat.base_urls": {"openai": "http://127.0.0.1"}}, "ragtune.toml on the server"),
        ("train", {}, {"model.base": "/etc"}, "is a path"),
        ("train", {}, {"model.base": "../../etc"}, "is a path"),
        ("train", {}, {"model.base": None}, "leave it out"),
        ("train", {}, {"model.base": " /etc"}, "is a path"),
        ("train", {}, {"model.base": ["/etc"]}, "model.base"),
        ("train", {}, {"model.base": "a\nb = 1\udcff"}, "TOML"),
        ("train", {}, {"train.targets": ["q_proj", None]}, "TOML"),
        ("train", {}, {"train.learning_rate": float("nan")}, "TOML"),
        ("train", {}, {"model.base": "openai:gpt-4.1-mini"}, "ragtune train"),
        ("ingest", {}, {'documents=["/etc"] #': 1}, "there is no setting"),
        ("ingest", {}, {" documents": ["/etc"]}, "there is no setting"),
        ("ingest", {}, {'chat.base_urls={openai = "http://127.0.0.1"} #': 1}, "there is no setting"),
        ("ingest", {}, {"chat.max_cost=1e9\n": 1}, "there is no setting"),
        ("ingest", {}, {"web.private=true #": 1}, "there is no setting"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_starts(jobs, kind, arguments, settings, says):
    with pytest.raises(ConfigError, match=says):
        jobs.create(kind, arguments, settings)
    assert jobs.all() == []


@pytest.mark.parametrize("value", ['"\n[web]\nprivate = true', "'''\ndocuments = ['/etc']", "] # \x7f", {"a=1 #": ['"']}, "123", "true"])
def test_no_value_becomes_another_setting(workspace, value):
    (override,) = to_overrides(workspace.project, {"train.targets": value})
    name, _, text = override.partition("=")
    assert (name, tomllib.loads(f"value = {text}")) == ("train.targets", {"value": value})


def test_a_job_that_was_written_down_with_a_forbidden_setting_is_not_done(jobs, workspace):
    release = holding(workspace, "train")
    try:
        job = jobs.create("ingest")
        jobs.close()
        stored = jobs._load(job.id).model_copy(update={"settings": {'documents=["/etc"] #': 1}})
        with pytest.raises(ConfigError, match="there is no setting"):
            worker._do(jobs.folder / job.id, stored)
    finally:
        release()


def test_what_fails_says_why_and_what_to_do(jobs):
    job = jobs.create("train", {"dataset": "none"})
    failed = ended(jobs, job.id)
    assert failed.state == "failed"
    assert "run 'ragtune dataset'" in (failed.error or "")
    with pytest.raises(JobError, match="is failed already"):
        jobs.stop(job.id)
    jobs.remove(job.id)
    assert jobs.find(job.id) is None
    with pytest.raises(ProjectError, match="there is no job"):
        jobs.remove("../../models")


def test_the_last_fifty_are_kept(jobs, workspace, monkeypatch):
    monkeypatch.setattr(queue, "KEPT", 3)
    release = holding(workspace, "index")
    made = [jobs.create("ingest").id for _ in range(3)]
    with pytest.raises(JobError, match="under way"):
        jobs.create("ingest")
    for id_ in reversed(made):
        jobs.stop(id_)
    until(lambda: all(job.state == "stopped" for job in jobs.all()))
    release()
    later = jobs.create("ingest").id
    assert [job.id for job in jobs.all()] == [later, *reversed(made[1:])]


def test_a_torn_line_costs_itself_alone_and_any_number_can_be_gone_on_from(tmp_path):
    journal.append(tmp_path, "note", {"message": "one"})
    with (tmp_path / journal.FILE).open("ab") as file:
        file.write(b'{"type": "note", "mess')
    assert [event["message"] for _, event in journal.read(tmp_path, 0)[0]] == ["one"]
    journal.append(tmp_path, "note", {"message": "two\u2028\ud800"})
    events, end = journal.read(tmp_path, 0)
    assert [event["message"] for _, event in events] == ["one", "two\u2028?"]
    assert journal.read(tmp_path, events[0][0])[0] == events[1:]
    assert journal.read(tmp_path, end) == ([], end)
    for number in (-5, 3, 10**12):
        assert journal.read(tmp_path, number)[0][-1] == events[-1]


def test_progress_that_was_overtaken_is_not_told_again(tmp_path):
    for done in range(5):
        journal.append(tmp_path, "progress", {"stage": "train", "done": done})
        journal.append(tmp_path, "note", {"message": str(done)})
    events = journal.condense(journal.read(tmp_path, 0)[0])
    assert [event["done"] for _, event in events if event["type"] == "progress"] == [4]
    assert len(events) == 6
