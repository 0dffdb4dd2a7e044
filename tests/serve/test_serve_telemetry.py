"""OpenTelemetry: a real OTLP receiver on loopback gets the spans of a question, and its words only where that is asked for."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("opentelemetry.sdk", reason="opentelemetry is not installed")

from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

from made_traces import trace
from ragtune import Project
from ragtune.serve.app import create_app
from ragtune.serve.telemetry import CONTENT, ENDPOINT, open_telemetry
from ragtune.types import Message

SECRETS = ("crossing", "forty", "ferry.md")


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.bodies: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> dict[str, Any]:
        parsed = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return {span.name: span for each in parsed for own in each.resource_spans for scope in own.scope_spans for span in scope.spans}


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    for name in (CONTENT, "OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    with Collector() as server:
        monkeypatch.setenv(ENDPOINT, server.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "400")  # seconds, of which a busy machine may take more than the usual ten
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}


def test_a_question_is_three_spans_without_a_word_of_it(collector: Collector) -> None:
    telemetry = open_telemetry()
    assert telemetry is not None
    telemetry.record(trace(), "tr-1")
    telemetry.close()
    spans = collector.spans()
    assert spans.keys() == {"answer", "retrieval", "chat tuned"}
    whole, found, chat = spans["answer"], spans["retrieval"], spans["chat tuned"]
    assert found.parent_span_id == chat.parent_span_id == whole.span_id
    assert found.trace_id == chat.trace_id == whole.trace_id
    assert (whole.end_time_unix_nano - whole.start_time_unix_nano) / 1e9 == pytest.approx(0.5)
    assert (found.end_time_unix_nano - found.start_time_unix_nano) / 1e9 == pytest.approx(0.02)
    assert (found.start_time_unix_nano, chat.end_time_unix_nano) == (whole.start_time_unix_nano, whole.end_time_unix_nano)
    assert attributes(whole) == {"ragtune.trace.id": "tr-1"}
    assert attributes(found) == {"gen_ai.operation.name": "retrieval"}
    assert attributes(chat) == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "ragtune", "gen_ai.request.model": "tuned",
        "gen_ai.usage.input_tokens": 200, "gen_ai.usage.output_tokens": 12, "gen_ai.response.time_to_first_chunk": 0.1,
        "gen_ai.conversation.id": "c1",
    }  # fmt: skip
    assert not any(word.encode() in body for word in SECRETS for body in collector.bodies)


def test_its_words_are_sent_where_that_is_asked_for(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTENT, "true")
    telemetry = open_telemetry()
    assert telemetry is not None
    telemetry.record(trace(history=(Message("user", "Is there a ferry?"),), model="gemini:gemini-2.5-flash"))
    telemetry.close()
    spans = collector.spans()
    chat, found = attributes(spans["chat gemini:gemini-2.5-flash"]), attributes(spans["retrieval"])
    assert chat["gen_ai.provider.name"] == "gcp.gemini"
    assert [each["parts"][0]["content"] for each in json.loads(chat["gen_ai.input.messages"])] == [
        "Is there a ferry?",
        "How long is the crossing?",
    ]
    assert json.loads(chat["gen_ai.output.messages"])[0]["finish_reason"] == "stop"
    assert json.loads(found["gen_ai.retrieval.documents"]) == [{"id": "ferry.md", "score": 1.5}]
    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_") and isinstance(value, str)}
    assert {name for name in (*chat, *found) if name.startswith("gen_ai.")} <= known, "names of the conventions that are installed"


def test_an_error_is_one_and_its_message_no_ones(collector: Collector) -> None:
    telemetry = open_telemetry()
    assert telemetry is not None
    telemetry.record(trace(error="no answer about the crossing", seconds_first_token=None))
    telemetry.close()
    spans = collector.spans()
    assert spans["answer"].status.code == spans["chat tuned"].status.code == 2
    assert attributes(spans["chat tuned"])["error.type"] == "_OTHER"
    assert not any(b"crossing" in body for body in collector.bodies)


def test_a_server_sends_what_traces_would_keep(collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CONTENT, "true")
    Project.init(tmp_path / "p")
    app = create_app(Project(tmp_path / "p", overrides=["traces.redact=['forty']"]))
    with TestClient(app, base_url="http://127.0.0.1"):
        app.state.ragtune.answering._record(trace())
    assert "▮▮▮ minutes" in attributes(collector.spans()["chat tuned"])["gen_ai.output.messages"]
    assert not any(b"Answer: forty" in body for body in collector.bodies)


def test_nothing_is_imported_or_sent_unless_it_is_switched_on(tmp_path: Path) -> None:
    """FastAPI itself imports OpenTelemetry's interface where that is installed, which does nothing without the SDK."""
    code = (
        "import sys; from ragtune import Project; from ragtune.serve.app import create_app\n"
        "app = create_app(Project.init(sys.argv[1])); assert app.state.ragtune.telemetry is None\n"
        "sys.exit(any(name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')) for name in sys.modules))"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "p")], env=environment, check=False).returncode == 0
