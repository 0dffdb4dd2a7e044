"""Which test questions have been read, and how often: kept beside the artifacts, in ``test_readings.json``.

What counts is the question and its answers, not the dataset: other passages, settings or splits do not make a read question unread.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ragtune.conversation import search_text
from ragtune.types import Example
from ragtune.workspace import Workspace, write_json


def count_reading(workspace: Workspace, examples: Sequence[Example], key: str) -> int:
    """How often these test questions have been read, this evaluation included; going on with an interrupted one is no new reading.

    Of several questions the one that was read most often counts.
    """
    readings = _readings(workspace)
    if key not in readings:
        readings[key] = sorted(map(_hash, examples))
        write_json(_path(workspace), readings)
    upto = list(readings)[: list(readings).index(key) + 1]
    times = Counter(question for earlier in upto for question in set(readings[earlier]))
    return max(times[question] for question in readings[key])


def read_before(workspace: Workspace, examples: Sequence[Example]) -> list[str]:
    """Ids of those that an evaluation has read as test questions."""
    known = {question for reading in _readings(workspace).values() for question in reading}
    return [example.id for example in examples if _hash(example) in known]


def _readings(workspace: Workspace) -> dict[str, list[str]]:
    path = _path(workspace)
    found: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _path(workspace: Workspace) -> Path:
    return workspace.folder / "test_readings.json"


def _hash(example: Example) -> str:
    return hashlib.sha256(json.dumps([search_text(example.question, example.history), *example.answers]).encode()).hexdigest()[:16]
