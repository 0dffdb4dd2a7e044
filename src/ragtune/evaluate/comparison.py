"""Questions with the answers of several models side by side, as data that report.js shows: each passage once, with its marks."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ragtune.conversation import in_full
from ragtune.evaluate.answers import RIGHT_F1, f1, loops
from ragtune.evaluate.judge import Grade
from ragtune.evaluate.judged import Grading
from ragtune.evaluate.report import ARMS
from ragtune.redact import BLANK
from ragtune.types import CONTEXTS, JSON, Arm, Context, Evidence, Example, Passage, Prediction, Quote

LEFT: Arm = "base-fewshot"
RIGHT: Arm = "tuned"
MARGIN = 0.1
"""Of F1, from which on a question is won or lost; less is a matter of wording."""
JUDGED: tuple[Arm, ...] = (RIGHT, "other", "dsf")
AGAINST: tuple[Arm, ...] = (LEFT, "base", "dsf", "other")
"""The first of ``JUDGED`` that answered is compared with the first of these that did besides."""
EVIDENCE = -1  # as the maker of a mark: not an answer's quote but the gold evidence


@dataclass(frozen=True, slots=True)
class Side:
    """The answers of one model.

    Args:
        name: as it is shown.
        style: ``tuned``: drawn as class ``arm-tuned`` of page.css.
        answers: by question.
        grades: of a judge, by question.
    """

    name: str
    style: str
    answers: Mapping[str, Prediction]
    grades: Mapping[str, Grade] = field(default_factory=dict)


def compare_questions(
    predictions: Sequence[Prediction],
    passages: Mapping[str, Passage],
    examples: Sequence[Example],
    gradings: Sequence[Grading] = (),
) -> dict[str, JSON]:
    """Every question as the models answered it from retrieved passages; of several seeds the first is shown.

    The first two sides are those that are compared, where there are such: see ``compared_arms``.

    Args:
        predictions: of all models; a context takes the place of the retrieved one where that was not evaluated.
        passages: by id.
        examples: for the gold evidence.
        gradings: a judge's; they show beside the answers that they are of.
    """
    context = shown_context(predictions)
    arms: dict[Arm, dict[str, Prediction]] = {}
    for prediction in sorted(predictions, key=lambda p: p.seed):
        if prediction.context == context:
            arms.setdefault(prediction.arm, {}).setdefault(prediction.id, prediction)
    pair = compared_arms(arms)
    order = [arm for arm in (*pair, *ARMS, *arms) if arm in arms]
    grades: dict[Arm, dict[str, Grade]] = {}
    for each in gradings:
        grades.setdefault(each.prediction.arm, {})[each.prediction.id] = each.grade
    sides = [Side(arm, arm, arms[arm], grades.get(arm, {})) for arm in dict.fromkeys(order)]
    return question_data(sides, passages, {example.id: example.evidence for example in examples}, paired=bool(pair))


def compared_arms(arms: Collection[Arm]) -> tuple[Arm, ...]:
    """Of the arms that answered, the one that another is measured against, and that other; none where there is no such pair."""
    judged = next((arm for arm in JUDGED if arm in arms), None)
    against = next((arm for arm in AGAINST if arm in arms and arm != judged), None)
    return (against, judged) if judged is not None and against is not None else ()


def question_data(
    sides: Sequence[Side], passages: Mapping[str, Passage], evidence: Mapping[str, Sequence[Evidence]], *, paired: bool
) -> dict[str, JSON]:
    """The questions that the first two sides answered where they are ``paired``, else those that all did; largest differences first.

    The score of an answerable question is its F1; of an unanswerable one, 1 for abstaining. Offsets are code points of a passage's text.
    """
    compared = sides[:2] if paired else sides
    keys = set.intersection(*(set(side.answers) for side in compared)) if compared else set()
    at: dict[str, int] = {}
    questions = [_question(key, sides, passages, evidence.get(key, ()), at, paired=paired) for key in keys]
    questions.sort(key=lambda question: (-abs(float(str(question["change"]))), str(question["id"])))
    outcomes = ["won", "lost", "both right", "both wrong"] if paired else ["they differ", "all right", "all wrong"]
    return {
        "sides": [{"name": side.name, "style": side.style} for side in sides],
        "outcomes": [name for name in outcomes if any(question["outcome"] == name for question in questions)],
        "questions": [*questions],
        "passages": [
            {"document": passage.document, "heading": passage.prefix or passage.title, "text": passage.text}
            for passage in map(passages.__getitem__, at)
        ],
    }


def shown_context(predictions: Iterable[Prediction]) -> Context:
    """Retrieved passages, or what comes nearest to them among what was evaluated."""
    there = {prediction.context for prediction in predictions}
    return next((context for context in reversed(CONTEXTS) if context in there), "retrieved")


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


def question_score(prediction: Prediction) -> float:
    """F1, or where the documents do not answer whether the model said so."""
    if prediction.abstained or not prediction.references:
        return float(prediction.abstained and not prediction.references)
    return f1(prediction.answer, prediction.references)  # alone: the other metrics load what takes seconds


def _question(
    key: str,
    sides: Sequence[Side],
    passages: Mapping[str, Passage],
    evidence: Sequence[Evidence],
    at: dict[str, int],
    *,
    paired: bool,
) -> dict[str, JSON]:
    """One question; ``at`` takes in the passages that it shows."""
    answers = [side.answers.get(key) for side in sides]
    first = next(answer for answer in answers if answer is not None)
    scores = [question_score(answer) for answer in answers[: 2 if paired else None] if answer is not None]
    shown = [
        name for name in dict.fromkeys(name for answer in answers if answer is not None for name in answer.passages) if name in passages
    ]
    return {
        "id": key,
        "question": in_full(first.question, first.history),
        "kind": first.kind,
        "stratum": first.stratum,
        "group": first.group,
        "references": list(first.references),
        "outcome": _outcome(scores, paired=paired),
        "change": round(scores[1] - scores[0] if paired else max(scores) - min(scores), 3),
        "passages": [at.setdefault(name, len(at)) for name in shown],
        "marks": list(_marks([passages[name] for name in shown], answers, evidence)),
        "answers": [None if p is None else _answer(p, side.grades.get(key), shown) for side, p in zip(sides, answers, strict=True)],
    }


def _marks(shown: Sequence[Passage], answers: Sequence[Prediction | None], evidence: Sequence[Evidence]) -> Iterable[JSON]:
    """``[which of the question's passages, start, end, whose]``: the answer that quotes it, or ``EVIDENCE``."""
    places = [(EVIDENCE, gold.document, gold.start, gold.end) for gold in evidence]
    for side, answer in enumerate(answers):
        places += [(side, *place) for quote in (answer.quotes if answer else ()) if (place := _place(quote)) is not None]
    for number, passage in enumerate(shown):
        if BLANK in passage.text:
            continue  # purged since: nothing stands any more where it stood
        for whose, document, start, end in places:
            for low, high in passage_offsets(passage, document, start, end):
                yield [number, low, high, whose]


def _place(quote: Quote) -> tuple[str, int, int] | None:
    if quote.document is None or quote.start is None or quote.end is None:
        return None
    return quote.document, quote.start, quote.end


def _answer(prediction: Prediction, grade: Grade | None, shown: Sequence[str]) -> JSON:
    answer: dict[str, JSON] = {
        "raw": prediction.raw,
        "score": round(question_score(prediction), 3),
        "abstained": prediction.abstained,
        "quotes": sum(not quote.found for quote in prediction.quotes),
        "valid": sum(quote.valid for quote in prediction.quotes if not quote.found),
        "found": any(quote.found for quote in prediction.quotes),
        "cut": "" if prediction.finished else "cut off in a loop" if loops(prediction.raw) else "cut off at the token limit",
        "shown": prediction.answerable_in_context,
    }
    if len(shown) > len(set(prediction.passages)):
        answer["seen"] = [number for number, name in enumerate(shown) if name in prediction.passages]
    if grade is not None:
        judged: list[JSON] = [[name, round(1 + 4 * value), grade.reasons[name]] for name, value in grade.scores.items()]
        answer["judged"], answer["failed"] = judged, grade.failed
    return answer


def _outcome(scores: Sequence[float], *, paired: bool) -> str:
    if max(scores) - min(scores) > MARGIN - 1e-9:
        return "they differ" if not paired else "won" if scores[1] > scores[0] else "lost"
    right = scores[0] >= RIGHT_F1
    if paired:
        return "both right" if right else "both wrong"
    return "all right" if right else "all wrong"
