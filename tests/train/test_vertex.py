"""Tuning jobs for Gemini on Vertex AI: Google's own credentials, bucket and SDK against a server on loopback."""

from __future__ import annotations

import json

import pytest

from waiting import PATIENCE_S

genai = pytest.importorskip("google.genai", reason="google-genai is not installed")
pytest.importorskip("openai", reason="openai is not installed")

from google.auth.transport.requests import AuthorizedSession  # noqa: E402
from made_jobs import Notes, export_vertex, follow, submit  # noqa: E402

from google_account import write_account  # noqa: E402
from made_groups import group  # noqa: E402
from ragtune.chat.gemini import GeminiChat  # noqa: E402
from ragtune.errors import KeyRefusedError, QuotaError, TuningJobError  # noqa: E402
from ragtune.hosted.gemini import connect_vertex, find_credentials  # noqa: E402
from ragtune.testing.loopback import Fault  # noqa: E402
from ragtune.testing.tuning_server import TuningServer  # noqa: E402
from ragtune.train import jobs  # noqa: E402
from ragtune.train.rules import VERTEX, check_file  # noqa: E402
from ragtune.train.vertex import VertexTuning  # noqa: E402
from ragtune.types import Message, Reply  # noqa: E402

BASE = "vertex:gemini-3.5-flash"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server whose token endpoint the credentials name."""
    with TuningServer(tmp_path / "vendor") as running:
        account = write_account(tmp_path / "account.json", f"{running.root}/token")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
        yield running
    assert running.errors == []


def tuning(server: TuningServer, bucket: str = "examples") -> VertexTuning:
    return VertexTuning(
        BASE,
        "gemini-3.5-flash",
        client=connect_vertex("acme", "us-central1", base_url=server.root, timeout=PATIENCE_S),
        session=AuthorizedSession(find_credentials()),
        bucket=bucket,
        storage=server.root,
    )


@pytest.fixture
def intent(tmp_path) -> jobs.TuningRecord:
    return jobs.write_record(tmp_path, jobs.new_record(BASE, {}))


def test_a_job_is_followed_to_its_endpoint_which_answers(server, tmp_path, intent):
    notes = Notes()
    record = submit(tuning(server), tmp_path, intent, export_vertex)
    done = follow(tuning(server), tmp_path, record, notes)
    endpoint = "projects/acme/locations/us-central1/endpoints/0001"
    assert (done.end, done.model, done.trained_tokens) == ("succeeded", endpoint, 1400)
    (job,) = server.jobs.values()
    assert (job["epochs"], job["tag"], job["suffix"]) == (1, {"ragtune": intent.tag}, "handbook")
    assert job["validation"] == f"gs://examples/ragtune/{intent.tag}-validation.jsonl"
    assert server.content(job["training"]) == (tmp_path / "training.jsonl").read_bytes()
    assert [(each.step, each.model) for each in tuning(server).checkpoints(record.job or "")] == [(2, endpoint + "1"), (4, endpoint + "2")]
    chat = GeminiChat(
        f"vertex:{endpoint}", endpoint, client=connect_vertex("acme", "us-central1", base_url=server.root, timeout=PATIENCE_S)
    )
    reply = chat.complete([Message("user", "Who?")])
    assert isinstance(reply, Reply)
    assert reply.text == "Answer: not in the passages"


def test_a_file_holds_the_instruction_apart_and_ends_with_the_model(tmp_path):
    export_vertex([group(1)], tmp_path / "one.jsonl")
    line = json.loads((tmp_path / "one.jsonl").read_text(encoding="utf-8"))
    assert [turn["role"] for turn in line["contents"]] == ["user", "model"]
    assert line["systemInstruction"]["parts"][0]["text"].startswith("Answer the question from the passages")
    assert check_file(tmp_path / "one.jsonl", VERTEX).problems == ()


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({"contents": []}, "there are no contents"),
        ({"contents": [{"role": "user", "parts": [{"text": "x"}]}]}, "user and model must take turns"),
        ({"contents": [{"role": "user", "parts": [{"text": " "}]}, {"role": "model", "parts": [{"text": "x"}]}]}, "turn 1 has no text"),
    ],
)
def test_what_vertex_would_refuse_is_said_with_its_line(tmp_path, line, fault):
    export_vertex([group(1)], tmp_path / "bad.jsonl")
    with (tmp_path / "bad.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    (problem,) = check_file(tmp_path / "bad.jsonl", VERTEX).problems
    assert problem.startswith("bad.jsonl:2: ")
    assert fault in problem


@pytest.mark.parametrize("fault", [Fault(cut="before"), Fault(cut="after"), Fault(cut="middle"), Fault(503, "UNAVAILABLE")])
def test_a_request_for_a_job_whose_answer_is_lost_starts_one_job(server, tmp_path, intent, fault):
    server.faults["create"] = [fault]
    record = submit(tuning(server), tmp_path, intent, export_vertex)
    assert list(server.jobs) == [record.job]


def test_states_unknown_and_failed_and_cancelled(server, tmp_path, intent):
    server.script, server.reason = ["queued", "pondering", "failed"], ("", "quota of tuning jobs exceeded")
    notes = Notes()
    done = follow(tuning(server), tmp_path, submit(tuning(server), tmp_path, intent, export_vertex), notes)
    assert (done.end, done.reason) == ("failed", "quota of tuning jobs exceeded")
    assert "train: the job is pondering" in notes.notes
    server.script = ["running"]
    second = submit(tuning(server), tmp_path, jobs.new_record(BASE, {}, done), export_vertex)
    assert second.earlier == (done.job,)
    tuning(server).cancel(second.job or "")
    assert follow(tuning(server), tmp_path, second).end == "cancelled"


def test_a_bucket_that_is_not_there_is_named_with_the_command_that_makes_it(server, tmp_path, intent):
    with pytest.raises(TuningJobError, match="gcloud storage buckets create gs://elsewhere"):
        submit(tuning(server, "elsewhere"), tmp_path, intent, export_vertex)


def test_missing_credentials_name_the_command_that_makes_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(KeyRefusedError, match="gcloud auth application-default login"):
        connect_vertex("acme", "us-central1")


def test_credentials_that_google_does_not_take_name_the_command_too(server, tmp_path, intent):
    server.faults["token"] = [Fault(400, "invalid_grant", "Token has been expired or revoked")] * 9
    with pytest.raises(KeyRefusedError, match="gcloud auth application-default login"):
        submit(tuning(server), tmp_path, intent, export_vertex)


def test_a_quota_is_told_as_one(server, tmp_path, intent):
    server.faults["create"] = [Fault(403, "PERMISSION_DENIED", "Billing account for project acme is not found")]
    with pytest.raises(QuotaError, match="Billing account"):
        submit(tuning(server), tmp_path, intent, export_vertex)
