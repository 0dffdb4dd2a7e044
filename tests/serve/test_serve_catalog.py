"""Jobs, datasets, models and evaluations over HTTP, on a project in which everything was run once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_app import client_of, finished, open_app, serving
from fastapi.testclient import TestClient

from ragtune import Project
from ragtune.config import load_settings
from ragtune.evaluate.comparison import MARGIN
from ragtune.serve import state
from ragtune.serve.jobs.presets import PRESETS
from ragtune.serve.jobs.records import check_arguments
from ragtune.serve.jobs.settings import check_settings
from ragtune.serve.state import Caller
from tiny_project import write_project, write_sources
from waiting import PATIENCE_S, until

pytest.importorskip("faiss", reason="faiss is not installed")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, tiny_chat: Path, tiny_embedder: Path) -> Path:
    """A project that a job ran, and the job's id in a file; never changed."""
    folder = tmp_path_factory.mktemp("ran")
    project = write_project(folder / "project", write_sources(folder / "sources"), tiny_chat, tiny_embedder)
    with open_app(Project(project)) as app, client_of(app) as client:
        job = client.post("/api/jobs", json={"kind": "run", "settings": {"train.epochs": 1}}).json()
        done = finished(client, job["id"])
        assert done["state"] == "done", done
    return project


@pytest.fixture
def client(ran: Path) -> Iterator[TestClient]:
    with open_app(Project(ran)) as app, client_of(app) as client:
        yield client


def get(client: TestClient, path: str, **values: Any) -> Any:
    answer = client.get(path, params=values)
    assert answer.status_code == 200, answer.text
    return answer.json()


def events_of(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


def test_the_events_of_a_job_are_replayed_and_gone_on_from(client):
    job = get(client, "/api/jobs")["jobs"][0]
    answer = client.get(f"/api/jobs/{job['id']}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    assert events[-1][2]["state"] == "done"
    assert {"stage", "state", "metrics", "progress"} <= {kind for _, kind, _ in events}
    assert all(kind == event["type"] for _, kind, event in events)
    middle = len(events) // 2
    rest = client.get(f"/api/jobs/{job['id']}/events", headers={"Last-Event-ID": events[middle][0]})
    assert [id_ for id_, _, _ in events_of(rest.text)] == [id_ for id_, _, _ in events[middle + 1 :]]
    for wrong in ("x", "-1", "9" * 40, "1.5"):
        assert client.get(f"/api/jobs/{job['id']}/events", headers={"Last-Event-ID": wrong}).status_code == 200
    assert client.get("/api/jobs/20260101-000000-aaaaaa/events").status_code == 404


def test_events_come_as_they_happen(ran):
    project = Project(ran)
    with open_app(project) as app, serving(app) as address, httpx.Client(base_url=address, timeout=PATIENCE_S) as client:
        with project.workspace.lock("index"):
            job = client.post("/api/jobs", json={"kind": "ingest"}).json()
            with client.stream("GET", f"/api/jobs/{job['id']}/events") as stream:
                for line in stream.iter_lines():
                    if "ragtune index" in line:
                        break  # told while the job waits, which it does for as long as the lock is held
            assert client.get(f"/api/jobs/{job['id']}").json()["state"] == "waiting"
            assert client.post(f"/api/jobs/{job['id']}/stop").status_code == 200
        until(lambda: client.get(f"/api/jobs/{job['id']}").json()["state"] == "stopped")
        assert client.post(f"/api/jobs/{job['id']}/stop").status_code == 409
        assert client.delete(f"/api/jobs/{job['id']}").status_code == 204
        assert client.delete(f"/api/jobs/{job['id']}").status_code == 404


def test_what_is_wrong_with_a_job_is_said_at_once(client):
    for wrong, says in (
        ({"kind": "train", "settings": {"train.epoks": 1}}, "did you mean train.epochs"),
        ({"kind": "train", "arguments": {"speed": 1}}, "speed"),
        ({"kind": "purge", "arguments": {"sources": ["calder.md"]}}, "kind"),
        ({"kind": "train", "more": 1}, "more"),
    ):
        answer = client.post("/api/jobs", json=wrong)
        assert answer.status_code == 400, answer.text
        assert says in answer.text


def test_money_asks_for_the_scope_admin(client, monkeypatch):
    monkeypatch.setattr(state, "LOCAL", Caller("writer", frozenset({"read", "write"})))
    paid = {"kind": "run", "arguments": {"yes": True, "max_cost": 1}}
    assert client.post("/api/jobs", json=paid).status_code == 403


def test_a_key_with_tags_sees_no_jobs_datasets_or_evaluations(client, monkeypatch):
    monkeypatch.setattr(state, "LOCAL", Caller("staff", frozenset({"ask", "read", "write"}), ("staff",)))
    for path in ("/api/jobs", "/api/datasets", "/api/evaluations", "/api/presets"):
        assert client.get(path).status_code == 403
    assert client.post("/api/jobs", json={"kind": "ingest"}).status_code == 403
    assert client.get("/api/models").status_code == 200


def test_every_preset_can_be_asked_for(ran):
    for preset in PRESETS:
        check_arguments(preset.kind, preset.arguments)
        check_settings(ran, preset.settings)
    load_settings(ran)


def test_datasets_and_models_are_listed_with_what_is_served(client):
    (dataset,) = get(client, "/api/datasets")["datasets"]
    assert dataset["train"] + dataset["validation"] + dataset["test"] == 34
    base, tuned = get(client, "/api/models")["models"]
    assert (base["name"], base["kind"], base["served"]) == ("base", "base", False)
    assert (tuned["kind"], tuned["served"], tuned["servable"], tuned["unfinished"]) == ("tuned", True, True, False)
    assert client.post("/api/models/base/promote", json={}).status_code == 200
    assert [each["served"] for each in get(client, "/api/models")["models"]] == [True, False]
    assert client.post("/api/rollback").status_code == 200
    assert [each["served"] for each in get(client, "/api/models")["models"]] == [False, True]
    assert tuned["dataset"] == dataset["name"]
    rows = get(client, f"/api/models/{tuned['name']}/metrics")["rows"]
    assert [row["step"] for row in rows] == list(range(1, tuned["figures"]["steps"] + 1))
    assert {"loss", "rate", "answers_per_second", "steps"} <= rows[0].keys()
    assert client.get("/api/models/none/metrics").status_code == 404
    assert client.get("/api/models/..%2Fdatasets/metrics").status_code in (400, 404)


def test_a_model_that_is_being_trained_is_listed_with_its_steps(client, ran):
    tuned = get(client, "/api/models")["models"][1]["name"]
    folder = ran / ".ragtune" / "models" / "going-on"
    folder.mkdir()
    lines = (folder.parent / tuned / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:3]) + lines[3][:9], encoding="utf-8")
    try:
        listed = get(client, "/api/models")["models"][1]
        assert (listed["name"], listed["unfinished"], listed["servable"]) == ("going-on", True, False)
        assert [row["step"] for row in get(client, "/api/models/going-on/metrics")["rows"]] == [1, 2, 3]
    finally:
        shutil.rmtree(folder)


def test_an_evaluation_is_told_as_it_was_decided(client):
    (listed,) = get(client, "/api/evaluations")["evaluations"]
    shown = get(client, f"/api/evaluations/{listed['name']}")
    assert listed["verdict"] == shown["report"]["decision"]
    assert listed["decision"] == shown["report"]["sentence"]
    assert shown["manifest"]["name"] == listed["name"]
    page = client.get(f"/api/evaluations/{listed['name']}/report.html")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert listed["decision"][:20] in page.text
    assert client.get("/api/evaluations/none").status_code == 404


def test_questions_are_filtered_and_paged_on_the_server(client):
    (listed,) = get(client, "/api/evaluations")["evaluations"]
    path = f"/api/evaluations/{listed['name']}/questions"
    every = get(client, path, limit=200)
    assert every["total"] == len(every["questions"]) == listed["questions"]
    assert sum(every["outcomes"].values()) == every["total"]
    for context in ("closed-book", "retrieved"):
        asked = get(client, path, context=context, limit=200)["questions"]
        for each in asked:
            before, after = (each["arms"][arm][context]["f1"] for arm in ("base-fewshot", "tuned"))
            assert (each["outcome"] == "won") == (after - before > MARGIN - 1e-9), f"{each['id']} {context}"
    first = every["questions"][0]
    assert {"base", "base-fewshot", "tuned"} <= first["arms"].keys()
    assert {"answer", "raw", "f1", "exact", "abstained", "quotes", "passages"} <= first["arms"]["tuned"]["retrieved"].keys()
    page = get(client, path, offset=2, limit=3, context="retrieved", arm="tuned")
    assert [each["id"] for each in page["questions"]] == [each["id"] for each in every["questions"][2:5]]
    assert all([*each["arms"]] == ["tuned"] and [*each["arms"]["tuned"]] == ["retrieved"] for each in page["questions"])
    used = {id_ for each in page["questions"] for id_ in each["arms"]["tuned"]["retrieved"]["passages"]}
    assert page["passages"].keys() == used
    assert get(client, path, query="no such words anywhere")["total"] == 0
    named = get(client, path, query=first["question"].upper())
    assert [each["id"] for each in named["questions"]] == [first["id"]]
    outcome = next(iter(every["outcomes"]))
    assert get(client, path, outcome=outcome, limit=1)["total"] == every["outcomes"][outcome]
    ranked = [each for each in every["questions"] if each["rank"] is not None]
    assert ranked
    assert all(each["evidence"] for each in ranked)
