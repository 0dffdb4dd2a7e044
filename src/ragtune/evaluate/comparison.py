"""Questions won and lost side by side, as data that report.js shows: each passage once, with what is to be marked in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from ragtune.evaluate.answers import answer_metrics, loops
from ragtune.evaluate.judge import Grade
from ragtune.evaluate.judged import Grading
from ragtune.types import JSON, Arm, Evidence, Example, Passage, Prediction, Quote

LEFT: Arm = "base-fewshot"
RIGHT: Arm = "tuned"
MARGIN = 0.1
"""Of F1, from which on a question is won or lost; less is a matter of wording."""


def compare_questions(
    predictions: Sequence[Prediction],
    passages: Mapping[str, Passage],
    examples: Sequence[Example],
    gradings: Sequence[Grading] = (),
) -> dict[str, JSON]:
    """Every question that both arms answered from retrieved passages, largest differences first.

    The score of an answerable question is its F1; of an unanswerable one, 1 for abstaining. Offsets are code points of the passage's
    text. Of several seeds the first is shown. ``gradings`` show beside the answers that they are of.
    """
    arms: dict[Arm, dict[str, Prediction]] = {LEFT: {}, RIGHT: {}}
    for prediction in sorted(predictions, key=lambda p: p.seed):
        if prediction.context == "retrieved" and prediction.arm in arms:
            arms[prediction.arm].setdefault(prediction.id, prediction)
    grades = {(each.prediction.arm, each.prediction.id): each.grade for each in gradings}
    evidence = {example.id: example.evidence for example in examples}
    shown: dict[str, int] = {}
    questions: list[JSON] = []
    ids = sorted(arms[LEFT].keys() & arms[RIGHT].keys(), key=lambda i: (-abs(_score(arms[RIGHT][i]) - _score(arms[LEFT][i])), i))
    for key in ids:
        left, right = arms[LEFT][key], arms[RIGHT][key]
        at: list[JSON] = [shown.setdefault(name, len(shown)) for name in right.passages if name in passages]
        marks = list(_marks(left, right, passages, evidence.get(key, ())))
        questions.append({
            "id": key, "question": right.question, "kind": right.kind, "stratum": right.stratum, "references": list(right.references),
            "outcome": _outcome(left, right), "shown": right.answerable_in_context, "passages": at, "marks": marks,
            "answers": [_answer(left, grades.get((LEFT, key))), _answer(right, grades.get((RIGHT, key)))],
        })  # fmt: skip
    texts: list[JSON] = [
        {"document": passage.document, "heading": passage.prefix or passage.title, "text": passage.text}
        for passage in map(passages.__getitem__, shown)
    ]
    return {"arms": [LEFT, RIGHT], "questions": questions, "passages": texts}


def embed_json(data: JSON) -> str:
    """JSON that can stand in a ``<script>`` element whatever it holds: no ``<``, ``>`` or ``&`` is left in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def passage_offsets(passage: Passage, document: str, start: int, end: int) -> Iterable[tuple[int, int]]:
    """Where a stretch of a document shows in a passage: offsets of its text, one pair for each span touched."""
    at = 0
    for span in passage.spans:
        low, high = max(start, span.start), min(end, span.end)
        if span.document == document and low < high:
            yield at + low - span.start, at + high - span.start
        at += span.end - span.start + 1


def _marks(left: Prediction, right: Prediction, passages: Mapping[str, Passage], evidence: Sequence[Evidence]) -> Iterable[JSON]:
    """``[which of the question's passages, start, end, "evidence" | "left" | "right"]``."""
    for number, passage in enumerate(passages[name] for name in right.passages if name in passages):
        places = [("evidence", gold.document, gold.start, gold.end) for gold in evidence]
        places += [("left", *place) for quote in left.quotes if (place := _place(quote)) is not None]
        places += [("right", *place) for quote in right.quotes if (place := _place(quote)) is not None]
        for kind, document, start, end in places:
            for low, high in passage_offsets(passage, document, start, end):
                yield [number, low, high, kind]


def _place(quote: Quote) -> tuple[str, int, int] | None:
    if quote.document is None or quote.start is None or quote.end is None:
        return None
    return quote.document, quote.start, quote.end


def _answer(prediction: Prediction, grade: Grade | None) -> JSON:
    answer: dict[str, JSON] = {
        "raw": prediction.raw,
        "score": round(_score(prediction), 3),
        "abstained": prediction.abstained,
        "quotes": len(prediction.quotes),
        "valid": sum(quote.valid for quote in prediction.quotes),
        "cut": "" if prediction.finished else "cut off in a loop" if loops(prediction.raw) else "cut off at the token limit",
    }
    if grade is not None:
        judged: list[JSON] = [[name, round(1 + 4 * value), grade.reasons[name]] for name, value in grade.scores.items()]
        answer["judged"], answer["failed"] = judged, grade.failed
    return answer


def _score(prediction: Prediction) -> float:
    return answer_metrics(prediction)["f1"] if prediction.references else float(prediction.abstained)


def _outcome(left: Prediction, right: Prediction) -> str:
    a, b = _score(left), _score(right)
    if abs(a - b) > MARGIN - 1e-9:
        return "won" if b > a else "lost"
    return "both right" if a >= 0.5 else "both wrong"
