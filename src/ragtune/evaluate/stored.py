"""What an evaluation's folder holds besides its figures and answers, read back: the passages shown, a judge's grades."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ragtune.errors import EvaluationError
from ragtune.evaluate.judge import Grade
from ragtune.evaluate.judged import Grading
from ragtune.jsonl import passage_of, read_records
from ragtune.types import Passage, Prediction

_T = TypeVar("_T")


def read_passages(folder: Path) -> dict[str, Passage]:
    """The passages that the models were shown, by id.

    Raises:
        EvaluationError: they are missing or damaged.
    """
    return {passage.id: passage for passage in _read(folder / "passages.jsonl", passage_of)}


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


def _read(path: Path, make: Callable[[Any], _T]) -> list[_T]:
    return [
        record for _, record in read_records(path, make, of="an evaluation", again="run 'ragtune evaluate' again", error=EvaluationError)
    ]
