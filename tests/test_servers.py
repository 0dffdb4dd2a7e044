"""The servers that other tests talk to: they answer, ask for their key, and outlive no session."""

# ruff: noqa: S310 - the addresses are the fixtures'

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import servers
from waiting import PATIENCE_S


def post(server: servers.Server, path: str, body: dict, key: str | None = None, header: str = "Authorization"):
    key = key or server.key
    headers = {"Content-Type": "application/json", header: f"Bearer {key}" if header == "Authorization" else key}
    request = urllib.request.Request(f"{server.url}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def test_the_chat_server_answers_who_has_the_key(llama_server):
    body = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4, "model": llama_server.model}
    assert post(llama_server, "/chat/completions", body)["choices"][0]["message"]["content"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        post(llama_server, "/chat/completions", body, key="sk-another")


def test_the_embeddings_server_gives_vectors(llama_embeddings):
    answer = post(llama_embeddings, "/embeddings", {"input": ["one", "two"], "model": llama_embeddings.model})
    assert [len(item["embedding"]) for item in answer["data"]] == [576, 576]


def test_the_gemini_proxy_speaks_geminis_protocol(gemini_proxy):
    path, body = f"/v1beta/models/{gemini_proxy.model}:generateContent", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    answer = post(gemini_proxy, path, body, header="x-goog-api-key")
    assert answer["candidates"][0]["content"]["parts"][0]["text"]
    with pytest.raises(urllib.error.HTTPError, match="HTTP Error 4"):
        post(gemini_proxy, path, body, key="sk-another", header="x-goog-api-key")


def test_a_server_ends_with_a_killed_session(llama_server):
    session = "import os, servers\nwith servers.llama() as s: print(s.url, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", session], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=PATIENCE_S)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(f"{done.stdout.strip()}/models", timeout=1)
        except urllib.error.HTTPError:
            time.sleep(0.1)
        except OSError:
            return
    pytest.fail("the server still answers")
