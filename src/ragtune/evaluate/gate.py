"""Is a model worse than an earlier one? Two evaluations compared question by question, and conditions on the differences, for CI."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ragtune.errors import ConfigError, EvaluationError
from ragtune.evaluate.answers import answer_metrics
from ragtune.evaluate.intervals import Difference, paired_difference
from ragtune.evaluate.quoting import quote_metrics
from ragtune.types import CONTEXTS, Arm, Context, Estimate, Evidence, Prediction

Bound = Literal["value", "low", "high"]

METRICS = (
    "f1", "exact_match", "containment", "rouge_l", "length_ratio", "quotes", "quotes_valid", "quotes_gold", "cites_gold", "abstained",
    "evidence_shown", "cut_off", "prompt_tokens", "completion_tokens", "seconds", "dollars",
)  # fmt: skip
"""What can be compared; ``abstained``, ``evidence_shown`` and ``cut_off`` are shares of all questions, the rest is as in a report."""
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_CONDITION = re.compile(r"\s*([a-z+-]+)\.(\w+)(?:\.(\w+))?\s*([<>]=?)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*", re.IGNORECASE)
_SHARES = frozenset(METRICS) - {"length_ratio", "prompt_tokens", "completion_tokens", "seconds", "dollars"}
_QUOTES = ("quotes", "quotes_valid", "quotes_gold", "cites_gold")
_NAMED = 3
Gold = Mapping[str, Sequence[Evidence]]
"""Gold evidence by question."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the difference of one metric in one context: of the difference itself, or of a bound of its 95 % interval."""

    text: str
    context: Context
    metric: str
    bound: Bound
    compare: str
    limit: float


@dataclass(frozen=True, slots=True)
class GateRow:
    """One metric in one context: of this model, of the other, and this less the other, with the difference's p-value."""

    context: Context
    metric: str
    value: float
    value_against: float
    difference: Estimate
    p: float | None


@dataclass(frozen=True, slots=True)
class Checked:
    """A condition with what it is about (``context.metric``), the difference or bound that was found, and whether it holds."""

    condition: str
    figure: str
    found: float
    holds: bool


@dataclass(frozen=True, slots=True)
class GateResult:
    """Two models on the same questions.

    Args:
        evaluation: of this model.
        against: the other evaluation.
        model: this model.
        model_against: the other.
        questions: that both answered, from retrieved passages or in what contexts there are.
        shown_otherwise: of those, the ones for which retrieval served other passages than for the other evaluation.
        rows: every metric in every context that both evaluations have.
        conditions: as given.
        failed: whether one of them holds.
        arm_against: the other's arm; the base may have been asked with worked examples or without.
        notes: what a reader must know before trusting the differences.
    """

    evaluation: str
    against: str
    model: str
    model_against: str
    questions: int
    shown_otherwise: int
    rows: tuple[GateRow, ...]
    conditions: tuple[Checked, ...]
    failed: bool
    arm_against: Arm = "tuned"
    notes: tuple[str, ...] = ()


def parse_condition(text: str) -> Condition:
    """Read ``CONTEXT.METRIC < NUMBER`` or ``CONTEXT.METRIC.low < NUMBER``.

    Raises:
        ConfigError: it is malformed, or names an unknown context, metric or bound, or no finite number.
    """
    found = _CONDITION.fullmatch(text.replace("−", "-"))
    if found is None:
        raise ConfigError(f"{text!r} is no condition: write CONTEXT.METRIC < NUMBER, such as 'retrieved.f1 < -0.02' (or <=, >, >=)")
    context, metric, bound, compare, limit = found.groups()
    _known(text, "context", context, CONTEXTS)
    _known(text, "metric", metric, METRICS)
    _known(text, "bound", bound or "value", get_args(Bound))
    if not math.isfinite(float(limit)):
        raise ConfigError(f"{text!r}: {limit} is more than a number can be here: write one such as -0.02")
    return Condition(text, context, metric, bound or "value", compare, float(limit))  # type: ignore[arg-type]


def compare_models(
    this: Sequence[Prediction],
    other: Sequence[Prediction],
    conditions: Sequence[Condition],
    *,
    names: tuple[str, str],
    arm: Arm = "tuned",
    evidence: tuple[Gold, Gold] = ({}, {}),
    seed: int = 0,
) -> GateResult:
    """The tuned arm of an evaluation compared with that of another, or with another arm.

    Args:
        this: predictions of the evaluation that is checked.
        other: of the one that it is checked against.
        conditions: that must not hold.
        names: of the two evaluations.
        arm: of ``other``.
        evidence: of the two evaluations; without it no figure is about whether the evidence is quoted.
        seed: of the resampling.

    Raises:
        EvaluationError: they did not answer the same questions, or a condition names a figure that there is not.
    """
    mine, others = _of_arm(this, "tuned", names[0]), _of_arm(other, arm, names[1])
    shared = [context for context in CONTEXTS if context in mine and context in others]
    for context in shared:
        _same_questions(context, mine[context], others[context], names)
    rows = [row for context in shared for row in _rows(context, mine[context], others[context], evidence, seed)]
    checked = tuple(_check(condition, rows) for condition in conditions)
    main = "retrieved" if "retrieved" in shared else shared[-1] if shared else None
    pairs = [(mine[main][id_], others[main][id_]) for id_ in mine[main]] if main else []
    return GateResult(
        *names,
        model=next(iter(next(iter(mine.values())).values())).model,
        model_against=next(iter(next(iter(others.values())).values())).model,
        arm_against=arm,
        questions=len(pairs),
        shown_otherwise=sum(a.passages != b.passages for a, b in pairs),
        rows=tuple(rows),
        conditions=checked,
        failed=any(each.holds for each in checked),
    )


def _known(text: str, what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        nearest = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(f"{text!r}: there is no {what} {name!r}{nearest} There are: {', '.join(known)}")


def _of_arm(predictions: Iterable[Prediction], arm: Arm, name: str) -> dict[Context, dict[str, Prediction]]:
    """By context and question; of several seeds the first."""
    found: dict[Context, dict[str, Prediction]] = {}
    for prediction in sorted(predictions, key=lambda each: (each.id, each.seed)):
        if prediction.arm == arm:
            found.setdefault(prediction.context, {}).setdefault(prediction.id, prediction)
    if not found:
        raise EvaluationError(f"evaluation {name} has no answers of the arm {arm}: add '{arm}' to evaluate.arms and evaluate again")
    return found


def _same_questions(context: Context, mine: Mapping[str, Prediction], others: Mapping[str, Prediction], names: tuple[str, str]) -> None:
    only, lacking = [id_ for id_ in mine if id_ not in others], [id_ for id_ in others if id_ not in mine]
    differ = [id_ for id_ in mine if id_ in others and _asked(mine[id_]) != _asked(others[id_])]
    parts = [
        f"{len(ids)} {what} ({', '.join(ids[:_NAMED])}{', …' if len(ids) > _NAMED else ''})"
        for ids, what in ((only, f"only in {names[0]}"), (lacking, f"only in {names[1]}"), (differ, "with another wording or answer"))
        if ids
    ]
    if parts:
        raise EvaluationError(
            f"the {context} questions of evaluations {names[0]} and {names[1]} are not the same: {'; '.join(parts)}. Ask both models the "
            "questions of one dataset: 'ragtune evaluate --model NAME --dataset DATASET', then compare"
        )


def _asked(prediction: Prediction) -> tuple[str, tuple[str, ...]]:
    return prediction.question, prediction.references


def _rows(
    context: Context, mine: Mapping[str, Prediction], others: Mapping[str, Prediction], evidence: tuple[Gold, Gold], seed: int
) -> Iterable[GateRow]:
    groups = [each.group for each in mine.values()]
    unchanged = all(each.raw == others[id_].raw for id_, each in mine.items())
    for metric in METRICS:
        observed = [
            [_metric(side[id_], metric, gold.get(id_, ())) for id_ in mine] for side, gold in zip((mine, others), evidence, strict=True)
        ]
        (a, weights_a), (b, weights_b) = (tuple(zip(*side, strict=True)) for side in observed)
        if not (any(weights_a) and any(weights_b)):
            continue
        n = sum(bool(x or y) for x, y in zip(weights_a, weights_b, strict=True))
        found = paired_difference(a, b, groups, (weights_a, weights_b), n=n, share=metric in _SHARES, seed=seed)
        if unchanged and a == b:  # word for word the same answers: nothing is estimated
            found = Difference(Estimate(0.0, 0.0, 0.0, n), 1.0)
        means = float(np.average(a, weights=weights_a)), float(np.average(b, weights=weights_b))
        yield GateRow(context, metric, *means, found.estimate, found.p)


def _metric(prediction: Prediction, name: str, evidence: Sequence[Evidence]) -> tuple[float, float]:
    """Value and weight; weight 0 where the answer has no such metric."""
    if name in ("prompt_tokens", "completion_tokens", "seconds"):
        return float(getattr(prediction, name)), 1.0
    if name == "dollars":
        return (0.0, 0.0) if prediction.cost is None else (prediction.cost, 1.0)
    if name == "abstained":
        return float(prediction.abstained), 1.0
    if name == "cut_off":
        return float(not prediction.finished), 1.0
    if name == "evidence_shown":
        return float(prediction.answerable_in_context), 1.0
    if name in _QUOTES:
        return quote_metrics(prediction, evidence).get(name, (0.0, 0.0))
    metrics = answer_metrics(prediction)
    return (metrics[name], 1.0) if name in metrics else (0.0, 0.0)


def _check(condition: Condition, rows: Sequence[GateRow]) -> Checked:
    row = next((row for row in rows if (row.context, row.metric) == (condition.context, condition.metric)), None)
    if row is None:
        contexts = ", ".join(dict.fromkeys(row.context for row in rows)) or "none"
        gold = "; the evidence is known while the dataset is there" if condition.metric.endswith("_gold") else ""
        raise EvaluationError(
            f"{condition.text!r}: the evaluations have no {condition.metric} in the context {condition.context} in common (contexts that "
            f"they share: {contexts}{gold}): change the condition, or evaluate.contexts and evaluate both again"
        )
    found = getattr(row.difference, condition.bound)
    if found is None:
        raise EvaluationError(
            f"{condition.text!r}: there is no interval, which needs some spread and questions on two groups of documents: "
            f"use {condition.context}.{condition.metric} alone, or add questions"
        )
    exact = round(found, 12)  # 0.98 less 1 is -0.02, and no less
    return Checked(condition.text, f"{condition.context}.{condition.metric}", found, _COMPARE[condition.compare](exact, condition.limit))
