"""A stand-in for `ragtune serve` while the pages are built: the same addresses and shapes, answers without a model. Never shipped.

    python web/dev/stand_in.py --port 8765 [--key rt-test] [--empty]

It serves the built pages too, so a browser can be pointed straight at it; `npm run dev` in web/ proxies to it.
"""

from __future__ import annotations

import argparse
import json
import mimetypes
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parent))
from example_data import Example

PAGES = Path(__file__).resolve().parents[2] / "src/ragtune/serve/web"
ROUTES: list[tuple[str, re.Pattern[str], str | None, Callable[..., Any]]] = []


class RefusedError(Exception):
    """An error answer of the server, in OpenAI's shape."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def route(method: str, path: str, scope: str | None = "read") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a handler; ``{name}`` in the path is one segment."""
    pattern = re.compile("^" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + "$")

    def register(handler: Callable[..., Any]) -> Callable[..., Any]:
        ROUTES.append((method, pattern, scope, handler))
        return handler

    return register


class StandIn(ThreadingHTTPServer):
    """The server with its state; ``pace`` is the time between two pieces of an answer, in seconds."""

    daemon_threads = True

    def __init__(self, port: int = 0, *, keys: dict[str, list[str]] | None = None, empty: bool = False, pace: float = 0.03) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.keys = keys or {}
        self.pace = pace
        self.example = Example(empty=empty)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> StandIn:
        """Serve in a thread."""
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: StandIn
    protocol_version = "HTTP/1.1"
    query: dict[str, str]
    body: Any

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            for known, pattern, scope, handler in ROUTES:
                found = pattern.match(parts.path)
                if known == method and found:
                    self._allow(scope)
                    self.body = self._parse(raw)
                    self._reply(handler(self, **{name: unquote(value) for name, value in found.groupdict().items()}))
                    return
            self._page(parts.path)
        except RefusedError as error:
            self._json({"error": {"message": str(error), "type": "invalid_request_error", "code": None, "param": None}}, error.status)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except Exception:
            traceback.print_exc()
            self._json({"error": {"message": "a bug in the stand-in", "type": "server_error", "code": None, "param": None}}, 500)

    def _allow(self, scope: str | None) -> None:
        if scope is None or not self.server.keys:
            return
        key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if key not in self.server.keys:
            raise RefusedError(401, "this server wants a key: send it as 'Authorization: Bearer rt-…'")
        if scope not in self.server.keys[key]:
            raise RefusedError(403, f"this key may not do that: it lacks the scope '{scope}'")

    def caller(self) -> dict[str, Any]:
        """Whose key it is."""
        key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        scopes = self.server.keys.get(key, ["ask", "read", "write", "admin"])
        return {"name": "reader" if self.server.keys else "local", "scopes": scopes, "access": None}

    def _parse(self, raw: bytes) -> Any:
        kind = self.headers.get("Content-Type") or ""
        if kind.startswith("multipart/"):
            message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + raw)
            return [(part.get_filename() or "", part.get_payload(decode=True)) for part in message.get_payload()]
        return json.loads(raw) if raw else None

    def _reply(self, result: Any) -> None:
        if isinstance(result, Iterator):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for number, (event, data) in enumerate(result):
                self.wfile.write(f"id: {number}\nevent: {event}\ndata: {json.dumps(data)}\n\n".encode())
                self.wfile.flush()
            self.close_connection = True
        elif result is None:
            self._bytes(b"", "application/json", 204)
        elif isinstance(result, str):
            self._bytes(result.encode(), "text/html; charset=utf-8")
        else:
            self._json(result)

    def _json(self, value: Any, status: int = 200) -> None:
        self._bytes(json.dumps(value).encode(), "application/json", status)

    def _bytes(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def _page(self, path: str) -> None:
        file = (PAGES / path.lstrip("/")).resolve()
        if not file.is_relative_to(PAGES) or not file.is_file():
            file = PAGES / "index.html"
        self._bytes(file.read_bytes(), mimetypes.guess_type(file.name)[0] or "application/octet-stream")


@route("GET", "/health", None)
def health(request: Handler) -> Any:
    return {"status": "ok"}


@route("GET", "/api/status", "ask")
def status(request: Handler) -> Any:
    return request.server.example.status(request.caller(), bool(request.server.keys))


@route("GET", "/v1/models", "ask")
def models(request: Handler) -> Any:
    names = ["ragtune", "base", *[model["name"] for model in request.server.example.models if model["kind"] != "base"]]
    return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "ragtune"} for name in names]}


@route("POST", "/api/ask", "ask")
def ask(request: Handler) -> Any:
    if not (request.body.get("question") or "").strip():
        raise RefusedError(400, "question is empty: ask something")
    if "too many" in request.body["question"]:
        raise RefusedError(429, "64 questions are waiting already.")
    return stream(request)


def stream(request: Handler) -> Iterator[tuple[str, Any]]:
    pace = request.server.pace
    passages, raw, answer = request.server.example.answer(request.body)
    time.sleep(pace * 3)
    yield "retrieved", {"passages": passages, "seconds": 0.021}
    time.sleep(pace * 8)
    for piece in re.findall(r"\S*\s*", raw)[:-1]:
        yield "piece", {"text": piece}
        time.sleep(pace)
    yield "answer", answer


@route("GET", "/api/documents")
def documents(request: Handler) -> Any:
    return request.server.example.list_documents(request.query)


@route("GET", "/api/document", "ask")
def document(request: Handler) -> Any:
    found = request.server.example.documents.get(request.query["source"])
    if found is None:
        raise RefusedError(404, f"no document {request.query['source']!r}")
    kept = ("source", "title", "media_type", "text", "characters", "metadata", "chunks", "uploaded")
    return {**{name: found[name] for name in kept}, "start": 0}


@route("DELETE", "/api/document", "write")
def delete_document(request: Handler) -> Any:
    request.server.example.documents.pop(request.query["source"], None)
    return {"job": request.server.example.start_job("ingest", {}, {})}


@route("POST", "/api/documents", "write")
def upload(request: Handler) -> Any:
    return request.server.example.upload(request.body)


@route("GET", "/api/jobs")
def jobs(request: Handler) -> Any:
    return {"jobs": [request.server.example.job(name) for name in reversed(list(request.server.example.jobs))]}


@route("POST", "/api/jobs", "write")
def start_job(request: Handler) -> Any:
    for name, value in request.body["settings"].items():
        if name.split(".")[0] not in {"train", "evaluate", "model", "retrieve", "dataset", "generate"}:
            raise RefusedError(400, f"there is no setting {name!r}: see docs/settings.md")
        if name == "train.epochs" and not isinstance(value, int | float):
            raise RefusedError(400, f"train.epochs must be a number above 0, not {value!r}")
    return request.server.example.start_job(request.body["kind"], request.body["arguments"], request.body["settings"])


def known_job(request: Handler, name: str) -> Any:
    """The job as it stands."""
    if name not in request.server.example.jobs:
        raise RefusedError(404, f"there is no job {name!r}: it was removed, or is beyond those that are kept")
    return request.server.example.job(name)


@route("GET", "/api/jobs/{name}")
def job(request: Handler, name: str) -> Any:
    return known_job(request, name)


@route("GET", "/api/jobs/{name}/events")
def job_events(request: Handler, name: str) -> Any:
    known_job(request, name)
    return request.server.example.job_events(name)


@route("POST", "/api/jobs/{name}/stop", "write")
def stop_job(request: Handler, name: str) -> Any:
    request.server.example.stop_job(name)
    return request.server.example.job(name)


@route("POST", "/api/jobs/{name}/resume", "write")
def resume_job(request: Handler, name: str) -> Any:
    known = known_job(request, name)
    if known["state"] not in {"failed", "stopped"}:
        raise RefusedError(409, f"job {name} is {known['state']}: only one that failed or was stopped can be resumed")
    return request.server.example.begin(name)


@route("DELETE", "/api/jobs/{name}", "write")
def delete_job(request: Handler, name: str) -> Any:
    request.server.example.jobs.pop(name)


@route("GET", "/api/presets")
def presets(request: Handler) -> Any:
    return {"presets": request.server.example.presets}


@route("GET", "/api/models")
def model_rows(request: Handler) -> Any:
    return {"models": request.server.example.models}


@route("GET", "/api/models/{name}/metrics")
def metrics(request: Handler, name: str) -> Any:
    return {"rows": request.server.example.metrics(name)}


@route("POST", "/api/models/{name}/promote", "admin")
def promote(request: Handler, name: str) -> Any:
    return request.server.example.promote(name, (request.body or {}).get("note", ""), (request.body or {}).get("fail_if", ()))


@route("POST", "/api/rollback", "admin")
def rollback(request: Handler) -> Any:
    return request.server.example.rollback()


@route("GET", "/api/audit", "admin")
def audit(request: Handler) -> Any:
    return {"entries": request.server.example.audit}


@route("GET", "/api/evaluations")
def evaluations(request: Handler) -> Any:
    return {"evaluations": request.server.example.evaluations}


@route("GET", "/api/evaluations/{name}")
def evaluation(request: Handler, name: str) -> Any:
    if name not in {each["name"] for each in request.server.example.evaluations}:
        raise RefusedError(404, f"no evaluation {name!r}")
    return {"name": name, "report": request.server.example.report, "manifest": {"created": "2026-11-25T17:15:00Z"}}


@route("GET", "/api/evaluations/{name}/questions")
def questions(request: Handler, name: str) -> Any:
    return request.server.example.questions_page(request.query)


@route("GET", "/api/evaluations/{name}/report.html")
def report_page(request: Handler, name: str) -> Any:
    return f"<!doctype html><title>{name}</title><h1>The report</h1>"


@route("GET", "/api/traces")
def traces(request: Handler) -> Any:
    return request.server.example.list_traces(request.query)


@route("GET", "/api/traces/{name}", "ask")
def trace(request: Handler, name: str) -> Any:
    return request.server.example.trace(name)


@route("DELETE", "/api/traces/{name}", "write")
def delete_trace(request: Handler, name: str) -> Any:
    request.server.example.traces.pop(name, None)


@route("POST", "/api/traces/{name}/feedback", "ask")
def feedback(request: Handler, name: str) -> Any:
    return request.server.example.rate(name, request.body)


@route("GET", "/api/review")
def review(request: Handler) -> Any:
    return request.server.example.list_review(request.query)


@route("POST", "/api/review/{name}", "write")
def decide(request: Handler, name: str) -> Any:
    question = request.body.get("question", request.server.example.reviews[name]["question"])
    if request.body["decision"] == "accept" and (not question or "▮▮▮" in question):
        raise RefusedError(400, "a part of it was redacted or not kept: write question and answers in other words")
    return request.server.example.decide(name, request.body, request.caller()["name"])


@route("GET", "/api/monitor")
def monitor(request: Handler) -> Any:
    return request.server.example.monitor(int(request.query.get("days", "7")))


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--key", help="ask for this key")
    parser.add_argument("--empty", action="store_true", help="a project in which nothing was done yet")
    options = parser.parse_args()
    keys = {options.key: ["ask", "read", "write", "admin"]} if options.key else None
    server = StandIn(options.port, keys=keys, empty=options.empty)
    print(server.address)
    server.serve_forever()


if __name__ == "__main__":
    main()
