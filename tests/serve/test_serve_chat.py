"""Chat completions as OpenAI's clients ask for them, over plain HTTP."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import Any

import pytest
from served_project import QUESTION, running

from faults import openai_stream
from ragtune import Project
from ragtune.serve.answering import Request
from ragtune.serve.app import NO_PAGE, WEB
from ragtune.serve.records import AnswerBody
from ragtune.serve.warnings import evaluation_warnings
from ragtune.workspace import Manifest, Workspace, library_versions, write_manifest

ASKED = {"messages": [{"role": "user", "content": QUESTION}]}
TOOL = {"type": "function", "function": {"name": "search_web", "parameters": {"type": "object", "properties": {}}}}
OFFERED = {"tools": [TOOL] * 36, "functions": [TOOL["function"]]}


def chunks(text: str) -> list[dict[str, Any]]:
    """The events of a stream, which ends as OpenAI's do."""
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def content(parts: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content", "") for part in parts for choice in part["choices"])


@pytest.fixture(scope="module")
def client(served):
    with served.client() as made:
        yield made


def test_an_answer_has_openais_shape_and_its_citations_beside(client):
    found = client.post("/v1/chat/completions", json=ASKED).json()
    assert (found["object"], found["model"], found["choices"][0]["message"]["role"]) == ("chat.completion", "first", "assistant")
    assert found["usage"]["total_tokens"] == found["usage"]["prompt_tokens"] + found["usage"]["completion_tokens"] > 0
    own = found["ragtune"]
    assert own["question"] == QUESTION
    assert [passage["number"] for passage in own["passages"]] == [1, 2]
    assert own["passages"][0]["document"] == "ardmoor.md"
    assert own["seconds"]["total"] >= own["seconds"]["retrieval"] > 0


def test_a_stream_joins_to_the_whole_answer(client):
    whole = client.post("/v1/chat/completions", json=ASKED).json()
    response = client.post("/v1/chat/completions", json={**ASKED, "stream": True, "stream_options": {"include_usage": True}})
    assert response.headers["content-type"].startswith("text/event-stream")
    parts = chunks(response.text)
    assert content(parts) == whole["choices"][0]["message"]["content"]
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    assert len({part["id"] for part in parts}) == 1
    *_, last, usage = parts
    assert last["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert last["ragtune"]["passages"] == whole["ragtune"]["passages"]
    assert usage["choices"] == []
    assert usage["usage"] == whole["usage"]


def test_an_answer_that_the_limit_cuts_says_so(client):
    found = client.post("/v1/chat/completions", json={**ASKED, "max_tokens": 2}).json()
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("name", ["ragtune", "base", "first"])
def test_base_and_adapter_are_chosen_by_name(client, name):
    found = client.post("/v1/chat/completions", json={**ASKED, "model": name}).json()
    assert found["model"] == ("first" if name == "ragtune" else name)


def test_a_chat_without_documents_is_the_models_own_words(client):
    found = client.post("/v1/chat/completions", json={**ASKED, "max_tokens": 5, "ragtune": {"retrieve": False}}).json()
    assert found["ragtune"]["passages"] == []
    assert found["choices"][0]["message"]["content"] == found["ragtune"]["answer"]


def test_a_seed_repeats_what_chance_chose(client):
    drawn = {**ASKED, "max_tokens": 24, "temperature": 1.5, "ragtune": {"retrieve": False}}
    found = [
        client.post("/v1/chat/completions", json={**drawn, "seed": seed}).json()["choices"][0]["message"]["content"] for seed in (1, 2, 1)
    ]
    assert found[0] == found[2] != found[1]
    streamed = client.post("/v1/chat/completions", json={**drawn, "seed": 1, "stream": True})
    assert content(chunks(streamed.text)) == found[0]


def test_a_stop_ends_the_text_before_it(client):
    asked = {**ASKED, "max_tokens": 24, "ragtune": {"retrieve": False}}
    whole = client.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"]
    stop = whole[len(whole) // 2 :][:3]
    wanted = whole[: whole.index(stop)]
    for given in (stop, ["no such words", stop]):
        choice = client.post("/v1/chat/completions", json={**asked, "stop": given}).json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == (wanted, "stop")
        streamed = chunks(client.post("/v1/chat/completions", json={**asked, "stop": given, "stream": True}).text)
        assert (content(streamed), streamed[-1]["choices"][0]["finish_reason"]) == (wanted, "stop")


def test_earlier_turns_are_what_was_said_before(client):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Who built the mill of Ardmoor?"}]},
        {"role": "assistant", "content": "Hollow Marsh"},
        {"role": "user", "content": "And the bridge?"},
    ]
    found = client.post("/v1/chat/completions", json={"messages": turns}).json()
    assert found["ragtune"]["question"] == "And the bridge?"
    assert found["ragtune"]["passages"][0]["document"] == "ardmoor.md"


def test_calls_of_tools_in_the_history_are_passed_over(client, served):
    turns = [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "assistant", "tool_calls": []},
        {"role": "assistant", "content": "Good day."},
        *ASKED["messages"],
    ]
    found = client.post("/v1/chat/completions", json={"messages": turns}).json()
    history = served.state.traces.find(found["ragtune"]["trace"]).record.history
    assert [(turn.role, turn.content) for turn in history] == [("user", "Hello"), ("assistant", "Good day.")]


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_tools_that_are_only_offered_are_passed_over(client, choice):
    plain = client.post("/v1/chat/completions", json=ASKED).json()["choices"]
    offered = {**ASKED, **OFFERED, "parallel_tool_calls": True, "tool_choice": choice, "function_call": choice}
    assert client.post("/v1/chat/completions", json=offered).json()["choices"] == plain


def test_an_answer_to_a_filters_nothing_is_not_queued_for_review(client):
    asked = {"messages": [{"role": "user", "content": "Which tower leans?"}], "ragtune": {"source": "nowhere*"}}
    assert client.post("/v1/chat/completions", json=asked).json()["ragtune"]["abstained"]
    queued = {item["question"] for item in client.get("/api/review").json()["items"]}
    assert "Which tower leans?" not in queued


@pytest.mark.parametrize(("model", "expected"), [("first", True), ("base", False)])
def test_the_base_beside_a_tuned_model_has_nothing_to_mend(client, served, model, expected):
    body = AnswerBody.model_validate(client.post("/v1/chat/completions", json={**ASKED, "model": model}).json()["ragtune"])
    assert body.model == model
    assert served.state.answering._to_review(Request(QUESTION), body) == expected


def test_documents_can_be_chosen(client):
    found = client.post("/v1/chat/completions", json={**ASKED, "ragtune": {"source": "brenholt*", "k": 1}}).json()
    assert [passage["document"] for passage in found["ragtune"]["passages"]] == ["brenholt.md"]


@pytest.mark.parametrize(
    ("changed", "status", "param"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, 400, "messages"),
        ({"n": 2}, 400, "n"),
        ({**OFFERED, "tool_choice": "required"}, 400, "tool_choice"),
        ({**OFFERED, "tool_choice": {"type": "function", "function": {"name": "search_web"}}}, 400, "tool_choice"),
        ({**OFFERED, "function_call": {"name": "search_web"}}, 400, "function_call"),
        ({"temperature": 3}, 400, "temperature"),
        ({"stream": "yes"}, 400, "stream"),
        ({"model": "nobody"}, 404, None),
        ({"stop": ["x" * 1001]}, 400, "stop"),
        ({"messages": [{"role": "user", "content": None}]}, 400, "messages"),
        ({"messages": [*ASKED["messages"], {"role": "tool", "tool_call_id": "1", "content": "x"}]}, 400, "messages"),
        ({"ragtune": {"kk": 3}}, 400, "ragtune.kk"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(client, changed, status, param):
    response = client.post("/v1/chat/completions", json={**ASKED, **changed})
    error = response.json()["error"]
    assert response.status_code == status, error
    assert error["message"]
    assert param is None or (error["param"] or "").startswith(param), error
    streamed = client.post("/v1/chat/completions", json={**ASKED, "stream": True, **changed})
    assert streamed.status_code == status, "an error before the first word is one of HTTP, in a stream too"


def test_a_request_that_is_not_json_is_told_where(client):
    sent = client.post("/v1/chat/completions", content='{"model": ', headers={"Content-Type": "application/json"})
    error = sent.json()["error"]
    assert (sent.status_code, error["code"], error["param"]) == (400, "json_invalid", None)
    assert error["message"] == "the request is not JSON: Expecting value at character 11"


def test_api_ask_gives_passages_pieces_and_the_answer(client):
    text = client.post("/api/ask", json={"question": QUESTION, "history": [{"role": "user", "content": "Hello"}]}).text
    events = [block.split("\n") for block in text.strip().split("\n\n")]
    names = [lines[0].removeprefix("event: ") for lines in events]
    data = [json.loads(lines[1].removeprefix("data: ")) for lines in events]
    assert (names[0], names[-1]) == ("retrieved", "answer")
    assert set(names[1:-1]) == {"piece"}
    assert data[-1]["passages"] == data[0]["passages"]
    assert data[-1]["usage"]["completion_tokens"] > 0


def test_search_finds_what_the_command_finds(served, client):
    found = client.get("/api/search", params={"text": QUESTION, "k": 3}).json()["hits"]
    wanted = served.project.search(QUESTION, 3)
    assert [(hit["document"], hit["start"], hit["score"]) for hit in found] == [(hit.source, hit.start, hit.score) for hit in wanted]


def test_status_tells_what_is_served(client):
    found = client.get("/api/status").json()
    assert (found["model"], found["documents"], found["keys_required"]) == ("first", 8, False)
    assert found["queue"] == {"rows": 16, "running": 0, "waiting": 0, "capacity": 80}
    assert found["caller"] == {"name": "local", "scopes": ["ask", "read", "write", "admin"], "access": None}
    assert any("never evaluated" in warning for warning in found["warnings"])


def test_the_page_is_at_the_root_and_at_its_own_routes(client):
    if not (WEB / "index.html").is_file():
        assert client.get("/").text == NO_PAGE
        return
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    assert client.get("/documents", headers={"Accept": "text/html"}).text == page.text
    assert client.get("/nowhere.js").status_code == 404
    asset = next((WEB / "assets").glob("*.js")).name
    found = client.get(f"/assets/{asset}")
    assert (found.status_code, "immutable" in found.headers["cache-control"]) == (200, True)
    assert client.get("/assets/gone.js").headers["cache-control"] == "no-cache"
    assert client.get("/assets/..%2f..%2fapp.py").status_code == 404


def test_what_differs_from_the_evaluation_is_said(indexed, tmp_path):
    workspace = Project(indexed).workspace
    tuned = workspace.find("models", "first")
    settings = Project(indexed).settings
    evaluated = Manifest(
        "evaluations",
        "test-1",
        "k",
        {"model_names": {"tuned": "first"}, "models": {"tuned": tuned.key}},
        {"model": {"base": settings.model.base, "dtype": "bfloat16"}, "prompt": 1, "k": 2, "generate": settings.generate.model_dump()},
        versions=library_versions() | {"torch": "1.0"},
        device="cuda",
    )
    elsewhere = Workspace(tmp_path)
    write_manifest(elsewhere.artifact("evaluations", "test-1"), evaluated)
    said = "\n".join(evaluation_warnings(elsewhere, settings, tuned, "cpu"))
    for part in ("device cpu, and was evaluated (test-1) with cuda", "model.dtype float32", "prompt version 2", "with 1.0"):
        assert part in said
    assert len(said.splitlines()) == 4


def test_a_hosted_model_answers_from_the_documents_too(own, llama_server, monkeypatch):
    monkeypatch.setenv("COMPATIBLE_API_KEY", llama_server.key)
    name = "compatible:smollm2"
    project = own(f'chat.base_urls={{compatible = "{llama_server.url}"}}', f'serve.hosted=["{name}"]')
    asked = {"model": name, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 8}
    with running(project) as server, server.client() as client:
        assert name in [each["id"] for each in client.get("/v1/models").json()["data"]]
        answered = client.post("/v1/chat/completions", json=asked)
        assert answered.status_code == 200, answered.text
        found = answered.json()["ragtune"]
        assert found["model"] == name
        assert found["passages"]
        assert answered.json()["usage"]["prompt_tokens"] > 100
        with client.stream("POST", "/v1/chat/completions", json={**asked, "stream": True}) as streamed:
            assert [line for line in streamed.iter_lines() if line][-1] == "data: [DONE]"


@pytest.mark.parametrize(("traces", "kept"), [("keep=true", 1), ("keep=false", 0), ("redact=['Ardmoor']", 0)])
def test_replies_of_hosted_models_are_kept_where_traces_are(own, faults, monkeypatch, traces, kept):
    monkeypatch.setenv("COMPATIBLE_API_KEY", "secret")
    project = own(f'chat.base_urls={{compatible = "{faults.url}"}}', f"traces.{traces}")
    faults.script(openai_stream())
    with running(project) as server, server.client() as client:
        assert client.post("/v1/chat/completions", json={**ASKED, "model": "compatible:any"}).status_code == 200
    with contextlib.closing(sqlite3.connect(project.workspace.ledger)) as db:
        assert db.execute("SELECT COUNT(*) FROM replies").fetchone() == (kept,)


class Panic(BaseException):
    """As Rust's come to Python: no ``Exception``."""


@pytest.mark.parametrize("bug", [ZeroDivisionError("a bug"), Panic("a bug")])
@pytest.mark.parametrize("pieces", [["The mill"], []])
def test_a_bug_is_told_and_logged_under_the_requests_id_in_the_middle_of_a_stream_too(served, monkeypatch, caplog, bug, pieces):
    def stream(*_):
        yield from pieces
        raise bug

    monkeypatch.setattr(served.state.answering, "stream", stream)
    with served.client() as client:
        response = client.post("/api/ask", json={"question": QUESTION})
    if pieces:
        name, data = response.text.strip().split("\n\n")[-1].split("\n")
        assert (response.status_code, name) == (200, "event: error")
        error = json.loads(data.removeprefix("data: "))["error"]
    else:
        assert response.status_code == 500
        error = response.json()["error"]
    assert error["code"] == "internal_error"
    (said,) = [record for record in caplog.records if record.name == "ragtune.serve"]
    assert said.message == f"{response.headers['x-request-id']} POST /api/ask failed"
    assert f"{type(bug).__name__}: a bug" in caplog.text
