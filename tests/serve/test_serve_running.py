"""A server under load, while its project changes, and when it stops."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from served_project import QUESTION, Served, running

from made_traces import trace
from ragtune import Project
from ragtune.listening import nobody_listens
from ragtune.pipeline.promote import promote
from ragtune.pipeline.traces import open_traces
from ragtune.serve import app
from ragtune.serve.server import Server, listen, serve
from tiny_project import document, fact
from waiting import PATIENCE_S, until

ASKED = {"messages": [{"role": "user", "content": QUESTION}]}
FORM = {"type": "object", "properties": {"text": {"type": "string", "minLength": 20000}}, "required": ["text"]}
LONG = {
    **ASKED,
    "max_tokens": 3000,
    "ragtune": {"retrieve": False},
    "response_format": {"type": "json_schema", "json_schema": {"name": "long", "schema": FORM}},
}
"""A tiny model stops when it likes, unless it may not."""
BEGUN = 20
"""Steps of the model in which the first words of an answer are written."""


@contextlib.contextmanager
def unfinished(server: Served) -> Iterator[None]:
    """Answers that are not whole before the end of the block, however long that takes: the model begins them, and goes on after it."""
    models = server.state.answering.models
    models.find()
    engine, steps, go_on = models._engine, itertools.count(1), threading.Event()
    step = engine._round
    engine._round = lambda: (next(steps) > BEGUN and go_on.wait(), step())
    try:
        yield
    finally:
        go_on.set()


@contextlib.contextmanager
def leaving(server: Served, method: str, path: str, body: object = None) -> Iterator[None]:
    """A client that has asked, does not listen, and leaves at the end of the block."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
        connection.request(method, path, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"})
        yield


def test_as_many_as_may_run_and_wait_the_others_are_told_to_come_back(own):
    with running(own("serve.rows=1", "serve.waiting=1", "serve.longest_answer=3000")) as server, server.client() as client:
        with (
            ThreadPoolExecutor(1) as other,
            unfinished(server),
            client.stream("POST", "/v1/chat/completions", json={**LONG, "stream": True}) as first,
        ):
            waiting = other.submit(client.post, "/v1/chat/completions", json={**ASKED, "max_tokens": 3})
            until(lambda: server.state.places.taken == 2)
            for stream in (False, True):
                refused = client.post("/v1/chat/completions", json={**ASKED, "stream": stream})
                assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
                assert int(refused.headers["retry-after"]) >= 1
            assert client.post("/api/ask", json={"question": QUESTION}).status_code == 429
            assert client.get("/health").status_code == 200
            first.close()
        assert waiting.result().status_code == 200
        until(lambda: server.state.places.taken == 0)
        assert client.post("/v1/chat/completions", json=ASKED).status_code == 200


def test_an_answer_that_waits_gives_its_place_back_when_its_client_leaves(own):
    with running(own("serve.rows=1", "serve.waiting=1", "serve.longest_answer=3000")) as server, unfinished(server):
        models = server.state.answering.models
        with leaving(server, "POST", "/v1/chat/completions", LONG):
            until(lambda: models.load == (1, 0))
            with leaving(server, "POST", "/v1/chat/completions", ASKED):
                until(lambda: models.load == (1, 1) and server.state.places.taken == 2)
            until(lambda: models.load == (1, 0) and server.state.places.taken == 1)


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_ends_when_its_client_leaves_and_what_was_made_of_it_counts(own, stream):
    with running(own("serve.longest_answer=3000")) as server:
        spent: list[int] = []
        server.state.limits.spend = lambda *of, **_: spent.append(of[1])
        models = server.state.answering.models
        with unfinished(server):
            if stream:
                with server.client() as client, client.stream("POST", "/v1/chat/completions", json={**LONG, "stream": True}) as response:
                    lines = response.iter_lines()  # held: letting go of it closes the response
                    assert next(lines).startswith("data:")
                    assert models.load == (1, 0)
            else:
                with leaving(server, "POST", "/v1/chat/completions", LONG):
                    until(lambda: models.load == (1, 0))
            until(lambda: models.load == (0, 0) and server.state.places.taken == 0)
            until(lambda: [trace.record.error for trace in server.state.traces.list().traces] == ["the client left"])
        usage = server.state.traces.list().traces[0].record.usage
        assert usage.prompt_tokens >= 5
        assert usage.completion_tokens >= (1 if stream else 0)  # of the other it is not known how far it came
        assert spent == [usage.prompt_tokens + usage.completion_tokens]


def test_an_answer_counts_for_its_key_when_the_client_leaves_before_its_end(own):
    project = own("serve.longest_answer=3000", "generate.max_new_tokens=3000")
    small = project.add_key("small", tokens_per_minute=10).secret
    with running(project) as server, server.client(small) as client:
        server.state.answering.models.find()
        with client.stream("POST", "/api/ask", json={"question": QUESTION}) as response:
            lines = response.iter_lines()
            assert next(line for line in lines if line == "event: piece")
        until(lambda: server.state.places.taken == 0)
        assert client.post("/api/ask", json={"question": QUESTION}).status_code == 429


def test_no_answer_is_longer_than_the_server_lets_it_be(own):
    with running(own("serve.longest_answer=3")) as server, server.client() as client:
        assert client.post("/v1/chat/completions", json=LONG).json()["usage"]["completion_tokens"] == 3


def test_an_answer_that_takes_too_long_is_a_gateways_timeout(own):
    with running(own("serve.longest_answer=3000", "serve.timeout=0.3")) as server, server.client() as client:
        late = client.post("/v1/chat/completions", json=LONG)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")


def test_embedding_many_texts_lets_others_search_meanwhile_and_takes_a_place(own):
    with running(own("serve.rows=1", "serve.waiting=0")) as server, server.client() as client:
        whole = client.post("/v1/embeddings", json={"input": ["the mill"]}).json()["data"][0]["embedding"]
        retriever, entered = server.state.answering.retriever, []
        compute = retriever.compute

        def counted(work):
            entered.append(server.state.places.taken)
            return compute(work)

        retriever.compute = counted
        found = client.post("/v1/embeddings", json={"input": ["the mill"] * 40}).json()
        assert entered == [1, 1, 1]
        assert [item["index"] for item in found["data"]] == list(range(40))
        assert found["data"][39]["embedding"] == pytest.approx(whole, abs=1e-5)
        until(lambda: server.state.places.taken == 0)
        server.state.places.taken = 1
        full = client.post("/v1/embeddings", json={"input": "the mill"})
        server.state.places.taken = 0
        assert (full.status_code, full.json()["error"]["code"]) == (429, "queue_full")


def test_searches_that_hang_take_places_and_nothing_else_waits_for_them(own):
    many = 45  # more than the threads in which the server runs what is not asynchronous
    with running(own("serve.rows=1", f"serve.waiting={many - 1}")) as server, server.client() as client:
        search = {"text": "mill"}
        assert client.get("/api/search", params=search).status_code == 200
        retriever, go_on = server.state.answering.retriever, threading.Event()
        compute = retriever.compute
        retriever.compute = lambda work: (go_on.wait(PATIENCE_S), compute(work))[1]
        with ThreadPoolExecutor(many) as askers:
            try:
                ask = lambda: httpx.get(f"{server.url}/api/search", params=search, timeout=PATIENCE_S)  # noqa: E731
                asked = [askers.submit(ask) for _ in range(many)]
                until(lambda: server.state.places.taken == many)
                for path in ("/health", "/ready", "/api/status"):
                    assert client.get(path, timeout=PATIENCE_S / 4).status_code == 200
                refused = client.get("/api/search", params=search)
                assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
                assert int(refused.headers["retry-after"]) >= 1
            finally:
                go_on.set()
            assert {each.result().status_code for each in asked} == {200}
        until(lambda: server.state.places.taken == 0)


def test_a_search_begins_nothing_more_when_its_client_leaves(own):
    with running(own("serve.rows=1", "serve.waiting=1")) as server:
        retriever, searching, given = server.state.answering.retriever, threading.Event(), []
        retriever.compute = lambda _: (searching.set(), until(nobody_listens), [[]])[2]
        retriever.threshold = lambda: given.append(nobody_listens())
        with leaving(server, "GET", "/api/search?text=mill"):
            assert searching.wait(PATIENCE_S)
        until(lambda: given)
        assert given == [True]


def test_a_model_is_looked_up_once_for_an_answer_and_its_name(own):
    with running(own()) as server, server.client() as client:
        models, asked = server.state.answering.models, []
        find = models.find
        models.find = lambda *args, **options: asked.append(args) or find(*args, **options)
        for more in ({}, {"ragtune": {"retrieve": False}}):
            assert client.post("/v1/chat/completions", json={**ASKED, "max_tokens": 3, **more}).status_code == 200
        assert len(asked) == 2


def test_answers_leave_traces_and_counts(own):
    with running(own()) as server, server.client() as client:
        found = client.post("/v1/chat/completions", json=ASKED).json()["ragtune"]
        trace = server.state.traces.find(found["trace"])
        assert (trace.record.question, trace.record.answer) == (QUESTION, found["answer"])
        assert trace.record.usage.completion_tokens == found["usage"]["completion_tokens"]
        assert [passage["document"] for passage in trace.record.passages] == [passage["document"] for passage in found["passages"]]
        once = 'ragtune_requests_total{method="POST",route="/v1/chat/completions",status="200"} 1.0'
        until(lambda: once in server.state.monitor.render().decode())  # counted when all is sent
        assert 'ragtune_answers_total{model="base",outcome="answered"} 1.0' in server.state.monitor.render().decode()


def test_traces_that_grow_too_old_are_forgotten_while_nobody_asks(own, monkeypatch):
    monkeypatch.setattr(app, "FORGET_SECONDS", 0.05)
    project = own("traces.days=7")
    store = open_traces(project.workspace, project.settings)
    for days in (6, 8):
        store.record(trace(at=(datetime.now(UTC) - timedelta(days=days)).isoformat()))
    with running(project) as server:
        until(lambda: store.list().total == 1)
        server.state.traces.days = 5
        until(lambda: store.list().total == 0)


def test_an_answer_goes_out_where_its_trace_cannot_be_kept(own, monkeypatch, caplog):
    monkeypatch.setattr("ragtune.traces.store.BUSY_SECONDS", 0.1)
    with running(own()) as server, server.client() as client:
        with contextlib.closing(sqlite3.connect(server.project.workspace.traces, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            whole = client.post("/v1/chat/completions", json=ASKED)
            events = client.post("/api/ask", json={"question": QUESTION}).text.strip().split("\n\n")
        assert whole.status_code == 200, whole.text
        assert whole.json()["ragtune"]["trace"] is None
        assert whole.json()["choices"][0]["message"]["content"]
        assert events[-1].startswith("event: answer\n")
        assert sum("leaves no trace" in record.message for record in caplog.records) == 2
        assert client.post("/v1/chat/completions", json=ASKED).json()["ragtune"]["trace"] is not None


def test_the_index_is_exchanged_without_a_failed_request(own):
    project = own()
    statuses: list[int] = []
    done = threading.Event()
    with running(project) as server:
        with server.client() as client:  # a server that never had a whole index says that it is being made
            assert client.get("/api/search", params={"text": QUESTION}).status_code == 200

        def ask(number: int) -> None:
            with server.client() as client:
                while not done.is_set():
                    found = client.get("/api/search", params={"text": QUESTION})
                    assert found.status_code == 200, found.text
                    statuses.append(found.status_code)
                    if number == 0:
                        answer = client.post("/v1/chat/completions", json={**ASKED, "max_tokens": 2})
                        statuses.append(answer.status_code)

        with ThreadPoolExecutor(4) as clients, server.client() as client:
            asking = [clients.submit(ask, number) for number in range(4)]
            try:
                documents = Path(project.settings.documents[0])
                for place in ("Farrow-on-Sea", "Kelby-on-Sea"):
                    (documents / f"{place.lower()}.md").write_text(document(place, 4), encoding="utf-8")
                    (documents / "ardmoor.md").write_text(document(f"Ardmoor {place}", 4), encoding="utf-8")
                    child = "import sys, ragtune; p = ragtune.Project(sys.argv[1]); p.ingest(); p.index()"
                    subprocess.run([sys.executable, "-c", child, str(project.path)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
                    text, wanted = f"Who built the mill of {place}?", fact(place, "mill")
                    found = lambda text=text: client.get("/api/search", params={"text": text}).json()["hits"]  # noqa: E731
                    # The old index serves while another request is opening the new one.
                    until(lambda found=found, wanted=wanted: any(wanted in hit["text"] for hit in found()))
                until(lambda: len(statuses) > 20)
            finally:
                done.set()
            for each in asking:
                each.result(PATIENCE_S)
    assert set(statuses) == {200}


def test_a_model_that_was_trained_meanwhile_answers_at_once_and_so_does_a_promoted_one(own):
    project = own()
    with running(project) as server, server.client() as client:
        ask = lambda name: client.post("/v1/chat/completions", json={**ASKED, "model": name}).json()  # noqa: E731
        assert ask("ragtune")["model"] == "base"
        assert ask("late")["error"]["code"] == "model_not_found"
        other = Project(project.path)
        other.dataset()
        other.train(name="late")
        assert ask("late")["model"] == "late"
        assert ask("ragtune")["model"] == "late"
        assert "late" in [model["id"] for model in client.get("/v1/models").json()["data"]]
        promote(other.workspace, "base", who="somebody")
        assert ask("ragtune")["model"] == "base"


def test_without_an_index_the_server_says_what_to_do(project):
    with running(Project(project)) as server, server.client() as client:
        refused = client.post("/v1/chat/completions", json=ASKED)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_ready")
        assert "ragtune ingest" in refused.json()["error"]["message"]
        assert any("ragtune ingest" in warning for warning in client.get("/api/status").json()["warnings"])


HELD = f"""
import sys, time
from pathlib import Path
from ragtune.cli import main
from ragtune.engine.continuous import ContinuousEngine

gate, steps, step = Path(sys.argv.pop(1)), iter(range({BEGUN})), ContinuousEngine._round

def held(self):
    while next(steps, None) is None and gate.exists():
        time.sleep(0.01)
    time.sleep(0.002)  # the longest answer takes some seconds more, on any machine
    step(self)

ContinuousEngine._round = held
main()
"""


def start(project: Project, gate: Path, *more: str) -> tuple[subprocess.Popen[str], str]:
    """``ragtune serve`` in a process of its own, and its address; its model begins answers, and goes on when the gate is gone."""
    gate.touch()
    command = [sys.executable, "-c", HELD, str(gate), "serve", "--port", "0", "--project", str(project.path), *more]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("serving "):
            return process, line.split(" at ")[1].split(" ")[0]
    raise AssertionError("it did not start")


def test_a_stopping_server_finishes_its_answers_and_takes_no_new_ones(own, tmp_path):
    gate = tmp_path / "gate"
    process, url = start(own(), gate, "--set", f"serve.drain={PATIENCE_S}")
    try:
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as client, httpx.Client(base_url=url, timeout=PATIENCE_S) as other:
            body = {**LONG, "max_tokens": 600, "stream": True}
            with client.stream("POST", "/v1/chat/completions", json=body) as response:
                lines = response.iter_lines()
                next(lines)
                assert other.get("/ready").status_code == 200
                process.send_signal(signal.SIGTERM)
                until(lambda: other.get("/ready").status_code == 503)
                refused = other.post("/v1/chat/completions", json=ASKED)
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
                assert "retry-after" in refused.headers
                assert other.get("/health").status_code == 200
                gate.unlink()
                rest = [line for line in lines if line]
            assert rest[-1] == "data: [DONE]"
            assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] in ("stop", "length")
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_answers_that_take_too_long_are_cut_when_the_server_stops(own, tmp_path):
    gate = tmp_path / "gate"
    process, url = start(own(), gate, "--set", "serve.drain=0.5", "--set", "serve.longest_answer=3000")
    try:
        with (
            httpx.Client(base_url=url, timeout=PATIENCE_S) as client,
            client.stream("POST", "/v1/chat/completions", json={**LONG, "stream": True}) as response,
        ):
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            gate.unlink()
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_port_that_is_taken_and_an_open_address_are_refused_in_a_line(own, served):
    project = own()
    port = served.url.rpartition(":")[2]
    for more, said in ((["--port", port], "--port 0"), (["--host", "0.0.0.0"], "ragtune keys add")):  # noqa: S104
        command = [sys.executable, "-m", "ragtune.cli", "serve", "--project", str(project.path), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_a_connection_is_kept_for_longer_than_clients_keep_theirs(own, monkeypatch):
    kept: list[float] = []

    def run(server: Server, sockets: list[socket.socket]) -> None:
        kept.append(server.config.timeout_keep_alive)
        app.close_state(server._state)

    monkeypatch.setattr(Server, "run", run)
    serve(own("serve.port=0"))
    assert kept[0] > httpx.Limits().keepalive_expiry


def test_each_piece_of_an_answer_is_sent_at_once() -> None:
    listening = listen("127.0.0.1", 0)
    with listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            # asyncio switches the kernel's waiting for more off on sockets that say they are TCP's.
            assert accepted.proto == socket.IPPROTO_TCP
