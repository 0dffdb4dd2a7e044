"""From provider:model to a model: addresses, keys and prices from every place that they can stand in, and no key anywhere else."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faults import Answer, gemini_error, gemini_reply, openai_error, openai_reply, openai_stream
from ragtune import build
from ragtune.config import dotenv_in_environment, load_settings
from ragtune.errors import ChatError, ConfigError, KeyRefusedError, RagtuneError
from ragtune.types import Message
from ragtune.workspace import Workspace

KEY = "zz-secret-0123456789abcdef"
ASKED = [Message("system", "Answer the question."), Message("user", "What is the capital of France?")]

pytest.importorskip("openai")


@pytest.fixture(autouse=True)
def _no_addresses_from_outside(monkeypatch):
    for name in ("OPENAI", "COMPATIBLE", "GEMINI", "DEEPSEEK"):
        monkeypatch.delenv(f"{name}_BASE_URL", raising=False)
    # What LangChain is told by the environment is taken back afterwards.
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.delenv("OPENAI_API_KEY")


@pytest.fixture
def model(tmp_path: Path):
    def make(name: str, *overrides: str, env: str = ""):
        (tmp_path / ".env").write_text(env, encoding="utf-8")
        return build.chat_model(Workspace(tmp_path), load_settings(tmp_path, overrides), name)

    return make


def test_key_and_address_from_dotenv(llama_server, model):
    env = f"OPENAI_API_KEY={llama_server.key}\nOPENAI_BASE_URL={llama_server.url}\n"
    reply = model("openai:smollm2", env=env).complete(ASKED, max_tokens=16)
    assert "Paris" in reply.text
    assert reply.cost == 0, "a server of one's own is free"


def test_key_from_a_mounted_file_and_address_from_the_settings(llama_server, model, tmp_path):
    (tmp_path / "secret").write_text(f"{llama_server.key}\n", encoding="utf-8")
    env = f"COMPATIBLE_API_KEY_FILE={tmp_path / 'secret'}\n"
    chat = model("compatible:smollm2", f'chat.base_urls={{compatible = "{llama_server.url}"}}', env=env)
    assert chat.complete(ASKED, max_tokens=4).text


def test_the_settings_address_counts_before_the_environments(faults, model, monkeypatch):
    monkeypatch.setenv("COMPATIBLE_BASE_URL", "http://127.0.0.1:9/v1")
    faults.script(openai_reply())
    assert model("compatible:m", f'chat.base_urls={{compatible = "{faults.url}"}}').complete(ASKED).text == "Paris."
    assert faults.requests[0].path == "/v1/chat/completions"


def test_langchain_finds_the_key_of_dotenv_or_of_a_mounted_file(faults, model, tmp_path, monkeypatch):
    pytest.importorskip("langchain_openai")
    faults.script(openai_reply())
    (tmp_path / "secret").write_text(f"{KEY}\n", encoding="utf-8")
    for line in (f"OPENAI_API_KEY={KEY}", f"OPENAI_API_KEY_FILE={tmp_path / 'secret'}"):
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        model("langchain:openai:m", "chat.cache=false", env=f"{line}\nOPENAI_BASE_URL={faults.url}\n").complete(ASKED)
        assert faults.requests[-1].headers["authorization"] == f"Bearer {KEY}"


def test_gemini_through_its_address(faults, model):
    pytest.importorskip("google.genai")
    faults.script(gemini_reply())
    env = f"GEMINI_API_KEY={KEY}\nGEMINI_BASE_URL={faults.root}\n"
    assert model("gemini:gemini-x", env=env).complete(ASKED).text == "Paris."
    assert faults.requests[0].path == "/v1beta/models/gemini-x:generateContent"


@pytest.mark.parametrize(
    ("name", "env", "kind", "words"),
    [
        ("openai:gpt-4o-mini", "", KeyRefusedError, "OPENAI_API_KEY into .env"),
        ("openai:gpt-4o-mini", "OPENAI_API_KEY='sk-one\nsk-two'", KeyRefusedError, "OPENAI_API_KEY holds characters"),
        ("openai:gpt-4o-mini", "OPENAI_API_KEY=sk-…0123456789", KeyRefusedError, "OPENAI_API_KEY holds characters"),
        ("compatible:m", "", ConfigError, "compatible: which server?"),
        ("compatible:m", "COMPATIBLE_BASE_URL=localhost:8000", ConfigError, "write it with http:// or https://"),
        ("openai:no-such-model", "OPENAI_API_KEY=sk-x", ConfigError, "no price is known"),
        ("compatible:m", "COMPATIBLE_BASE_URL=https://api.example.com/v1", ConfigError, 'chat.prices={"compatible:m" = [0.5, 1.5]}'),
        ("gemini:gemini-pro", "", ConfigError, "write gemini:gemini-"),
        ("opnai:gpt-4o-mini", "", ConfigError, "did you mean openai:gpt-4o-mini?"),
    ],
)
def test_what_is_missing_is_told(name, env, kind, words, model):
    with pytest.raises(RagtuneError) as caught:
        model(name, env=env)
    assert type(caught.value) is kind
    assert words in str(caught.value)


def test_a_price_of_ones_own_or_no_cap_lets_an_unpriced_model_be_called(model):
    env = "COMPATIBLE_BASE_URL=https://api.example.com/v1"
    assert model("compatible:m", 'chat.prices={"compatible:m" = [1, 2]}', env=env)
    assert model("compatible:m", "chat.max_cost=inf", env=env)
    assert math.isinf(load_settings(Path(), ["chat.max_cost=inf"]).chat.max_cost)


WORDS = f"Incorrect API key provided: {KEY}"
FAILURES = (
    openai_error(401, WORDS, "invalid_api_key"),
    openai_error(400, WORDS),
    openai_error(500, WORDS),
    openai_error(429, WORDS, headers={"Retry-After": "0"}),
    openai_reply(None, refusal=WORDS),
    openai_stream(cut=True),
    openai_stream(finish=None, then=[{"error": {"message": WORDS, "code": "server_error"}}]),
    Answer(body=f"<html>{WORDS}"),
    Answer(502, f"<html>{WORDS}"),
    Answer(silent=True),
)


@pytest.mark.parametrize("name", ["compatible:m", "langchain:openai:m", "gemini:m"])
def test_no_key_is_written_anywhere(name, faults, model, tmp_path, caplog, capfd, monkeypatch):
    """Not into the project, the log of any library, the terminal or an error: for calls that succeed, and that fail in each way."""
    pytest.importorskip("langchain_openai" if name.startswith("langchain") else "google.genai" if name.startswith("gemini") else "openai")
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_LOG", "debug")
    for variable in ("COMPATIBLE", "OPENAI", "GEMINI"):
        monkeypatch.setenv(f"{variable}_API_KEY", KEY)
        monkeypatch.setenv(f"{variable}_BASE_URL", faults.root if variable == "GEMINI" else faults.url)
    good, failures = openai_reply(), FAILURES
    if name.startswith("gemini"):
        good, failures = gemini_reply(), tuple(gemini_error(code, WORDS, "INVALID_ARGUMENT") for code in (400, 403, 429, 500))
    faults.script(good)
    model(name).complete(ASKED)
    chat = model(name, "chat.retries=1", "chat.timeout=0.3", "chat.cache=false")
    said = []
    for failure in failures:
        for call in (chat.complete, lambda messages: list(chat.stream(messages))):
            faults.script(failure)
            with pytest.raises(ChatError) as caught:
                call(ASKED)
            said += [str(caught.value), repr(caught.value)]
    written = capfd.readouterr()
    logged = [*(record.getMessage() for record in caplog.records), caplog.text]
    assert any(re.search("HTTP Request|send_request_headers", line) for line in logged), "the libraries did log"
    places = {"errors": said, "log": logged, "terminal": [written.out, written.err], "model": [repr(chat), str(vars(chat))]}
    places["files"] = [path.read_bytes().decode("utf-8", "replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert [place for place, texts in places.items() if any(KEY in text for text in texts)] == []
    with sqlite3.connect(Workspace(tmp_path).ledger) as db:
        assert db.execute("SELECT COUNT(*) FROM replies").fetchone()[0] == 1
    db.close()


def test_googles_credentials_and_project_may_stand_in_dotenv(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("google.genai")
    from google_account import write_account

    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    account = write_account(tmp_path / "account.json", "http://127.0.0.1:9/token")
    (tmp_path / ".env").write_text(f"GOOGLE_APPLICATION_CREDENTIALS={account}\nGOOGLE_CLOUD_PROJECT=acme\n", encoding="utf-8")
    assert build.chat_model(Workspace(tmp_path), load_settings(tmp_path), "vertex:gemini-3.5-flash")
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in os.environ


def test_what_is_lent_to_the_environment_is_lent_to_one_thread_at_a_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("LENT_API_KEY", raising=False)
    projects = [tmp_path / name for name in ("one", "other")]
    for project in projects:
        project.mkdir()
        (project / ".env").write_text(f"LENT_API_KEY={project.name}\n", encoding="utf-8")
    together = threading.Barrier(2)

    def look(project: Path) -> str:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(5)
        with dotenv_in_environment(project):
            time.sleep(0.1)
            return os.environ["LENT_API_KEY"]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(look, projects)) == ["one", "other"]
    assert "LENT_API_KEY" not in os.environ


def test_vertex_does_not_embed_and_nothing_is_sent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write gemini:…, openai:…"):
        build.embedder(Workspace(tmp_path), load_settings(tmp_path, ["embed.model=vertex:gemini-embedding-001"]))


def test_threads_that_want_a_model_at_once_get_one(tiny_chat: Path, tiny_embedder: Path, tmp_path: Path) -> None:
    settings = load_settings(tmp_path, [f"model.base={json.dumps(str(tiny_chat))}", f"embed.model={json.dumps(str(tiny_embedder))}"])
    build.release_engine()
    with ThreadPoolExecutor(8) as pool:
        engines = [pool.submit(build.engine, settings) for _ in range(4)]
        embedders = [pool.submit(build.embedder, Workspace(tmp_path), settings) for _ in range(4)]
    assert len({id(future.result()) for future in engines}) == 1
    assert len({id(future.result()) for future in embedders}) == 1
