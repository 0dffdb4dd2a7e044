"""What an evaluation's folder holds besides its figures and answers, read back: the passages shown, a judge's grades."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ragtune.errors import EvaluationError
from ragtune.evaluate.judge import Grade
from ragtune.evaluate.judged import Grading
from ragtune.types import Passage, Prediction, Span

_T = TypeVar("_T")


def read_passages(folder: Path) -> dict[str, Passage]:
    """The passages that the models were shown, by id.

    Raises:
        EvaluationError: they are missing or damaged.
    """
    return {passage.id: passage for passage in _read(folder / "passages.jsonl", _passage)}


def read_gradings(folder: Path, predictions: Sequence[Prediction]) -> list[Grading]:
    """A judge's grades with the answers that they are of; none where no judge was asked.

    Raises:
        EvaluationError: they are damaged.
    """
    if not (folder / "grades.jsonl").is_file():
        return []
    answers = {(p.id, p.arm, p.context): p for p in predictions}
    lines = [line for line in _read(folder / "grades.jsonl", dict) if line["kind"] == "grade"]
    found = [(answers.get((line["id"], line["arm"], line["context"])), line) for line in lines]
    return [Grading(p, Grade(line["scores"], line["reasons"], line["failed"])) for p, line in found if p is not None]


def _passage(record: Mapping[str, Any]) -> Passage:
    return Passage(**{**record, "spans": tuple(Span(**span) for span in record["spans"]), "chunk_ids": tuple(record["chunk_ids"])})


def _read(path: Path, make: Callable[[Any], _T]) -> list[_T]:
    again = "run 'ragtune evaluate' again"
    try:
        # Not splitlines(): U+2028 and its like may stand inside a JSON string.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"cannot read {path} ({error}): {again}") from error
    records = []
    for number, line in enumerate(lines, start=1):
        if line:
            try:
                records.append(make(json.loads(line)))
            except (ValueError, TypeError, KeyError) as error:
                raise EvaluationError(f"{path}:{number} is not a record of an evaluation ({error!r}): {again}") from error
    return records
