"""Embeddings over OpenAI's and Gemini's protocols on loopback, for what a real server cannot be made to do: fail in a given way, count.

Requests and answers are held to the vendors' own types. A vector is a sum of pseudo-random ones, one for each word, so that texts which
share words are near each other; it is not normalised, as Gemini's shortened ones are not.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from google.genai import types
from openai.types import CreateEmbeddingResponse, EmbeddingCreateParams
from pydantic import TypeAdapter

KEY = "sk-embeddings-0123456789abcdef"
Fault = Callable[[list[str]], "Answer | None"]


@dataclass
class Answer:
    """An answer as it is sent: status, body, headers; ``cut`` closes the connection without one."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class EmbeddingServer:
    """What was asked, and how to answer.

    Args:
        url: without a version; OpenAI's protocol is under ``/v1``, Gemini's under ``/v1beta``.
        dimension: of the vectors.
        fixed: the model cannot be shortened, and says so to whoever asks.
        faults: what comes instead of the first answers; ``None`` lets one through.
        delay_s: before each answer.
        requests: bodies, in order of their coming.
        texts: what was embedded and answered for.
    """

    url: str
    dimension: int = 24
    fixed: bool = False
    faults: list[Fault | None] = field(default_factory=list)
    delay_s: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def openai(self) -> str:
        """Base URL of OpenAI's protocol."""
        return f"{self.url}/v1"


@contextlib.contextmanager
def serve_embeddings() -> Iterator[EmbeddingServer]:
    """A server, for as long as the block lasts."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    http.state = state = EmbeddingServer(f"http://127.0.0.1:{http.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()
        thread.join(10)


def vector(text: str, dimension: int) -> list[float]:
    """A text's vector, longer than 1."""
    words = re.findall(r"\w+", text.lower()) or [""]
    seeds = [int.from_bytes(hashlib.sha256(word.encode()).digest()[:8]) for word in words]
    vectors = [np.random.default_rng(seed).standard_normal(dimension) for seed in seeds]
    return [float(value) for value in np.sum(vectors, axis=0).astype(np.float32)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        state: EmbeddingServer = self.server.state  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        is_openai = self.path == "/v1/embeddings"
        texts = _openai_texts(body) if is_openai else _gemini_texts(self.path, body)
        with state.lock:
            state.requests.append(body)
            fault = state.faults.pop(0) if state.faults else None
        time.sleep(state.delay_s)
        answer = self._refused(is_openai) or (fault(texts) if fault else None) or _answer(state, body, texts, is_openai)
        if answer.cut:
            self.close_connection = True
            return
        if answer.status == 200:
            with state.lock:
                state.texts.extend(texts)
        data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"content-type": "application/json", "content-length": str(len(data)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _refused(self, is_openai: bool) -> Answer | None:
        key = self.headers["authorization"].removeprefix("Bearer ") if is_openai else self.headers["x-goog-api-key"]
        return None if key == KEY else error(401, f"Incorrect API key provided: {key}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def error(status: int, message: str, **headers: str) -> Answer:
    """A refusal in words that both SDKs understand."""
    body = {"error": {"code": status, "message": message, "status": "FAILED", "type": "failed"}}
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def _openai_texts(body: dict[str, Any]) -> list[str]:
    TypeAdapter(EmbeddingCreateParams).validate_python(body)
    assert 1 <= len(body["input"]) <= 2048
    assert all(body["input"])
    return list(body["input"])


def _gemini_texts(path: str, body: dict[str, Any]) -> list[str]:
    found = re.fullmatch(r"/v1beta/(models/[\w.-]+):batchEmbedContents", path)
    assert found, path
    assert 1 <= len(body["requests"]) <= 100
    texts = []
    for request in body["requests"]:
        assert request["model"] == found[1]
        content = types.Content.model_validate(request["content"])
        types.EmbedContentConfig.model_validate({name: value for name, value in request.items() if name not in ("model", "content")})
        texts.append("".join(part.text or "" for part in content.parts or ()))
    return texts


def _answer(state: EmbeddingServer, body: dict[str, Any], texts: list[str], is_openai: bool) -> Answer:
    asked = body.get("dimensions") if is_openai else body["requests"][0].get("outputDimensionality")
    if asked and state.fixed:
        return error(400, "Model does not support matryoshka representation, changing output dimensions will lead to poor results")
    vectors = [vector(text, asked or state.dimension) for text in texts]
    tokens = sum(len(text.split()) for text in texts)
    return Answer(body=openai_body(vectors, tokens, body.get("encoding_format")) if is_openai else gemini_body(vectors, tokens))


def openai_body(vectors: list[list[float]], tokens: int, encoding: str | None = None) -> dict[str, Any]:
    """An answer of OpenAI's protocol; the rows come in no order."""
    rows = [{"object": "embedding", "index": place, "embedding": values} for place, values in enumerate(vectors)]
    made = {"object": "list", "model": "m", "data": rows[::-1], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    CreateEmbeddingResponse.model_validate(made, strict=True)
    if encoding == "base64":
        for row in rows:
            row["embedding"] = base64.b64encode(np.asarray(row["embedding"], "<f4").tobytes()).decode()
    return made


def gemini_body(vectors: list[list[float]], tokens: int) -> dict[str, Any]:
    """An answer of Gemini's protocol."""
    made = {"embeddings": [{"values": values} for values in vectors], "usageMetadata": {"promptTokenCount": tokens}}
    types.EmbedContentResponse.model_validate(made)
    return made
