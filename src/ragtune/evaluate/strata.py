"""Where is a model better, and where not? F1 by what a question is like, retrieved, with the difference that decides in each stratum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ragtune.evaluate.decide import Cells, question_f1
from ragtune.evaluate.findings import Factor, Stratum
from ragtune.evaluate.intervals import bootstrap, holm, paired_difference
from ragtune.evaluate.retrieval import covered_by_rank
from ragtune.types import Arm, Evidence, Example, Passage, Prediction

OTHERS = "others"
_FEWEST = 5
"""Questions that a document needs to be a stratum of its own."""
_DEEPEST = 5
_BINS: Mapping[Factor, tuple[int, ...]] = {
    "question_words": (9, 13, 19),
    "answer_words": (2, 4, 10),
    "context_words": (100, 200, 400, 800, 1600),
}
"""Where a bin begins; the first begins at 0. Fixed, so that strata of different evaluations compare."""


def strata(cells: Cells, examples: Sequence[Example], passages: Mapping[str, Passage], *, seed: int = 0) -> tuple[Stratum, ...]:
    """Every stratum of every factor by which the questions differ, those of a factor in order.

    Args:
        cells: predictions by arm and context.
        examples: the questions, for their evidence and oracles.
        passages: that were shown, by id; where they are not given, nothing is parted by them.
        seed: of the resampling.
    """
    arms: dict[Arm, list[Prediction]] = {arm: list(cell) for (arm, context), cell in cells.items() if context == "retrieved"}
    f1 = {arm: question_f1(cell) for arm, cell in arms.items()}
    asked = sorted(set.intersection(*(set(scores) for scores in f1.values()))) if f1 else []
    first = {p.id: p for p in next(iter(arms.values()), ()) if p.id in set(asked)}
    own = {example.id: example for example in examples}
    found: list[Stratum] = []
    for factor, label in _factors(passages).items():
        labels = {id_: name for id_ in asked if id_ in own and (name := label(own[id_], first[id_])) is not None}
        if factor == "source":
            counted = Counter(labels.values())
            labels = {id_: name if counted[name] >= _FEWEST else OTHERS for id_, name in labels.items()}
        names = sorted(set(labels.values()), key=lambda name: _order(factor, name))
        if len(names) > 1:
            for name in names:
                ids = [id_ for id_ in asked if labels.get(id_) == name]
                # Of one document questions are drawn, not documents: there is but one group.
                groups = [id_ if factor == "source" and name != OTHERS else first[id_].group for id_ in ids]
                found.append(_stratum(factor, name, ids, groups, len({first[id_].group for id_ in ids}), f1, seed))
    return _corrected(found)


def _stratum(
    factor: Factor, name: str, ids: Sequence[str], groups: Sequence[str], count: int, f1: Mapping[Arm, Mapping[str, float]], seed: int
) -> Stratum:
    figures = {arm: bootstrap([scores[id_] for id_ in ids], groups, seed=seed) for arm, scores in f1.items()}
    made = Stratum(factor, name, len(ids), count, figures)
    if "tuned" not in f1 or "base-fewshot" not in f1:
        return made
    found = paired_difference([f1["tuned"][id_] for id_ in ids], [f1["base-fewshot"][id_] for id_ in ids], groups, seed=seed)
    return replace(made, difference=found.estimate, p=found.p)


def _corrected(found: Sequence[Stratum]) -> tuple[Stratum, ...]:
    tested = [at for at, each in enumerate(found) if each.p is not None]
    corrected = dict(zip(tested, holm([p for each in found if (p := each.p) is not None]), strict=True))
    return tuple(replace(each, p_holm=corrected.get(at)) for at, each in enumerate(found))


def _factors(passages: Mapping[str, Passage]) -> dict[Factor, Callable[[Example, Prediction], str | None]]:
    """How each factor names a question's stratum; ``None`` leaves the question out of the factor."""
    found: dict[Factor, Callable[[Example, Prediction], str | None]] = {
        "kind": lambda example, _: example.kind,
        "source": lambda example, _: example.evidence[0].document if example.evidence else None,
        "hops": lambda example, _: _count(len(example.oracles)) if example.oracles else None,
        "question_words": lambda example, _: _bin("question_words", len(example.question.split())),
        "answer_words": lambda _, prediction: _bin("answer_words", len(prediction.references[0].split())),
    }
    if passages:
        found["oracle_place"] = lambda example, prediction: _place(example.evidence, [passages[i] for i in prediction.passages])
        found["context_words"] = lambda _, prediction: _bin(
            "context_words", sum(len(passages[id_].text.split()) for id_ in prediction.passages)
        )
    return found


def _place(evidence: Sequence[Evidence], shown: Sequence[Passage]) -> str | None:
    """The place of the passage with which all evidence is shown, from 1."""
    if not evidence:
        return None
    for place, count in enumerate(covered_by_rank(evidence, [passage.spans for passage in shown]), start=1):
        if count == len(evidence):
            return str(place) if place <= _DEEPEST else f"{_DEEPEST + 1}+"
    return "missed"


def _count(number: int) -> str:
    return str(number) if number < 3 else "3+"


def _bin(factor: Factor, number: int) -> str:
    starts = (0, *_BINS[factor])
    at = max(place for place, start in enumerate(starts) if start <= number)
    return f"{starts[at]}+" if at == len(starts) - 1 else f"{starts[at]}-{starts[at + 1] - 1}"


def _order(factor: Factor, name: str) -> tuple[bool, float, str]:
    """Numbers by size; names by the alphabet, what is not a stratum of its own last."""
    digits = name.rstrip("+").partition("-")[0]
    number = float(digits) if factor not in ("kind", "source") and digits.isdigit() else 0.0
    return name in (OTHERS, "missed"), number, name
