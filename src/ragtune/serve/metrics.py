"""Figures for Prometheus, in a registry of their own: whoever embeds the app keeps the global one."""

from __future__ import annotations

import threading
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ragtune.traces.records import LEFT, Rating, TraceRecord

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_MOST_MODELS = 50
"""Names that are told apart; each makes time series of its own, and a client may name any hosted model."""


class Metrics:
    """What a server counts; for any number of threads."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self._models: set[str] = set()
        self._lock = threading.Lock()
        self._requests = Counter("ragtune_requests", "HTTP requests", ("method", "route", "status"), registry=own)
        self._request_seconds = _histogram("ragtune_request_seconds", "From a request to the end of its response", own, "route")
        self._answers = Counter("ragtune_answers", "Questions answered, by outcome", ("model", "outcome"), registry=own)
        self._tokens = Counter("ragtune_tokens", "Tokens of prompts and completions", ("model", "kind"), registry=own)
        self._cost = Counter("ragtune_cost_dollars", "What hosted models cost, in US dollars", ("model",), registry=own)
        self._seconds = _histogram("ragtune_answer_seconds", "From a question to the end of its answer", own, "model")
        self._first = _histogram("ragtune_first_token_seconds", "From a question to the first word", own, "model")
        self._retrieval = Histogram("ragtune_retrieval_seconds", "Finding passages", buckets=_SHORT, registry=own)
        self._feedback = Counter("ragtune_feedback", "Ratings of answers", ("rating",), registry=own)
        self._running = Gauge("ragtune_running", "Answers that the local model writes now", registry=own)
        self._waiting = Gauge("ragtune_waiting", "Questions that wait for the local model", registry=own)
        for rating in ("up", "down"):
            self._feedback.labels(rating)

    def observe(self, record: TraceRecord) -> None:
        """Count a question that was answered, or was not."""
        model = self._name(record.model)
        self._answers.labels(model, _outcome(record)).inc()
        self._tokens.labels(model, "prompt").inc(record.usage.prompt_tokens)
        self._tokens.labels(model, "completion").inc(record.usage.completion_tokens)
        self._cost.labels(model).inc(record.cost or 0.0)
        if record.error is None:
            self._seconds.labels(model).observe(record.seconds_total)
            self._retrieval.observe(record.seconds_retrieval)
            if record.seconds_first_token is not None:
                self._first.labels(model).observe(record.seconds_first_token)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an HTTP request.

        Args:
            method: as ``GET``.
            route: the path's pattern, as ``/api/traces/{id}``; never the path itself, of which there is no end.
            status: of the response.
            seconds: to its end.
        """
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def rated(self, rating: Rating | None) -> None:
        """Count a rating; one that is taken back is not."""
        if rating is not None:
            self._feedback.labels(rating).inc()

    def watch_queue(self, load: Callable[[], tuple[int, int]]) -> None:
        """Show how many answers are running and waiting, asked whenever someone looks."""
        self._running.set_function(lambda: load()[0])
        self._waiting.set_function(lambda: load()[1])

    def render(self) -> bytes:
        """All of it in Prometheus' text format (:data:`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def _name(self, model: str) -> str:
        with self._lock:
            if model in self._models or len(self._models) < _MOST_MODELS:
                self._models.add(model)
                return model
        return "other"


def _outcome(record: TraceRecord) -> str:
    if record.error is not None:
        return "left" if record.error == LEFT else "error"
    return "withheld" if record.withheld else "abstained" if record.abstained else "answered"


def _histogram(name: str, says: str, registry: CollectorRegistry, label: str) -> Histogram:
    return Histogram(name, says, (label,), buckets=_SECONDS, registry=registry)
