"""Ask the arms of an evaluation what their cells say: what that costs where models are hosted, and the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ragtune.confidence import Gate
from ragtune.config import Settings
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.answerers import answerers
from ragtune.pipeline.cells import Cell, make_prediction
from ragtune.pipeline.confidence import Calibration, calibrate
from ragtune.pipeline.consent import Bill, estimate, prompt_tokens
from ragtune.pipeline.forecast import ANSWER_TOKENS
from ragtune.pipeline.judge import judge_bill
from ragtune.progress import Progress
from ragtune.types import Arm, Generation, Message, Passage, Prediction, Usage
from ragtune.workspace import Manifest, Workspace


def bills(
    workspace: Workspace,
    settings: Settings,
    cells: Sequence[Cell],
    models: Mapping[Arm, Manifest],
    passages: Mapping[str, Passage],
    *,
    ungraded: Sequence[Cell] = (),
) -> Iterator[Bill]:
    """What the evaluation will ask of hosted models, answers and grades; no judge grades the answers to ``ungraded``."""
    if is_hosted(settings.model.base):
        asked: dict[str, dict[tuple[Message, ...], None]] = {}
        for cell in (*cells, *ungraded):
            name = str(models[cell.arm].settings.get("hosted")) if cell.arm in models else settings.model.base
            asked.setdefault(name, {}).update(dict.fromkeys(tuple(prompt) for prompt in cell.prompts))
        for name, prompts in asked.items():
            usage = Usage(prompt_tokens(prompts), ANSWER_TOKENS * len(prompts))
            yield estimate(workspace, settings, name, f"answers {len(prompts)} prompts", len(prompts), usage)
    written = (
        # Answers of the usual length, of which no two are equal.
        make_prediction(
            cell,
            index,
            Generation(f"{example.completion} {cell.arm}", 0, 0, 0.0, finished=True),
            cell.arm,
            settings.evaluate.seed,
            passages,
        )
        for cell in cells
        for index, example in enumerate(cell.examples)
        if cell.context == "retrieved"
    )
    bill = judge_bill(workspace, settings, list(written), passages)
    if bill is not None:
        yield bill


def predict(
    workspace: Workspace,
    settings: Settings,
    cells: Sequence[Cell],
    models: Mapping[Arm, Manifest],
    progress: Progress,
    passages: Mapping[str, Passage],
    *,
    gates: Mapping[Arm, Gate | None] | None = None,
    stage: str = "evaluate",
) -> list[Prediction]:
    """The answers to all cells, in their order; those that were given before are not asked for again.

    Args:
        workspace: of the project.
        settings: its settings.
        cells: what is asked.
        models: behind the arms that have weights of their own.
        progress: told what goes on.
        passages: by id.
        gates: by arm, how sure answers are and must be.
        stage: as it is called on the way.
    """
    who = answerers(workspace, settings, models)
    arms: dict[Arm, list[Cell]] = {}
    for cell in cells:
        arms.setdefault(cell.arm, []).append(cell)
    total = sum(len(cell.examples) for cell in cells)
    progress.start(stage, total)
    done = 0
    predictions: list[Prediction] = []
    for arm, own in arms.items():
        # One call for all contexts of an arm: where retrieval found the evidence, two contexts share a prompt, which is answered once.
        places = [(cell, index) for cell in own for index in range(len(cell.examples))]
        prompts = [cell.prompts[index] for cell, index in places]
        quotable = [[passages[id_] for id_ in cell.passages[index]] for cell, index in places]
        for place, generation in who[arm].generate(prompts, quotable):
            cell, index = places[place]
            predictions.append(
                make_prediction(cell, index, generation, who[arm].label, settings.evaluate.seed, passages, (gates or {}).get(arm))
            )
            done += 1
            progress.update(stage, done, arm)
    order = {(cell.arm, cell.context): number for number, cell in enumerate(cells)}
    return sorted(predictions, key=lambda each: (order[each.arm, each.context], each.id))


def calibrate_arms(workspace: Workspace, settings: Settings, models: Mapping[Arm, Manifest], progress: Progress) -> dict[Arm, Calibration]:
    """By arm, what validation tells of the local models that were tuned in this project to answer from passages."""
    if is_hosted(settings.model.base):
        return {}
    who = answerers(workspace, settings, models)
    found: dict[Arm, Calibration] = {}
    for arm, manifest in models.items():
        if manifest.settings.get("without_context") or manifest.settings.get("hosted") or "adapter" in manifest.settings:
            continue
        learned = calibrate(workspace, settings, manifest, who[arm], progress)
        if learned is not None:
            found[arm] = learned
    return found
