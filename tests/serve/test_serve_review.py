"""Traces, feedback, the review queue, monitoring and promotion over HTTP: who sees what, and what a request does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from fastapi.testclient import TestClient

from made_traces import trace
from ragtune import Project
from ragtune.prompts import PROMPT_VERSION
from ragtune.serve.app import create_app
from ragtune.workspace import Manifest, now, write_manifest

ALL = ("ask", "read", "write", "admin")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.init(tmp_path / "handbook")
    for day, name in enumerate(("first", "second")):
        manifest = Manifest("models", name, name, {}, {"prompt": PROMPT_VERSION, "k": 2}, created=f"2026-01-0{day + 1}T00:00:00+00:00")
        write_manifest(made.workspace.artifact("models", name), manifest)
    return made


@pytest.fixture
def client(project: Project) -> Iterator[TestClient]:
    with TestClient(create_app(project), base_url="http://127.0.0.1") as made:
        yield made


def key(project: Project, name: str, *scopes: str, access: list[str] | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {project.add_key(name, scopes=scopes, access=access).secret}"}


def test_traces_are_listed_and_rated_and_forgotten(project: Project, client: TestClient) -> None:
    id_ = project.traces.record(trace(at=now()))
    listed = client.get("/api/traces", params={"query": "CROSSING", "limit": 1}).json()
    assert (listed["total"], listed["traces"][0]["id"], listed["traces"][0]["groundedness"]) == (1, id_, 1.0)
    said = client.post(f"/api/traces/{id_}/feedback", json={"rating": "down", "reason": "slow", "correction": "forty"})
    assert said.json()["feedback"] == {"rating": "down", "reason": "slow", "correction": "forty"}
    whole = client.get(f"/api/traces/{id_}").json()
    assert whole["passages"][0]["text"] == "The crossing takes forty minutes."
    assert whole["citations"][0]["quote"] == "The crossing takes forty minutes."
    assert (whole["seconds"]["first_token"], whole["usage"]["completion_tokens"], whole["scores"]) == (0.1, 12, [1.5, 0.4])
    assert client.get("/api/traces", params={"rating": "up"}).json()["total"] == 0
    assert client.post(f"/api/traces/{id_}/feedback", json={"rating": None}).json()["rating"] is None
    assert client.put(f"/api/traces/{id_}").headers["allow"] == "DELETE, GET"
    assert client.delete(f"/api/traces/{id_}").status_code == 204
    gone = client.get(f"/api/traces/{id_}")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/traces/x/feedback", {"rating": "sideways"}),
        ("POST", "/api/traces/x/feedback", {}),
        ("POST", "/api/review/x", {"decision": "maybe"}),
        ("POST", "/api/review/x", {"decision": "accept", "evidence": [{"document": "a.md", "start": -1, "end": 2}]}),
        ("GET", "/api/traces?since=yesterday", None),
        ("GET", "/api/traces?since=0001-01-01T00:00:00%2B14:00", None),
        ("GET", "/api/traces?limit=100000", None),
        ("GET", "/api/monitor?days=0", None),
    ],
)
def test_a_wrong_request_is_400_in_openais_shape(client: TestClient, method: str, path: str, body: object) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_the_queue_is_decided_on(project: Project, client: TestClient) -> None:
    project.traces.record(trace(at=now(), abstained=True))
    (item,) = client.get("/api/review").json()["items"]
    assert (item["why"], item["passages"][0]["document"]) == (["unanswered"], "ferry.md")
    refused = client.post(f"/api/review/{item['id']}", json={"decision": "accept", "answers": ["forty"]})
    assert refused.status_code == 400
    assert "no evidence is marked" in refused.json()["error"]["message"]
    done = client.post(f"/api/review/{item['id']}", json={"decision": "dismiss", "note": "not ours"}).json()
    assert (done["item"]["state"], done["item"]["by"], done["question"]) == ("dismissed", "local", None)
    assert client.get("/api/review").json() == {"items": [], "total": 0, "open": 0}
    assert client.get("/api/review", params={"state": "dismissed"}).json()["total"] == 1
    assert client.post(f"/api/review/{item['id']}", json={"decision": "dismiss"}).status_code == 409
    assert client.post("/api/review/re-none", json={"decision": "dismiss"}).status_code == 404


def test_the_server_says_how_it_fares(project: Project, client: TestClient) -> None:
    client.get("/api/traces")
    project.traces.record(trace(at=now()))
    seen = client.get("/api/monitor", params={"days": 1}).json()
    assert seen["totals"]["answers"] == 1
    assert seen["hours"][-1]["tokens"] + seen["hours"][0]["tokens"] >= 212
    assert seen["drift"]["questions"]["verdict"] == "no baseline"
    page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert 'ragtune_requests_total{method="GET",route="/api/traces",status="200"} 1.0' in page.text
    assert "ragtune_waiting 0.0" in page.text


def test_a_model_is_promoted_and_taken_back(project: Project, client: TestClient) -> None:
    done = client.post("/api/models/first/promote", json={"note": "quick"}).json()
    assert (done["served"], done["previous"]) == ("first", "second")
    assert "never evaluated" in done["warnings"][0]
    assert client.post("/api/models/openai:gpt-5-mini/promote").json()["served"] == "openai:gpt-5-mini"
    assert client.post("/api/rollback", json={"note": "dear"}).json()["served"] == "first"
    assert client.post("/api/rollback").json()["served"] == "second"
    assert client.post("/api/rollback").status_code == 409
    assert client.post("/api/models/third/promote").status_code == 404
    unknown = client.post("/api/models/first/promote", json={"against": "second", "fail_if": ["retrieved.f1 < 0"]})
    assert (unknown.status_code, "was not evaluated" in unknown.json()["error"]["message"]) == (400, True)
    assert client.post("/api/models/first/promote", json={"against": "second", "fail_if": ["nonsense"]}).status_code == 400
    assert client.post("/api/models/first/promote", json={"fail_if": ["retrieved.f1 < 0"]}).status_code == 400
    entries = client.get("/api/audit").json()["entries"]
    assert [(each["action"], each["model"], each["note"]) for each in entries] == [
        ("rollback", "second", ""), ("rollback", "first", "dear"), ("promote", "openai:gpt-5-mini", ""), ("promote", "first", "quick"),
    ]  # fmt: skip
    assert {each["who"] for each in entries} == {"local"}


def test_a_key_sees_and_rates_its_own_and_no_more_than_its_scopes(project: Project, client: TestClient) -> None:
    asker, reader = key(project, "asker", "ask"), key(project, "reader", "ask", "read")
    writer, tagged = key(project, "writer", "ask", "read", "write"), key(project, "tagged", *ALL, access=["hr"])
    own, other = project.traces.record(trace(at=now(), key="asker")), project.traces.record(trace(at=now(), key="tagged"))

    def status(method: str, path: str, headers: dict[str, str], body: object = None) -> int:
        return int(client.request(method, path, headers=headers, json=body).status_code)

    assert status("GET", "/api/traces", {}) == 401
    assert [each["id"] for each in client.get("/api/traces", headers=asker).json()["traces"]] == [own]
    assert [each["id"] for each in client.get("/api/traces", headers=tagged).json()["traces"]] == [other]
    assert client.get("/api/traces", headers=reader).json()["total"] == 2
    assert status("GET", f"/api/traces/{other}", asker) == 404
    assert status("GET", f"/api/traces/{other}", reader) == 200
    for method, path, body in (("POST", f"/api/traces/{own}/feedback", {"rating": "up"}), ("DELETE", f"/api/traces/{other}", None)):
        assert status(method, path, reader, body) == 404
    assert status("POST", f"/api/traces/{own}/feedback", asker, {"rating": "up"}) == 200
    assert status("POST", f"/api/traces/{own}/feedback", writer, {"rating": "down"}) == 200
    for path in ("/api/review", "/api/monitor", "/metrics"):
        assert (status("GET", path, asker), status("GET", path, reader), status("GET", path, tagged)) == (403, 200, 403)
    assert (status("POST", "/api/review/x", reader, {"decision": "dismiss"}), status("POST", "/api/rollback", writer)) == (403, 403)
    assert status("GET", "/api/audit", writer) == 403


def test_a_new_key_of_an_old_name_does_not_see_what_the_old_one_asked(project: Project, client: TestClient) -> None:
    old = key(project, "asker", "ask")
    id_ = project.traces.record(trace(at=now(), key="asker"))
    assert client.get(f"/api/traces/{id_}", headers=old).status_code == 200
    project.revoke_key("asker")
    new = key(project, "asker", "ask")
    assert client.get("/api/traces", headers=new).json()["total"] == 0
    for method, path, body in (("GET", "", None), ("POST", "/feedback", {"rating": "up"}), ("DELETE", "", None)):
        assert client.request(method, f"/api/traces/{id_}{path}", headers=new, json=body).status_code == 404
