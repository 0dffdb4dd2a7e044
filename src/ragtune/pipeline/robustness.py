"""Ask a sample of the questions again in changed contexts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from ragtune.confidence import Gate
from ragtune.config import Settings
from ragtune.dataset.changed import CHANGES, Change, changed_context
from ragtune.dataset.store import Dataset
from ragtune.errors import ContextOverflowError
from ragtune.pipeline.cells import Cell, choose_shots, sample_questions
from ragtune.pipeline.predict import predict
from ragtune.progress import Progress
from ragtune.prompts import build_messages
from ragtune.types import Arm, Example, Passage, Prediction
from ragtune.workspace import Manifest, Workspace

ARMS: tuple[Arm, ...] = ("base-fewshot", "other", "tuned")


def changed_cells(data: Dataset, examples: Sequence[Example], settings: Settings, k: int) -> dict[Change, list[Cell]]:
    """By change, a cell for each arm of which robustness is asked; nothing where ``evaluate.robustness`` is 0."""
    if not settings.evaluate.robustness or "retrieved" not in settings.evaluate.contexts:
        return {}
    seed = settings.evaluate.seed
    shots = choose_shots(data, seed)
    # Those that can be scored: of the others the documents hold no answer to be found.
    asked = sample_questions([each for each in examples if each.answers], settings.evaluate.robustness, seed)
    found: dict[Change, list[Cell]] = {}
    for change in CHANGES:
        made = [(each, changed_context(each, change, k=k, passages=data.passages, seed=seed)) for each in asked]
        pairs = [(replace(example, question=context.question), context) for example, context in made if context is not None]
        if not pairs:
            continue
        found[change] = [
            Cell(
                arm,
                "retrieved",
                tuple(example for example, _ in pairs),
                tuple(
                    build_messages(
                        context.question,
                        [data.passages[id_] for id_ in context.passages],
                        shots if arm == "base-fewshot" else (),
                        example.history,
                    )
                    for example, context in pairs
                ),
                tuple(context.passages for _, context in pairs),
                tuple(context.answerable for _, context in pairs),
            )
            for arm in ARMS
            if arm in settings.evaluate.arms
        ]
    return found


def predict_changed(
    workspace: Workspace,
    settings: Settings,
    cells: Mapping[Change, Sequence[Cell]],
    models: Mapping[Arm, Manifest],
    progress: Progress,
    passages: Mapping[str, Passage],
    gates: Mapping[Arm, Gate | None],
) -> dict[str, list[Prediction]]:
    """Answers by change; one whose prompts do not fit the model is left out, and said."""
    found: dict[str, list[Prediction]] = {}
    for change, own in cells.items():
        try:
            stage = f"evaluate, {change.replace('_', ' ')}"
            found[change] = predict(workspace, settings, own, models, progress, passages, gates=gates, stage=stage)
        except ContextOverflowError as error:
            progress.note(f"robustness: {change} is left out: {error}")
    return found


def changed_lines(changed: Mapping[str, Sequence[Prediction]]) -> str:
    """``robustness.jsonl``: a line an answer, as in predictions.jsonl, with the change."""
    lines = [{"change": change, **asdict(each)} for change, own in changed.items() for each in own]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
