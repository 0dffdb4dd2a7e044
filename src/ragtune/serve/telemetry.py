"""OpenTelemetry: a span for each question, with those of retrieval and chat in it, by the GenAI semantic conventions.

On only where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says where spans go; until then OpenTelemetry's SDK is not imported. What was asked and
answered is sent only where ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` asks for it, and then as ``traces`` would keep it.
Names of attributes: https://github.com/open-telemetry/semantic-conventions-genai.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from ragtune import __version__
from ragtune.errors import MissingExtraError
from ragtune.traces.records import TraceRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_PROVIDERS = {"gemini": "gcp.gemini", "vertex": "gcp.vertex_ai", "mistral": "mistral_ai"}
"""Providers whose name in the conventions is not the one here."""


def open_telemetry() -> Telemetry | None:
    """Spans to where the environment says; ``None`` where it says nothing.

    Raises:
        MissingExtraError: it does, and OpenTelemetry is not installed.
    """
    if not os.environ.get(ENDPOINT) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ModuleNotFoundError as error:
        raise MissingExtraError("telemetry", error.name or "opentelemetry") from None
    return Telemetry(OTLPSpanExporter(), content=os.environ.get(CONTENT, "").lower() in ("true", "1", "span_only", "span_and_event"))


class Telemetry:
    """Sends a span for each question, in the background.

    Args:
        exporter: where to.
        content: send what was asked and answered.
    """

    def __init__(self, exporter: SpanExporter, *, content: bool) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "ragtune"), "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("ragtune", __version__)
        self._content = content

    def record(self, record: TraceRecord, trace: str | None = None) -> None:
        """Send the spans of a question that was just answered.

        Args:
            record: as ``traces`` keeps it.
            trace: its id there.
        """
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        end = time.time_ns()
        start = end - round(record.seconds_total * 1e9)
        found = min(end, start + round(record.seconds_retrieval * 1e9))
        whole = self._tracer.start_span("answer", start_time=start, attributes={} if trace is None else {"ragtune.trace.id": trace})
        within = set_span_in_context(whole)
        if record.seconds_retrieval:
            self._tracer.start_span("retrieval", within, SpanKind.INTERNAL, self._retrieval(record), start_time=start).end(found)
        chat = self._tracer.start_span(f"chat {record.model}", within, SpanKind.CLIENT, self._chat(record), start_time=found)
        if record.error is not None:
            for span in (chat, whole):
                span.set_status(Status(StatusCode.ERROR, record.error if self._content else None))
        chat.end(end)
        whole.end(end)

    def close(self) -> None:
        """Send what waits, and no more."""
        self._provider.shutdown()

    def _retrieval(self, record: TraceRecord) -> dict[str, Any]:
        made: dict[str, Any] = {"gen_ai.operation.name": "retrieval"}
        if self._content:
            documents = [{"id": each["document"], "score": each["score"]} for each in record.passages]
            made |= {"gen_ai.retrieval.query.text": record.question, "gen_ai.retrieval.documents": _json(documents)}
        return made

    def _chat(self, record: TraceRecord) -> dict[str, Any]:
        provider, colon, _ = record.model.partition(":")
        made: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDERS.get(provider, provider) if colon else "ragtune",
            "gen_ai.request.model": record.model,
            "gen_ai.usage.input_tokens": record.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": record.usage.completion_tokens,
            "gen_ai.response.time_to_first_chunk": record.seconds_first_token,
            "gen_ai.conversation.id": record.conversation,
            "error.type": None if record.error is None else "_OTHER",
        }
        if self._content:
            asked = [*((turn.role, turn.content) for turn in record.history), ("user", record.question)]
            said = {**_message("assistant", record.raw), "finish_reason": "error" if record.error is not None else "stop"}
            made["gen_ai.input.messages"] = _json([_message(role, content) for role, content in asked])
            made["gen_ai.output.messages"] = _json([said])
        return {name: value for name, value in made.items() if value is not None}


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
