"""A job's events.jsonl: appended to by the child and the server, read from any place on. An event's number is where it ends, in bytes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragtune.serve.jobs.records import Event
from ragtune.workspace import now

FILE = "events.jsonl"
_BLOCK = 1 << 20  # bytes that are read at once
_LONGEST = 20_000  # characters of a text in an event


def append(folder: Path, type_: str, values: Mapping[str, Any]) -> None:
    """Write an event, in one piece: another process may write at the same time.

    A line that a full disk cut off is ended first, so that it is the only one lost.
    """
    cut = {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in values.items()}
    line = json.dumps({"at": now(), "type": type_, **cut}, ensure_ascii=False, default=str) + "\n"
    file = os.open(folder / FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(file).st_size
        torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        os.write(file, (b"\n" if torn else b"") + line.encode(errors="replace"))
    finally:
        os.close(file)


def read(folder: Path, after: int) -> tuple[list[tuple[int, Event]], int]:
    """Whole events after a place, at most some thousands, each with its number; and where to go on.

    Args:
        folder: of the job.
        after: number of the last event that is known; 0 begins. After a number that is no event's, what is left of that line is lost.
    """
    try:
        with (folder / FILE).open("rb") as file:
            place = after if 0 < after <= os.fstat(file.fileno()).st_size else 0
            file.seek(place)
            *lines, _unfinished = file.read(_BLOCK).split(b"\n")
    except FileNotFoundError:
        return [], 0
    found: list[tuple[int, Event]] = []
    for line in lines:
        place += len(line) + 1
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                found.append((place, event))
    return found, place


def condense(events: list[tuple[int, Event]]) -> list[tuple[int, Event]]:
    """Without progress that later progress of the same stage in the list has overtaken."""
    last = {event.get("stage"): place for place, event in events if event.get("type") == "progress"}
    return [(place, event) for place, event in events if event.get("type") != "progress" or last[event.get("stage")] == place]
