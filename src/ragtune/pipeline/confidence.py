"""How sure a tuned model's answers are: learned once from its answers to validation questions, and kept beside its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ragtune import build
from ragtune.confidence import Confidence, Gate, answer_signals
from ragtune.config import Settings
from ragtune.conversation import search_text
from ragtune.dataset.draws import draw
from ragtune.dataset.raft import evaluation_context
from ragtune.dataset.store import Dataset, read_dataset
from ragtune.errors import ProjectError
from ragtune.evaluate.answers import RIGHT_F1, f1
from ragtune.evaluate.calibration import AnswerThreshold, Rated, choose_threshold, fit_confidence
from ragtune.pipeline.answerers import Answerer, engine_key
from ragtune.progress import Progress
from ragtune.prompts import build_messages, parse_answer
from ragtune.types import Context, Example, Generation, Passage
from ragtune.workspace import Manifest, Workspace, stage_key, write_json

VERSION = 5
QUESTIONS = 100
"""Validation questions asked, each with its evidence and without; more cost time and change little."""
FEWEST_QUESTIONS = 20
UNANSWERABLE = 0.2
"""Share of the questions that the documents are taken not to answer, in a confidence and where a threshold is chosen."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was learned from validation.

    Args:
        confidence: weights.
        rated: the answers that it was learned from.
    """

    confidence: Confidence
    rated: tuple[Rated, ...]

    def threshold(self, wanted: float) -> AnswerThreshold | None:
        """See :func:`ragtune.evaluate.calibration.choose_threshold`."""
        return choose_threshold(self.rated, wanted)


@dataclass(frozen=True, slots=True)
class _Asked:
    example: Example
    context: Context
    passages: tuple[Passage, ...]
    answerable: bool


def calibrate(workspace: Workspace, settings: Settings, tuned: Manifest, answerer: Answerer, progress: Progress) -> Calibration | None:
    """Ask a model its validation questions, or give what was learned before.

    Args:
        workspace: of the project.
        settings: as it answers with.
        tuned: the model.
        answerer: it, ready to answer.
        progress: told what goes on.

    Returns:
        ``None`` for a model that does not tell its log-probabilities, or with too few validation questions.
    """
    path, key = _file(workspace, tuned), _key(settings, tuned)
    found = _load(path, key)
    if found is not None:
        return found
    source = workspace.find("datasets", str(tuned.inputs["dataset"]))
    data = read_dataset(workspace.artifact("datasets", source.name))
    asked = _contexts(data, int(source.settings["retrieve"]["k"]))
    if sum(each.context == "retrieved" for each in asked) < FEWEST_QUESTIONS:
        progress.note(f"confidence: not calibrated, there are fewer than {FEWEST_QUESTIONS} validation questions")
        return None
    learned = _learn(asked, _answers(asked, answerer, progress))
    if learned is not None:
        kept = {"key": key, "weights": learned.confidence.weights, "bias": learned.confidence.bias}
        write_json(path, {**kept, "rated": [asdict(each) for each in learned.rated]})
        progress.finish("confidence", f"learned from {len(asked)} validation answers")
    return learned


def load_calibration(workspace: Workspace, settings: Settings, tuned: Manifest) -> Calibration | None:
    """What was learned for a model that answers as it is set to answer now, if anything was."""
    return _load(_file(workspace, tuned), _key(settings, tuned))


def make_gate(settings: Settings, calibration: Calibration | None, model: str) -> Gate | None:
    """How sure a model's answers must be, as it is set; ``None`` where nothing was learned and no precision is wanted.

    Raises:
        ProjectError: ``generate.precision`` is set, and there is nothing, or too little, that its threshold could be chosen on.
    """
    wanted = settings.generate.precision
    threshold = calibration.threshold(wanted) if calibration and wanted is not None else None
    if wanted is not None and threshold is None:
        raise ProjectError(
            f"generate.precision needs validation answers of {model}: run 'ragtune evaluate --model {model}' first, "
            f"with at least {FEWEST_QUESTIONS} validation questions, or unset it"
        )
    if calibration is None:
        return None
    return Gate(calibration.confidence) if threshold is None else Gate(calibration.confidence, threshold.logodds, _unreached(threshold))


def _unreached(threshold: AnswerThreshold) -> str:
    if threshold.precision >= threshold.wanted:
        return ""
    return (
        f"generate.precision = {threshold.wanted:g} was not reached on validation: at best {threshold.precision:.1%} of the answers were "
        f"right, with {threshold.coverage:.0%} of the questions answered; that threshold is taken"
    )


def _contexts(data: Dataset, k: int) -> list[_Asked]:
    chosen = sorted(data.validation, key=lambda example: draw("confidence", example.id))[:QUESTIONS]
    asked = []
    for example in chosen:
        contexts: tuple[Context, ...] = ("retrieved", "distractors") if example.oracles else ("retrieved",)
        for context in contexts:
            shown = evaluation_context(example, context, k)
            asked.append(_Asked(example, context, tuple(data.passages[id_] for id_ in shown.passages or ()), shown.answerable))
    return asked


def _answers(asked: Sequence[_Asked], answerer: Answerer, progress: Progress) -> dict[int, Generation]:
    progress.start("confidence", len(asked))
    prompts = [build_messages(each.example.question, each.passages, history=each.example.history) for each in asked]
    answers: dict[int, Generation] = {}
    for at, generation in answerer.generate(prompts, [each.passages for each in asked]):
        answers[at] = generation
        progress.update("confidence", len(answers), "validation answers")
    return answers


def _learn(asked: Sequence[_Asked], answers: Mapping[int, Generation]) -> Calibration | None:
    signals = [answer_signals(_searched(each.example), each.passages, answers[at]) for at, each in enumerate(asked)]
    told = [each for each in signals if each is not None]
    if len(told) < len(asked):
        return None
    served = sum(each.context == "retrieved" for each in asked)
    weight = UNANSWERABLE / (1 - UNANSWERABLE) * served / max(1, len(asked) - served)
    weights = [1.0 if each.context == "retrieved" else weight for each in asked]
    confidence = fit_confidence(told, [each.answerable for each in asked], weights)
    if confidence is None:
        return None
    rated = []
    for at, (each, own) in enumerate(zip(asked, told, strict=True)):
        parsed = parse_answer(answers[at].text)
        right = each.context == "retrieved" and not parsed.abstained and f1(parsed.answer, each.example.answers) >= RIGHT_F1
        rated.append(Rated(confidence.logodds(own), not parsed.abstained, right, weights[at]))
    return Calibration(confidence, tuple(rated))


def _searched(example: Example) -> str:
    return search_text(example.question, example.history)


def _load(path: Path, key: str) -> Calibration | None:
    if not path.is_file():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["key"] != key:
        return None
    return Calibration(Confidence(tuple(kept["weights"]), kept["bias"]), tuple(Rated(**each) for each in kept["rated"]))


def _key(settings: Settings, tuned: Manifest) -> str:
    generate = settings.generate.model_dump(mode="json", exclude={"precision", "batch_size"})
    own = build.with_base_of(settings, tuned.settings["model"])
    return stage_key("confidence", VERSION, generate, {"model": tuned.key, "engine": engine_key(own)})


def _file(workspace: Workspace, tuned: Manifest) -> Path:
    return workspace.artifact("models", tuned.name) / "confidence.json"
