"""``predictions.jsonl`` read back; see docs/questions.md for its fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ragtune.errors import EvaluationError
from ragtune.types import Message, Prediction, Quote


def read_predictions(path: Path) -> list[Prediction]:
    """The answers of a finished evaluation.

    Raises:
        EvaluationError: the file is missing, or a line of it is no prediction.
    """
    try:
        # Not splitlines(): U+2028 and its like may stand inside a JSON string.
        return [_prediction(json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EvaluationError(f"cannot read {path} ({error}): run 'ragtune evaluate' again under another --name") from error


def _prediction(record: dict[str, Any]) -> Prediction:
    nested = {
        "references": tuple(record["references"]),
        "passages": tuple(record["passages"]),
        "quotes": tuple(Quote(**quote) for quote in record["quotes"]),
        "history": tuple(Message(**turn) for turn in record.get("history", ())),
    }
    return Prediction(**{**record, **nested})
