"""What an evaluation stored reads back as it was; a damaged line is named."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from ragtune.errors import EvaluationError
from ragtune.evaluate.predictions import read_predictions
from ragtune.evaluate.stored import read_gradings, read_passages
from synthetic_evaluation import make_evaluation


def test_predictions_and_passages_read_back_as_they_were(tmp_path: Path) -> None:
    made = make_evaluation(20, 8)
    for name, records in (("predictions", made.predictions), ("passages", [*made.passages.values()])):
        text = "".join(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in records)  # type: ignore[call-overload]
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    predictions = read_predictions(tmp_path / "predictions.jsonl")
    assert predictions == made.predictions
    assert read_passages(tmp_path) == made.passages
    assert read_gradings(tmp_path, predictions) == []
    first = predictions[0]
    grade = {"scores": {"correctness": 0.5}, "reasons": {"correctness": "half"}, "failed": None}
    at = {"id": first.id, "arm": first.arm, "context": first.context}
    lines = [{"kind": "anchor", "id": "a", **grade}, {"kind": "grade", **at, **grade}, {"kind": "grade", **at, "id": "gone", **grade}]
    (tmp_path / "grades.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (grading,) = read_gradings(tmp_path, predictions)
    assert grading.prediction is first
    assert grading.grade.reasons == {"correctness": "half"}


@pytest.mark.parametrize("line", ["{", '{"id": "q"}', "7"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "passages.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"passages\.jsonl:1 is not a record .* run 'ragtune evaluate' again"):
        read_passages(tmp_path)


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="run 'ragtune evaluate' again"):
        read_passages(tmp_path)
