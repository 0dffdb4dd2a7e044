"""Let a judge grade a sample of an evaluation's answers, side by side, each different prompt once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragtune import build
from ragtune.chat.generate import side_by_side
from ragtune.chat.structured import ask_for
from ragtune.config import Settings
from ragtune.dataset.draws import draw
from ragtune.evaluate.anchors import ANCHORS
from ragtune.evaluate.comparison import LEFT, RIGHT
from ragtune.evaluate.judge import (
    JUDGE_VERSION,
    Case,
    Grade,
    Preference,
    case_of,
    compare,
    comparing_messages,
    grade,
    grading_messages,
)
from ragtune.evaluate.judged import Comparison, Grading, judge_report
from ragtune.evaluate.report import JudgeReport
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.consent import Bill, estimate, prompt_tokens
from ragtune.progress import Progress
from ragtune.protocols import Form
from ragtune.types import Message, Passage, Prediction, Usage
from ragtune.workspace import Workspace

MAX_TOKENS = 600
_GRADE_TOKENS, _PREFERENCE_TOKENS = 200, 50
"""Completion tokens of a filled-in form, about: for the estimate alone."""

Pair = tuple[Case, Case]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge made of an evaluation: the figures, and what they were computed from."""

    report: JudgeReport
    gradings: tuple[Grading, ...]
    comparisons: tuple[Comparison, ...]
    anchors: Mapping[str, Grade]

    def lines(self) -> str:
        """``grades.jsonl``: a line a grade or preference."""
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in _lines(self))


def judge_key(settings: Settings) -> dict[str, Any]:
    """What of a judge decides an evaluation; nothing where none is set, so that evaluations without one stay what they are."""
    if settings.judge.model is None:
        return {}
    return {"judge": {**settings.judge.model_dump(mode="json"), "prompt": JUDGE_VERSION, "thinking": settings.chat.thinking}}


def check_judge(workspace: Workspace, settings: Settings) -> None:
    """Find a missing key, address or price before hours of answering, not after.

    Raises:
        RagtuneError: the judge cannot be asked.
    """
    if settings.judge.model is not None and is_hosted(settings.judge.model):
        build.chat_model(workspace, settings, settings.judge.model)


def judge(
    workspace: Workspace, settings: Settings, predictions: Sequence[Prediction], passages: Mapping[str, Passage], progress: Progress
) -> Judged | None:
    """Grade the answers from retrieved passages; ``None`` where no judge is set, or there is no such answer.

    Args:
        workspace: its ledger keeps the judge's replies, so that an interrupted evaluation goes on.
        settings: judge and chat are read, and the evaluation's seed.
        predictions: of all arms and contexts.
        passages: by id.
        progress: told what goes on.

    Raises:
        ChatError: the judge cannot be asked any more: the key, the line, the spending cap.
    """
    name = settings.judge.model
    chosen = _sample(predictions, settings.judge.questions, settings.evaluate.seed) if name else []
    if name is None or not chosen:
        return None
    cases = {(each.arm, each.id): case_of(each, passages) for each in chosen}
    pairs = [(id_, (cases[RIGHT, id_], cases[LEFT, id_])) for arm, id_ in cases if arm == RIGHT and (LEFT, id_) in cases]
    done = _ask(workspace, settings, name, _to_judge(cases.values(), [pair for _, pair in pairs]), progress)
    grades: dict[Case, Grade] = done[0]
    preferences: dict[Pair, Preference] = done[1]
    by_place = {(each.arm, each.id): each for each in chosen}
    gradings = tuple(Grading(each, grades[cases[each.arm, each.id]]) for each in chosen)
    comparisons = tuple(
        Comparison(by_place[RIGHT, id_], by_place[LEFT, id_], preferences.get((a, b)), preferences.get((b, a))) for id_, (a, b) in pairs
    )
    anchors = {label: grades[case] for label, case in ANCHORS.items()}
    report = judge_report(name, gradings, comparisons, anchors, seed=settings.evaluate.seed)
    failed = sum(sum(cell.failed.values()) for cell in report.cells)
    progress.finish("judge", f"{len(gradings)} answers to {report.questions} questions graded by {name}, {failed} without a grade")
    for note in report.notes:
        progress.note(f"judge: {note}")
    return Judged(report, gradings, comparisons, anchors)


def judge_bill(workspace: Workspace, settings: Settings, expected: Sequence[Prediction], passages: Mapping[str, Passage]) -> Bill | None:
    """What the judge will be asked, and about what it costs, before there are answers; ``None`` where no judge is set.

    Args:
        workspace: of the project.
        settings: judge and chat are read, and the evaluation's seed.
        expected: stand-ins for the answers of all arms, of which no two are equal.
        passages: by id.
    """
    name = settings.judge.model
    if name is None:
        return None
    cases = {(each.arm, each.id): case_of(each, passages) for each in _sample(expected, settings.judge.questions, settings.evaluate.seed)}
    pairs = [(cases[RIGHT, id_], cases[LEFT, id_]) for arm, id_ in cases if arm == RIGHT and (LEFT, id_) in cases]
    todo = _to_judge(cases.values(), pairs)
    prompts = [grading_messages(item) if isinstance(item, Case) else comparing_messages(*item) for item in todo]
    written = sum(_GRADE_TOKENS if isinstance(item, Case) else _PREFERENCE_TOKENS for item in todo)
    return estimate(workspace, settings, name, f"judges in {len(todo)} calls", len(todo), Usage(prompt_tokens(prompts), written))


def _to_judge(cases: Iterable[Case], pairs: Sequence[Pair]) -> list[Case | Pair]:
    """Each different prompt once: equal answers are graded once, and so alike, and are not compared."""
    orders = [order for a, b in pairs if _differ(a, b) for order in ((a, b), (b, a))]
    return list(dict.fromkeys([*ANCHORS.values(), *cases, *orders]))


def _ask(
    workspace: Workspace, settings: Settings, name: str, todo: Sequence[Case | Pair], progress: Progress
) -> tuple[dict[Case, Grade], dict[Pair, Preference]]:
    chat = build.chat_model(workspace, settings, name)

    def ask(messages: Sequence[Message], form: type[Form], /) -> Form:
        return ask_for(chat, messages, form, max_tokens=MAX_TOKENS)

    def work(item: Case | Pair) -> Grade | Preference:
        return grade(ask, item) if isinstance(item, Case) else compare(ask, *item)

    grades: dict[Case, Grade] = {}
    preferences: dict[Pair, Preference] = {}
    progress.start("judge", len(todo))
    # One engine answers one prompt at a time.
    for item, answer in side_by_side(work, todo, settings.chat.concurrency if is_hosted(name) else 1):
        if isinstance(item, Case) and isinstance(answer, Grade):
            grades[item] = answer
        elif not isinstance(item, Case) and isinstance(answer, Preference):
            preferences[item] = answer
        progress.update("judge", len(grades) + len(preferences))
    return grades, preferences


def _sample(predictions: Sequence[Prediction], limit: int, seed: int) -> list[Prediction]:
    """The retrieved answers of all arms to a sample of the questions."""
    retrieved = [each for each in predictions if each.context == "retrieved"]
    kept = set(sorted({each.id for each in retrieved}, key=lambda id_: draw("judge", seed, id_))[:limit])
    return [each for each in retrieved if each.id in kept]


def _differ(a: Case, b: Case) -> bool:
    return (a.answer, a.quotes) != (b.answer, b.quotes)


def _lines(judged: Judged) -> Iterator[dict[str, Any]]:
    for label, each in judged.anchors.items():
        yield {"kind": "anchor", "id": label, **_grade(each)}
    for grading in judged.gradings:
        at = grading.prediction
        yield {"kind": "grade", "id": at.id, "arm": at.arm, "context": at.context, **_grade(grading.grade)}
    for pair in judged.comparisons:
        a, b = pair.arm.arm, pair.against.arm
        for first, second, preference in ((a, b, pair.arm_first), (b, a, pair.arm_second)):
            if preference is not None:
                better = {"first": first, "second": second}.get(preference.better or "", preference.better)
                yield {
                    "kind": "pair", "id": pair.arm.id, "context": pair.arm.context, "first": first, "second": second,
                    "better": better, "reason": preference.reason, "failed": preference.failed,
                }  # fmt: skip


def _grade(grade: Grade) -> dict[str, Any]:
    return {"scores": dict(grade.scores), "reasons": dict(grade.reasons), "failed": grade.failed}
