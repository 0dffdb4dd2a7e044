"""A project's traces: opening them, how its server fares, and how far its questions have moved from those that it was evaluated on."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from ragtune import build
from ragtune.compute import Compute, at_once
from ragtune.config import Settings
from ragtune.conversation import search_text
from ragtune.evaluate.predictions import read_predictions
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.index import open_retriever
from ragtune.pipeline.serving import retrieve_key
from ragtune.traces import drift, queue, summary
from ragtune.traces.records import Hour
from ragtune.traces.store import TraceStore
from ragtune.workspace import Manifest, Workspace, stage_key, write_json

VERSION = 1
_MOST = 300
"""Questions of an evaluation that stand for all of them."""
_LAST = 1000
"""Questions that were asked last, which are compared with them."""
_making = threading.Lock()
"""Held by who makes a baseline: whoever asks meanwhile is answered without one, and makes no other."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """How a server fares.

    Args:
        hours: by hour, see :class:`ragtune.traces.records.Hour`.
        totals: of all of them.
        drift: ``questions`` (likeness to the evaluation's), ``lengths`` (words) and ``scores`` (of the best passage), see
            :class:`ragtune.traces.drift.Drift`.
        review_open: questions that wait for a person.
        evaluation: that questions and scores are compared with; ``None`` where there is none.
    """

    hours: tuple[Hour, ...]
    totals: dict[str, Any]
    drift: dict[str, drift.Drift]
    review_open: int
    evaluation: str | None = None


@dataclass(frozen=True, slots=True)
class _Baseline:
    evaluation: str
    questions: list[str]
    scores: list[float]


def open_traces(workspace: Workspace, settings: Settings) -> TraceStore:
    """The project's traces, as ``traces`` sets them."""
    own = settings.traces
    return TraceStore(workspace.traces, keep=own.keep, days=own.days, redact=own.redact)


def monitor(workspace: Workspace, settings: Settings, store: TraceStore, days: float, compute: Compute = at_once) -> Monitoring:
    """How the server fared in the last ``days``; ``compute`` runs each look-up, where others compute in this process."""
    now = datetime.now(UTC)
    since = now - timedelta(days=days)
    hours, totals = summary.hours(store, since, now)
    asked, lengths, scores = _asked(store, since)
    baseline = _baseline(workspace, settings, compute)
    known = baseline.questions if baseline else []
    moved = {
        "questions": drift.compare(drift.likeness(asked, known), drift.likeness(known, known)) if known else drift.compare(lengths, []),
        "lengths": drift.compare(lengths, _lengths(known)),
        "scores": drift.compare(scores, baseline.scores if baseline else []),
    }
    return Monitoring(tuple(hours), totals, moved, queue.items(store, limit=0).open, baseline.evaluation if baseline else None)


def make_baseline(workspace: Workspace, settings: Settings, evaluation: Manifest, compute: Compute = at_once) -> None:
    """Retrieve an evaluation's questions as they would be served, to have scores to compare with; kept until retrieval is set otherwise.

    Where a hosted model would be asked for it, which costs, only questions are compared.
    """
    folder = workspace.artifact("evaluations", evaluation.name)
    asked = {each.id: search_text(each.question, each.history) for each in read_predictions(folder / "predictions.jsonl")}
    questions = [asked[id_] for id_ in sorted(asked, key=lambda id_: stage_key("drift", VERSION, None, id_))[:_MOST]]
    scores: list[float] = []
    if not (is_hosted(settings.embed.model) or settings.retrieve.rewrite):
        with open_retriever(workspace, settings) as retriever:
            for question in questions:  # one by one, so that answers go in between
                (hits,) = compute(partial(retriever.retrieve, [question], 1))
                scores.append(max((hit.score for hit in hits), default=0.0))
    kept = {"key": _key(workspace, settings, evaluation), "evaluation": evaluation.name, "questions": questions, "scores": scores}
    write_json(workspace.folder / "drift.json", kept)


def _baseline(workspace: Workspace, settings: Settings, compute: Compute) -> _Baseline | None:
    """What the newest evaluation asked, and what is found for it; made where that was not looked up yet, unless another makes it now."""
    made = workspace.manifests("evaluations")
    if not made:
        return None
    kept = _kept(workspace, settings, made[-1])
    if kept is None and _making.acquire(blocking=False):
        try:
            kept = _kept(workspace, settings, made[-1])
            if kept is None:
                make_baseline(workspace, settings, made[-1], compute)
                kept = _kept(workspace, settings, made[-1])
        finally:
            _making.release()
    return kept


def _kept(workspace: Workspace, settings: Settings, evaluation: Manifest) -> _Baseline | None:
    path = workspace.folder / "drift.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if kept is None or kept["key"] != _key(workspace, settings, evaluation):
        return None
    return _Baseline(kept["evaluation"], kept["questions"], kept["scores"])


def _asked(store: TraceStore, since: datetime) -> tuple[list[str], list[float], list[float]]:
    """What was asked last, its words, and the score of the best passage for it; questions only where they are kept."""
    page = store.list(limit=_LAST, since=since.isoformat())
    records = [trace.record for trace in page.traces if trace.record.error is None]
    asked = [search_text(each.question, each.history) for each in records if each.question]
    return asked, _lengths(asked), [max(each.scores) for each in records if each.scores]


def _lengths(questions: Sequence[str]) -> list[float]:
    return [float(len(question.split())) for question in questions]


def _key(workspace: Workspace, settings: Settings, evaluation: Manifest) -> str:
    embedder = build.embedder(workspace, settings, asks=False).fingerprint
    return stage_key("drift", VERSION, retrieve_key(workspace, settings), {"evaluation": evaluation.key, "embedder": embedder})
