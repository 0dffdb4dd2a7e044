"""Traffic by hour, from figures alone: no text is read."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ragtune.traces.records import LEFT, Hour
from ragtune.traces.store import TraceStore

_ROWS = (
    "SELECT t.at, t.abstained OR t.withheld AS abstained, t.error, t.seconds_total, t.seconds_first_token, t.cost, t.groundedness, "
    "t.confidence, t.top_score, t.prompt_tokens + t.completion_tokens AS tokens, f.rating FROM traces t "
    "LEFT JOIN feedback f ON f.trace = t.id WHERE t.at >= ? ORDER BY t.at"
)


def hours(store: TraceStore, since: datetime, until: datetime) -> tuple[list[Hour], dict[str, Any]]:
    """Every hour from the first trace on, those without a question too, and the same figures of all of them together.

    Args:
        store: of the traces.
        since: the earliest, UTC.
        until: the end, UTC.
    """
    with store.reading() as db:
        rows = db.execute(_ROWS, (since.isoformat(timespec="microseconds"),)).fetchall()
    by_hour: dict[datetime, list[sqlite3.Row]] = defaultdict(list)
    for row in rows:
        by_hour[_hour(datetime.fromisoformat(row["at"]))].append(row)
    made = []
    at = min(by_hour, default=until)
    while at <= until:
        made.append(_figures(at.isoformat(), by_hour.get(at, ())))
        at += timedelta(hours=1)
    totals = asdict(_figures("", rows))
    del totals["at"]
    return made, totals


def _figures(at: str, rows: Sequence[sqlite3.Row]) -> Hour:
    answered = [row for row in rows if row["error"] is None]
    return Hour(
        at=at,
        answers=len(answered),
        abstained=sum(row["abstained"] for row in answered),
        errors=sum(row["error"] not in (None, LEFT) for row in rows),
        seconds_p50=_percentile((row["seconds_total"] for row in answered), 50),
        seconds_p95=_percentile((row["seconds_total"] for row in answered), 95),
        first_token_p50=_percentile((row["seconds_first_token"] for row in answered), 50),
        tokens=sum(row["tokens"] for row in answered),
        cost=sum(row["cost"] or 0.0 for row in answered),
        up=sum(row["rating"] == "up" for row in rows),
        down=sum(row["rating"] == "down" for row in rows),
        groundedness=_mean(row["groundedness"] for row in answered),
        confidence=_mean(row["confidence"] for row in answered),
        top_score=_mean(row["top_score"] for row in answered),
    )


def _percentile(values: Iterable[float | None], share: float) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.percentile(known, share)), 4) if known else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
