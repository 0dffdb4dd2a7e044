"""Traces as a server records them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ragtune.traces.records import TraceRecord
from ragtune.types import Usage

PASSAGE = {
    "number": 1, "document": "ferry.md", "title": "Ferry", "headings": "Times", "text": "The crossing takes forty minutes.",
    "start": 10, "end": 43, "page": None, "score": 1.5,
}  # fmt: skip
CITATION = {
    "number": 1, "quote": "The crossing takes forty minutes.", "document": "ferry.md", "title": "Ferry", "start": 10, "end": 43,
    "page": None,
}  # fmt: skip
GOOD = TraceRecord(
    at="2026-11-20T10:15:00+00:00",
    model="tuned",
    question="How long is the crossing?",
    key="desk",
    answer="forty minutes",
    markdown="**forty minutes** [1]",
    raw="“The crossing takes forty minutes.”\nAnswer: forty minutes",
    confidence=0.9,
    citations=(CITATION,),
    passages=(PASSAGE,),
    scores=(1.5, 0.4),
    usage=Usage(200, 12),
    cost=0.001,
    seconds_retrieval=0.02,
    seconds_first_token=0.1,
    seconds_total=0.5,
    conversation="c1",
)


def trace(**changes: Any) -> TraceRecord:
    """A good answer, changed."""
    return replace(GOOD, **changes)
