"""How training contexts differ from what serving shows: where distractors come from, how many, in which order, and what is written.

The defaults are the served contexts. The rest is what RAFT and its followers did otherwise, so that each choice can be measured. A recipe
is read when examples are trained on, never when a dataset is built: an ablation needs no new dataset.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ragtune.dataset.draws import draw
from ragtune.dataset.matching import holds_answer, normalise
from ragtune.dataset.oracles import touches
from ragtune.prompts import build_completion, parse_answer
from ragtune.types import Candidate, Example, Passage

ABSTAINING = build_completion(None)
Form = Literal["plain", "quote", "reasoned"]
_SPARE = 64
"""Random passages drawn beyond those needed, of which some may be unfit."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training context is made of.

    Args:
        distractors: ``retrieved`` for the question, or ``random``.
        count: of them beside the evidence; ``None``: as many as make up k passages.
        ranks: first and last rank that retrieved ones are drawn from, anew each epoch; ``None``: the best ranked, as served.
        order: ``served``, or ``shuffled`` anew each epoch.
        false_negatives: where the evidence is absent, ``remove`` passages in which an answer's words stand, or ``keep`` them.
        absent: what is written without the evidence: ``abstain``, ``answer`` from memory without a quote, or ``drop`` the question from
            the epoch. Questions that the documents do not answer always abstain.
        answer: ``plain``, with a ``quote`` before it, or ``reasoned`` between the two; ``None``: as the dataset has it.
    """

    distractors: Literal["retrieved", "random"] = "retrieved"
    count: int | None = None
    ranks: tuple[int, int] | None = None
    order: Literal["served", "shuffled"] = "served"
    false_negatives: Literal["remove", "keep"] = "remove"
    absent: Literal["abstain", "answer", "drop"] = "abstain"
    answer: Form | None = None

    def size(self, example: Example, k: int) -> int:
        """Passages in a question's context: the same with and without its evidence, so that their number gives nothing away."""
        return k if self.count is None else self.count + max(1, len(example.oracles))


SERVED = Recipe()


@dataclass(frozen=True, slots=True)
class Pool:
    """What random distractors are drawn from: passages that some training question was served and that may be shown in training."""

    ids: tuple[str, ...]
    passages: Mapping[str, Passage]


def make_pool(examples: Sequence[Example], passages: Mapping[str, Passage]) -> Pool:
    """The pool of a training split."""
    return Pool(tuple(sorted({each.passage for example in examples for each in example.candidates if each.allowed})), passages)


def draw_distractors(example: Example, recipe: Recipe, pool: Pool | None, count: int, *, absent: bool, key: tuple[int, int]) -> list[str]:
    """Distractors by a recipe that does not take the best ranked; retrieved ones in served order.

    Args:
        example: the question.
        recipe: with ``random`` distractors, or a window of ranks.
        pool: for random ones.
        count: how many, at most.
        absent: the evidence is not shown, so nothing that might answer may be.
        key: seed and epoch.
    """
    strict = absent and recipe.false_negatives == "remove"
    unfit = {each.passage for each in example.candidates if each.oracle or not each.allowed or (strict and each.holds_answer)}
    unfit.update(example.oracles)
    if recipe.distractors == "random":
        if pool is None:
            raise ValueError("random distractors need a pool")
        return _draw_random(example, pool, unfit, count, strict, key)
    first, last = recipe.ranks or (1, len(example.candidates))

    def turn(each: Candidate) -> tuple[bool, int]:
        inside = first <= each.rank <= last
        return not inside, draw(key[0], "distractor", key[1], example.id, each.passage) if inside else each.rank

    fit = sorted((each for each in example.candidates if each.passage not in unfit), key=turn)[:count]
    return [each.passage for each in sorted(fit, key=lambda each: each.rank)]


def _draw_random(example: Example, pool: Pool, unfit: set[str], count: int, strict: bool, key: tuple[int, int]) -> list[str]:
    drawn = random.Random(draw(key[0], "random", key[1], example.id)).sample(  # noqa: S311
        pool.ids, min(len(pool.ids), count + len(unfit) + _SPARE)
    )
    chosen: list[str] = []
    for id_ in drawn:
        if len(chosen) == count:
            break
        passage = pool.passages[id_]
        if id_ in unfit or any(touches(passage, evidence) for evidence in example.evidence):
            continue
        if strict and holds_answer(example.answers, normalise(f"{passage.prefix} {passage.text}")):
            continue
        chosen.append(id_)
    return chosen


def write_answer(example: Example, form: Form | None) -> str:
    """What is learnt where the evidence is shown."""
    if form is None or not example.answers:
        return example.completion
    if form == "plain":
        return build_completion(example.answers[0])
    quotes = parse_answer(example.completion).quotes
    return build_completion(example.answers[0], quotes, example.reasoning if form == "reasoned" else None)


def write_without_evidence(example: Example, recipe: Recipe) -> str:
    """What is learnt where it is absent."""
    if recipe.absent == "answer" and example.answers:
        return build_completion(example.answers[0])
    return ABSTAINING
