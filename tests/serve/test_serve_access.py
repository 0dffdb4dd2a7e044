"""Who may ask what, how much, and from where."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from served_project import QUESTION, running

from ragtune import Project
from ragtune.access import AccessStore
from ragtune.config import load_settings
from ragtune.errors import ConfigError, ProjectError
from ragtune.prompts import WITH_PASSAGES
from ragtune.serve.answering import Answering, Request, guess_tokens
from ragtune.serve.errors import ApiError
from ragtune.serve.jobs.records import FINISHED
from ragtune.serve.limits import Limits
from ragtune.serve.server import check_binding
from ragtune.sqlite import BUSY_SECONDS
from waiting import PATIENCE_S, until

ASKED = {"messages": [{"role": "user", "content": QUESTION}]}


@pytest.fixture
def keyed(own):
    """A server whose project has keys of the test's own."""
    project = own("serve.origins=['https://chat.example.org']")
    with running(project) as server:
        yield server


def test_a_key_is_random_shown_once_and_kept_as_a_hash(tmp_path):
    store = AccessStore(tmp_path / "keys.db")
    assert not store.required
    assert not (tmp_path / "keys.db").exists()
    made, other = store.add("one", scopes=["read", "ask"]), store.add("two")
    assert made.secret.startswith("rt-")
    assert len(made.secret) >= 3 + 43  # 256 bits in base64
    assert made.secret != other.secret
    assert made.key.scopes == ("ask", "read")
    assert store.required
    assert store.find(made.secret).name == "one"
    assert store.find(made.secret[:-1]) is None
    store.close()
    assert made.secret[3:].encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert (tmp_path / "keys.db").stat().st_mode & 0o077 == 0


def test_a_key_is_known_at_once_where_its_use_cannot_be_noted(tmp_path, caplog):
    store = AccessStore(tmp_path / "keys.db")
    secret = store.add("one").secret
    with contextlib.closing(sqlite3.connect(tmp_path / "keys.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert store.find(secret).name == "one"
        assert time.monotonic() - began < BUSY_SECONDS, "it waits for nobody's writing"
    assert "locked" in caplog.text
    assert store.keys()[0].used is None
    store.find(secret)
    assert store.keys()[0].used is not None
    store.close()


def test_a_name_is_taken_once_and_a_revoked_key_is_none(tmp_path):
    store = AccessStore(tmp_path / "keys.db")
    secret = store.add("one").secret
    with pytest.raises(ProjectError, match="ragtune keys revoke one"):
        store.add("one")
    with pytest.raises(ConfigError, match="choose of ask, read, write, admin"):
        store.add("two", scopes=["all"])
    with pytest.raises(ProjectError, match="there are: one"):
        store.revoke("two")
    store.revoke("one")
    assert store.find(secret) is None
    with pytest.raises(ConfigError, match="goes by it"):
        store.add("Local")
    store.close()


def test_once_there_was_a_key_one_is_needed_until_that_is_taken_back(tmp_path):
    running, store = AccessStore(tmp_path / "keys.db"), AccessStore(tmp_path / "keys.db")
    assert store.open_again() == []
    assert not running.required
    for _ in range(2):
        store.add("one")
        store.revoke("one")
        assert running.required
        store.close()
        assert store.required, "after a restart too"
        assert [store.add("two").key.name] == [key.name for key in store.open_again()]
        assert (running.required, store.required, store.keys()) == (False, False, [])
    store.close()
    running.close()


def test_a_key_expires(tmp_path):
    store = AccessStore(tmp_path / "keys.db")
    secret = store.add("one", expires=datetime.now(UTC) + timedelta(days=1)).secret
    assert store.find(secret) is not None
    with sqlite3.connect(tmp_path / "keys.db") as db:
        db.execute("UPDATE keys SET expires = ?", ((datetime.now(UTC) - timedelta(seconds=1)).isoformat(),))
    assert store.find(secret) is None
    with pytest.raises(ConfigError, match="a day to come"):
        store.add("late", expires=datetime.now(UTC) - timedelta(days=1))
    store.close()


def test_without_keys_everybody_on_this_machine_may_ask(served):
    with served.client() as client:
        assert client.get("/api/status").json()["caller"]["name"] == "local"


def test_with_keys_every_caller_needs_one_that_has_the_scope(keyed):
    asking = keyed.project.add_key("asker").secret
    reading = keyed.project.add_key("reader", scopes=["read"]).secret
    with keyed.client() as nobody, keyed.client(asking) as asker, keyed.client(reading) as reader, keyed.client("rt-wrong") as wrong:
        for client, status in ((nobody, 401), (wrong, 401), (reader, 403), (asker, 200)):
            for answer in (
                client.get("/api/status"),
                client.get("/v1/models"),
                client.get("/api/search", params={"text": "mill"}),
                client.post("/v1/chat/completions", json=ASKED),
                client.post("/v1/embeddings", json={"input": "mill"}),
                client.post("/api/ask", json={"question": QUESTION}),
            ):
                assert answer.status_code == status, answer.text
                assert status == 200 or answer.json()["error"]["message"]
        assert nobody.get("/api/status").headers["www-authenticate"] == "Bearer"
        assert nobody.get("/api/status", headers={"api-key": asking}).status_code == 200
        assert nobody.get("/health").status_code == nobody.get("/ready").status_code == 200


def test_a_key_that_is_revoked_is_refused_at_once(keyed):
    keyed.project.add_key("stays")
    secret = keyed.project.add_key("goes").secret
    with keyed.client(secret) as client:
        assert client.get("/api/status").status_code == 200
        Project(keyed.project.path).revoke_key("goes")
        assert client.get("/api/status").status_code == 401


def test_revoking_the_last_key_opens_nothing(own):
    project = own("serve.port=8321")
    project.add_key("only")
    with running(project) as server, server.client() as client:
        project.revoke_key("only")
        assert client.get("/api/status").status_code == 401
        project.revoke_keys()
        assert client.get("/api/status").json()["caller"]["name"] == "local"


def test_whoever_watches_a_job_sees_no_more_when_the_key_is_revoked(keyed):
    keyed.project.add_key("stays")
    secret = keyed.project.add_key("goes", scopes=["read", "write"]).secret
    with keyed.project.workspace.lock("index"), keyed.client(secret) as client:  # the job waits for as long as it is held
        job = client.post("/api/jobs", json={"kind": "ingest"}).json()["id"]
        try:
            with client.stream("GET", f"/api/jobs/{job}/events") as stream:
                assert stream.status_code == 200
                Project(keyed.project.path).revoke_key("goes")
                end = time.monotonic() + PATIENCE_S
                for _ in stream.iter_lines():  # a stream that goes on says so every few seconds
                    assert time.monotonic() < end
            assert keyed.state.jobs.find(job).state not in FINISHED, "it is not the job's end that ended it"
        finally:
            keyed.state.jobs.stop(job)
            until(lambda: keyed.state.jobs.find(job).state in FINISHED)


def test_methods_that_nobody_knows_are_one_series(served):
    with served.client() as client:
        client.request("BREW", "/health")
    until(lambda: 'method="other"' in served.state.monitor.render().decode())  # counted when the answer was sent
    counted = served.state.monitor.render().decode()
    assert "BREW" not in counted


def test_access_tags_of_a_key_limit_what_is_found(own):
    project = own('prepare.metadata={"ardmoor*" = {access = ["hr"]}}')
    hr, other = project.add_key("hr", access=["hr"]).secret, project.add_key("other", access=[]).secret
    with running(project) as server, server.client(hr) as inside, server.client(other) as outside:
        for ask in (
            lambda client: {hit["document"] for hit in client.get("/api/search", params={"text": QUESTION}).json()["hits"]},
            lambda client: {
                passage["document"] for passage in client.post("/v1/chat/completions", json=ASKED).json()["ragtune"]["passages"]
            },
        ):
            assert "ardmoor.md" in ask(inside)
            assert "ardmoor.md" not in ask(outside)
        counts = [client.get("/api/status").json() for client in (inside, outside)]
        assert [(each["documents"], each["chunks"]) for each in counts] == [(8, None), (7, None)]


def test_a_keys_limits_are_kept(keyed):
    few = keyed.project.add_key("few", requests_per_minute=2).secret
    small = keyed.project.add_key("small", tokens_per_minute=10).secret
    with keyed.client(few) as client:
        statuses = [client.get("/api/search", params={"text": "mill"}).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        answer = client.get("/api/search", params={"text": "mill"})
        assert 0 < int(answer.headers["retry-after"]) <= 61
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert client.get("/api/status").status_code == 200, "looking at the status is no question"
    with keyed.client(small) as client:
        assert client.post("/v1/chat/completions", json=ASKED).status_code == 200
        assert client.post("/v1/chat/completions", json=ASKED).status_code == 429


def test_requests_are_counted_over_any_minute_and_not_over_the_clocks(monkeypatch):
    at = [59.8]
    monkeypatch.setattr("limits.storage.memory.time", SimpleNamespace(time=lambda: at[0]))
    limits = Limits()
    limits.enter("few", 2, None)
    at[0] = 60.1
    limits.enter("few", 2, None)
    for at[0] in (60.2, 119.7):
        with pytest.raises(ApiError, match="2 requests a minute"):
            limits.enter("few", 2, None)
    at[0] = 119.9
    limits.enter("few", 2, None)


def test_tokens_are_held_back_for_the_instruction_and_for_longer_passages(tmp_path):
    held: list[int] = []

    def reserve(tokens: int) -> contextlib.AbstractContextManager[None]:
        held.append(tokens)
        raise ApiError(429, "enough")

    project = Project(tmp_path, create=True)
    for expand in ("none", "neighbours"):
        settings = load_settings(tmp_path, [f'retrieve.expand="{expand}"', "prepare.chunk_size=100", "generate.max_new_tokens=50"])
        asked = Request("When?", k=4, reserve=reserve)
        with pytest.raises(ApiError):
            next(Answering(project.workspace, settings).stream(asked, SimpleNamespace(k=3)))
    read = guess_tokens([WITH_PASSAGES, "When?"])
    assert held == [read + 400 + 50, read + 1000 + 50]


def test_answers_on_their_way_count_for_their_keys_limit_as_if_they_took_all_they_may():
    limits = Limits()
    with limits.reserve("small", 200, 10):  # nothing else was asked: it is given, though it may take more
        with pytest.raises(ApiError) as refused, limits.reserve("small", 1, 10):
            pass
        assert (refused.value.status_code, refused.value.code) == (429, "rate_limit_exceeded")
        assert int(refused.value.headers["Retry-After"]) >= 1
        with limits.reserve("other", 1, 10):
            pass
    with pytest.raises(ZeroDivisionError), limits.reserve("small", 200, 10):
        raise ZeroDivisionError
    with limits.reserve("small", 6, 10), limits.reserve("small", 6, 10):  # what was not taken is free again
        limits.spend("small", 3, 10)
    with limits.reserve("small", 6, 10):
        pass
    limits.spend("small", 7, 10)
    with pytest.raises(ApiError), limits.reserve("small", 1, 10):
        pass


def test_a_key_cannot_have_its_limit_many_times_at_once(keyed):
    small = keyed.project.add_key("small", tokens_per_minute=10).secret
    retriever, entered, go_on = keyed.state.answering.retriever, threading.Event(), threading.Event()
    compute = retriever.compute
    retriever.compute = lambda work: (entered.set(), go_on.wait(PATIENCE_S), compute(work))[2]
    with keyed.client(small) as client, ThreadPoolExecutor(1) as first:
        asked = first.submit(httpx.post, f"{keyed.url}/v1/chat/completions", json=ASKED, headers=client.headers, timeout=PATIENCE_S)
        try:
            assert entered.wait(PATIENCE_S)
            for path, body in (
                ("/v1/chat/completions", ASKED),
                ("/v1/chat/completions", {**ASKED, "stream": True}),
                ("/v1/chat/completions", {**ASKED, "ragtune": {"retrieve": False}}),
                ("/api/ask", {"question": QUESTION}),
                ("/v1/embeddings", {"input": "mill"}),
            ):
                refused = client.post(path, json=body, timeout=PATIENCE_S / 4)
                assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded"), path
        finally:
            go_on.set()
        assert asked.result().status_code == 200


def test_hosted_models_are_for_keys_that_may_write(keyed):
    asking, writing = keyed.project.add_key("asker").secret, keyed.project.add_key("writer", scopes=["ask", "write"]).secret
    body = {**ASKED, "model": "openai:gpt-4.1-mini"}
    with keyed.client(asking) as client:
        refused = client.post("/v1/chat/completions", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_offered")
    with keyed.client(writing) as client:
        assert "OPENAI_API_KEY" in client.post("/v1/chat/completions", json=body).json()["error"]["message"]


def test_others_cannot_reach_a_project_without_keys():
    with pytest.raises(ConfigError, match="ragtune keys add"):
        check_binding("0.0.0.0", keys=False)  # noqa: S104
    for host, keys in (("0.0.0.0", True), ("127.0.0.1", False), ("::1", False), ("localhost", False)):  # noqa: S104
        check_binding(host, keys=keys)


def test_a_public_server_whose_last_key_is_revoked_answers_nobody(own):
    project = own("serve.host=0.0.0.0")
    with running(project) as server, server.client() as client:
        assert client.get("/api/status").status_code == 401


def test_a_name_that_was_made_to_lead_here_is_refused(served):
    with served.client() as client:
        refused = client.get("/api/status", headers={"Host": "evil.example.org"})
        assert refused.status_code == 400
        assert "serve.host" in refused.json()["error"]["message"]
        assert client.get("/api/status", headers={"Host": "localhost:1234"}).status_code == 200


def test_a_page_of_somewhere_else_can_change_nothing(keyed):
    with keyed.client() as client:
        body = {"question": QUESTION}
        assert client.post("/api/ask", json=body, headers={"Origin": "https://evil.example.org"}).status_code == 403
        assert client.post("/api/ask", json=body, headers={"Origin": "null"}).status_code == 403
        assert client.post("/api/ask", json=body, headers={"Origin": "http://["}).status_code == 403
        assert client.post("/api/ask", json=body, headers={"Origin": keyed.url}).status_code == 401  # it may ask, with a key
        assert (
            client.post("/api/ask", json=body, headers={"Origin": "https://chat.example.org"}).status_code == 401
        )  # it may ask, with a key
        asked = {"Access-Control-Request-Method": "POST"}
        allowed = client.options("/api/ask", headers={"Origin": "https://chat.example.org", **asked})
        assert allowed.headers["access-control-allow-origin"] == "https://chat.example.org"
        refused = client.post("/api/ask", json=body, headers={"Origin": "https://chat.example.org"})
        assert refused.headers["access-control-expose-headers"] == "Retry-After, X-Request-Id"
        assert (
            "access-control-allow-origin" not in client.options("/api/ask", headers={"Origin": "https://evil.example.org", **asked}).headers
        )


@pytest.mark.parametrize(("content", "status"), [(b"x" * 1_100_000, 413), (b'{"question": "x"}', 500)])
def test_a_page_of_another_origin_can_read_every_error(keyed, monkeypatch, content, status):
    monkeypatch.setattr(keyed.state.answering, "stream", lambda _: 1 / 0)
    secret = keyed.project.add_key(f"page-{status}").secret
    headers = {"Origin": "https://chat.example.org", "Content-Type": "application/json"}
    with keyed.client(secret) as client:
        answer = client.post("/api/ask", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == "https://chat.example.org"
    assert answer.headers["x-request-id"].startswith("req-")


def test_every_response_has_an_id_and_headers_that_protect_the_page(served):
    with served.client() as client:
        for answer in (client.get("/"), client.get("/health"), client.get("/nowhere"), client.post("/v1/chat/completions", json={})):
            assert answer.headers["x-request-id"].startswith("req-")
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
        assert client.get("/v1/models").headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in client.get("/health", headers={"Origin": "https://evil.example.org"}).headers


def test_a_request_that_is_too_large_is_refused(served):
    with served.client() as client:
        body = {"question": "x" * 1_100_000}
        answer = client.post("/api/ask", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")

        def unsized():
            yield from (b"x" * 100_000 for _ in range(12))

        answer = client.post("/api/ask", content=unsized(), headers={"Content-Type": "application/json"})
        assert answer.status_code == 413


def test_a_form_is_not_json(served):
    """A browser sends a form anywhere without asking."""
    answer = httpx.post(f"{served.url}/api/ask", content='{"question": "x"}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 400
