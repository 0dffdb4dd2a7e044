"""What a dataset teaches, in figures: what stands in its training contexts, and what is learnt from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ragtune.dataset.recipe import Recipe
from ragtune.prompts import parse_answer
from ragtune.types import ContextGroup, Example

UNRANKED = "beyond 20"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of some sequences."""

    least: int
    median: int
    ninth_decile: int
    most: int
    n: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures of a dataset, those of training contexts of one epoch.

    Args:
        dataset: its name.
        epoch: whose contexts these are.
        questions: by split.
        kinds: by split, then by the questions' own label.
        p: share of the answerable questions that should see their evidence.
        p_realised: share that do; ``None`` where there are none.
        contexts: how many; questions that share one count it once.
        questions_per_context: how many contexts have so many questions.
        passages_per_context: how many contexts have so many passages.
        oracles_per_question: how many training questions need so many passages.
        distractor_ranks: how many distractors have which rank in their question's own ranking.
        answers: what is learnt: ``plain``, ``quoted``, ``reasoned``, ``abstaining``; and ``dropped``.
        without_evidence: how many answerable questions do not see their evidence.
        false_negatives: share of those whose context lacks, or by the recipe keeps, a passage in which an answer's words stand; ``None``
            where there are none.
        tokens: lengths of ``context``, ``question`` and ``answer``; empty where no tokenizer is at hand.
    """

    dataset: str
    epoch: int
    questions: Mapping[str, int]
    kinds: Mapping[str, Mapping[str, int]]
    p: float
    p_realised: float | None
    contexts: int
    questions_per_context: Mapping[str, int]
    passages_per_context: Mapping[str, int]
    oracles_per_question: Mapping[str, int]
    distractor_ranks: Mapping[str, int]
    answers: Mapping[str, int]
    without_evidence: int
    false_negatives: float | None
    tokens: Mapping[str, Lengths]


def measure(
    name: str,
    splits: Mapping[str, Sequence[Example]],
    groups: Sequence[ContextGroup],
    *,
    epoch: int,
    p: float,
    k: int,
    recipe: Recipe,
    tokens: Mapping[str, Sequence[int]],
) -> Statistics:
    """The figures.

    Args:
        name: of the dataset.
        splits: its examples; those of ``train`` are trained on.
        groups: the training contexts of one epoch.
        epoch: which.
        p: as it is to be trained.
        k: passages of a context.
        recipe: that the contexts were made by.
        tokens: lengths by part of a sequence.
    """
    by_id = {example.id: example for example in splits["train"]}
    trained = [(by_id[branch.id], branch, group) for group in groups for branch in group.branches]
    ranks, forms = Counter[str](), Counter[str]()
    present = elsewhere = 0
    absent: list[Example] = []
    for example, branch, group in trained:
        shown = [passage.id for passage in group.passages or ()]
        rank = {each.passage: str(each.rank) for each in example.candidates}
        ranks.update(rank.get(id_, UNRANKED) for id_ in shown if id_ not in example.oracles)
        forms[_form(example, branch.completion)] += 1
        if example.oracles and set(example.oracles) <= set(shown):
            present += 1
        elif example.oracles:
            absent.append(example)
            elsewhere += _holds_elsewhere(example, recipe.size(example, k))
    dropped = len(by_id) - len(trained)
    answerable = sum(bool(example.oracles) for example in by_id.values())
    return Statistics(
        dataset=name,
        epoch=epoch,
        questions={split: len(own) for split, own in splits.items()},
        kinds={split: _ordered(Counter(example.kind or "—" for example in own)) for split, own in splits.items() if own},
        p=p,
        p_realised=round(present / answerable, 4) if answerable else None,
        contexts=len(groups),
        questions_per_context=_numbered(len(group.branches) for group in groups),
        passages_per_context=_numbered(len(group.passages or ()) for group in groups),
        oracles_per_question=_numbered(len(example.oracles) for example in by_id.values()),
        distractor_ranks=dict(sorted(ranks.items(), key=lambda item: (item[0] == UNRANKED, int(item[0]) if item[0] != UNRANKED else 0))),
        answers=_ordered(forms + Counter({"dropped": dropped})),
        without_evidence=len(absent),
        false_negatives=round(elsewhere / len(absent), 4) if absent else None,
        tokens={part: _lengths(lengths) for part, lengths in tokens.items() if lengths},
    )


def _form(example: Example, completion: str) -> str:
    parsed = parse_answer(completion)
    if parsed.abstained:
        return "abstaining"
    if example.reasoning and len(completion.split("\n")) > 1 + len(parsed.quotes):
        return "reasoned"
    return "quoted" if parsed.quotes else "plain"


def _holds_elsewhere(example: Example, size: int) -> bool:
    """Whether a passage without the evidence, that would be shown, holds an answer's words."""
    return any(each.holds_answer for each in [c for c in example.candidates if c.allowed and not c.oracle][:size])


def _numbered(values: Iterable[int]) -> dict[str, int]:
    return {str(value): count for value, count in sorted(Counter(values).items())}


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count}


def _lengths(lengths: Sequence[int]) -> Lengths:
    values = sorted(lengths)
    return Lengths(values[0], values[len(values) // 2], values[int(0.9 * (len(values) - 1))], values[-1], len(values))
