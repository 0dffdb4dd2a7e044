"""What every arm is asked in an evaluation: its cells, each with its questions, prompts and passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragtune.confidence import Gate, answer_signals
from ragtune.config import Settings
from ragtune.conversation import search_text
from ragtune.dataset.draws import draw
from ragtune.dataset.raft import evaluation_context
from ragtune.dataset.store import Dataset
from ragtune.evaluate.answers import written_answer
from ragtune.prompts import Shot, build_messages, parse_answer
from ragtune.support import cited_by
from ragtune.types import Arm, Context, Example, Generation, Message, Passage, Prediction

SHOTS = 2
CONTROLS: tuple[Context, ...] = ("closed-book", "oracle", "distractors")


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm in one context: which examples, with which prompts and passages."""

    arm: Arm
    context: Context
    examples: tuple[Example, ...]
    prompts: tuple[list[Message], ...]
    passages: tuple[tuple[str, ...], ...]
    answerable: tuple[bool, ...]


def plan_cells(data: Dataset, examples: Sequence[Example], settings: Settings, k: int) -> list[Cell]:
    """Every arm × context with its prompts; the arms of a context are shown the same passages."""
    shots = choose_shots(data, settings.evaluate.seed)
    cells = []
    for context in settings.evaluate.contexts:
        chosen = (
            sample_questions(examples, settings.evaluate.control_questions, settings.evaluate.seed)
            if context in CONTROLS
            else list(examples)
        )
        if context in ("oracle", "distractors"):
            chosen = [example for example in chosen if example.oracles]
        if not chosen:
            continue
        shown = [evaluation_context(example, context, k) for example in chosen]
        for arm in settings.evaluate.arms:
            own_shots = shots if arm == "base-fewshot" else ()
            cells.append(
                Cell(
                    arm,
                    context,
                    tuple(chosen),
                    tuple(
                        build_messages(
                            example.question,
                            None if each.passages is None else [data.passages[id_] for id_ in each.passages],
                            own_shots,
                            example.history,
                        )
                        for example, each in zip(chosen, shown, strict=True)
                    ),
                    tuple(each.passages or () for each in shown),
                    tuple(each.answerable for each in shown),
                )
            )
    return cells


def choose_shots(data: Dataset, seed: int, count: int = SHOTS) -> tuple[Shot, ...]:
    """Worked examples from training, each with the passage that answers and one distractor: before it, then behind it.

    Always in one place, the evidence would teach the model to answer from that place.
    """
    answered = [example for example in data.train if len(example.oracles) == 1 and not example.history]
    chosen = sorted(answered, key=lambda example: draw("shot", seed, example.id))[:count]
    shots: list[Shot] = []
    for example in chosen:
        distractor = [each.passage for each in example.candidates if each.allowed and not (each.oracle or each.holds_answer)][:1]
        shown = (*distractor, *example.oracles) if len(shots) % 2 == 0 else (*example.oracles, *distractor)
        shots.append(Shot(example.question, tuple(data.passages[id_] for id_ in shown), example.completion))
    return tuple(shots)


def make_prediction(
    cell: Cell,
    index: int,
    generation: Generation,
    label: str,
    seed: int,
    passages: Mapping[str, Passage],
    gate: Gate | None = None,
) -> Prediction:
    """What one question of a cell was answered, taken apart and its quotes checked; by a gate's model, with how sure it is."""
    example = cell.examples[index]
    parsed = parse_answer(generation.text)
    shown = [passages[id_] for id_ in cell.passages[index]]
    searched = search_text(example.question, example.history)
    signals = answer_signals(searched, shown, generation) if gate and cell.passages[index] else None
    confidence = gate.confidence.logodds(signals) if gate and signals else None
    withheld = gate is not None and confidence is not None and gate.withholds(confidence) and not parsed.abstained
    answer = "" if withheld else written_answer(generation.text, parsed.answer, finished=generation.finished)
    return Prediction(
        id=example.id,
        question=example.question,
        arm=cell.arm,
        model=label,
        seed=seed,
        context=cell.context,
        group=example.group,
        stratum=example.stratum,
        kind=example.kind,
        raw=generation.text,
        answer=answer,
        references=example.answers,
        passages=cell.passages[index],
        quotes=() if withheld else cited_by(searched, answer, parsed, shown),
        abstained=parsed.abstained or withheld,
        answerable_in_context=cell.answerable[index],
        abstain_logodds=generation.abstain_logodds,
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=generation.completion_tokens,
        seconds=generation.seconds,
        cost=generation.cost,
        finished=generation.finished,
        confidence=confidence,
        withheld=withheld,
        history=example.history,
    )


def sample_questions(examples: Sequence[Example], limit: int | None, seed: int) -> list[Example]:
    """All of them, or a seeded sample of ``limit``, in their order."""
    if limit is None or limit >= len(examples):
        return list(examples)
    kept = {example.id for example in sorted(examples, key=lambda example: draw("evaluate", seed, example.id))[:limit]}
    return [example for example in examples if example.id in kept]
