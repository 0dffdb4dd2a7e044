"""The stand-in answers as the server does: each of its answers fits the schema of the server's own, and has no field more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from stand_in import ROUTES, StandIn

from waiting import PATIENCE_S

pytest.importorskip("fastapi", reason="fastapi is not installed")

from ragtune import Project
from ragtune.serve.app import close_state, create_app
from ragtune.serve.records import AnswerBody, PieceBody, RetrievedBody

jsonschema_rs = pytest.importorskip("jsonschema_rs", reason="jsonschema-rs is not installed")

NOTE = {"files": ("note.md", b"# A note")}
JOB = {"kind": "train", "arguments": {}, "settings": {"train.epochs": 1}}
DECISION = {"decision": "accept", "answers": [], "evidence": []}
# In the order in which they are asked: a method, a path with what fills it, and what is sent.
ASKED: list[tuple[str, str, str, dict[str, Any]]] = [
    ("GET", "/health", "", {}),
    ("GET", "/api/status", "", {}),
    ("GET", "/v1/models", "", {}),
    ("GET", "/api/documents", "", {}),
    ("GET", "/api/document", "", {"params": {"source": "lines/arvel-link.md"}}),
    ("POST", "/api/documents", "", {"files": NOTE}),
    ("DELETE", "/api/document", "", {"params": {"source": "uploads/note.md"}}),
    ("GET", "/api/jobs", "", {}),
    ("POST", "/api/jobs", "", {"json": JOB}),
    ("GET", "/api/jobs/{id}", "job-1", {}),
    ("POST", "/api/jobs/{id}/stop", "job-4", {}),
    ("POST", "/api/jobs/{id}/resume", "job-4", {}),
    ("DELETE", "/api/jobs/{id}", "job-3", {}),
    ("GET", "/api/presets", "", {}),
    ("GET", "/api/models", "", {}),
    ("GET", "/api/models/{name}/metrics", "tuned-1fdca424", {}),
    ("POST", "/api/models/{name}/promote", "tuned-77b0c1e9", {"json": {"note": "lower loss"}}),
    ("POST", "/api/rollback", "", {"json": {}}),
    ("GET", "/api/audit", "", {}),
    ("GET", "/api/evaluations", "", {}),
    ("GET", "/api/evaluations/{name}", "test-f0142b99", {}),
    ("GET", "/api/evaluations/{name}/questions", "test-f0142b99", {}),
    ("GET", "/api/traces", "", {}),
    ("GET", "/api/traces/{id}", "t00003", {}),
    ("POST", "/api/traces/{id}/feedback", "t00004", {"json": {"rating": "down", "reason": "It is wrong"}}),
    ("DELETE", "/api/traces/{id}", "t00001", {}),
    ("GET", "/api/review", "", {}),
    ("POST", "/api/review/{id}", "r0000", {"json": DECISION}),
    ("GET", "/api/monitor", "", {}),
]
OTHERS = [("POST", "/api/ask"), ("GET", "/api/jobs/{id}/events"), ("GET", "/api/evaluations/{name}/report.html")]
EVENTS = {"retrieved": RetrievedBody, "piece": PieceBody, "answer": AnswerBody}


def closed(schema: Any) -> Any:
    """A schema whose objects have no fields beyond those that it names."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(each) for name, each in schema.items()}
    return {**made, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else made


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Any:
    app = create_app(Project(tmp_path_factory.mktemp("any"), create=True))
    close_state(app.state.ragtune)
    return app.openapi()


def faults(schema: Any, answer: Any) -> list[str]:
    """How an answer does not fit a schema."""
    return sorted({fault.message[:200] for fault in jsonschema_rs.validator_for(closed(schema)).iter_errors(answer)})


@pytest.fixture(params=[False, True], ids=["example", "empty"])
def standing(request: Any) -> Iterator[StandIn]:
    server = StandIn(empty=request.param, pace=0.0).start()
    yield server
    server.shutdown()
    server.server_close()


def test_its_answers_fit_the_schemas_of_the_server(document: Any, standing: StandIn) -> None:
    told = []
    for method, path, name, sent in ASKED:
        if standing.example.empty and (name or sent):
            continue
        where = path.replace("{id}", name).replace("{name}", name)
        response = httpx.request(method, standing.address + where, timeout=PATIENCE_S, **sent)
        status, expected = next(pair for pair in document["paths"][path][method.lower()]["responses"].items() if pair[0][0] == "2")
        assert response.status_code == int(status), f"{method} {where}: {response.status_code} {response.text[:300]}"
        if response.content:
            schema = {**expected["content"]["application/json"]["schema"], "components": document["components"]}
            told += [f"{method} {path}: {fault}" for fault in faults(schema, response.json())]
    assert not told, "\n".join(told)


def test_the_events_of_its_answers_fit_the_schemas_of_the_server(standing: StandIn) -> None:
    text = httpx.post(
        f"{standing.address}/api/ask", json={"question": "Who was the first chair of the Cooperative?"}, timeout=PATIENCE_S
    ).text
    events = re.findall(r"^event: (\w+)\ndata: (.*)$", text, re.MULTILINE)
    assert {name for name, _ in events} == EVENTS.keys()
    for name, data in events:
        assert faults(EVENTS[name].model_json_schema(mode="serialization"), json.loads(data)) == [], name


def test_every_answer_of_it_is_looked_at() -> None:
    looked_at = [(method, path) for method, path, _, _ in ASKED] + OTHERS
    for method, pattern, _, _ in ROUTES:
        assert any(method == each and pattern.match(path) for each, path in looked_at), (method, pattern.pattern)
