"""A judge's grades to figures: each arm's scores, the paired comparison, and whether the judge is to be believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ragtune.evaluate.anchors import ORDERS, SOUND, orders_kept
from ragtune.evaluate.answers import answer_metrics
from ragtune.evaluate.correlation import kappa, rank_correlation
from ragtune.evaluate.decide import signed
from ragtune.evaluate.intervals import bootstrap
from ragtune.evaluate.judge import RIGHT, SCORES, Grade, Preference
from ragtune.evaluate.report import ARMS, JudgeCell, JudgePair, JudgeReport
from ragtune.types import Arm, Estimate, Prediction

MANY_FAILED = 0.1
"""Share of ungraded answers of an arm from which on a note says so."""


@dataclass(frozen=True, slots=True)
class Grading:
    """One prediction and its grade."""

    prediction: Prediction
    grade: Grade


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms' predictions for one question, compared in both orders; both preferences are ``None`` where the answers are equal."""

    arm: Prediction
    against: Prediction
    arm_first: Preference | None
    arm_second: Preference | None

    @property
    def failed(self) -> bool:
        """An order has no preference."""
        return any(each is not None and each.failed is not None for each in (self.arm_first, self.arm_second))

    @property
    def verdicts(self) -> tuple[int, int]:
        """1 where the arm is preferred, -1 where the other is, 0 for neither; shown first, then shown second."""
        points = {"first": 1, "second": -1, "neither": 0, None: 0}
        first, second = (points[each.better] if each else 0 for each in (self.arm_first, self.arm_second))
        return first, -second

    @property
    def outcome(self) -> int:
        """The verdict of both orders, 0 where they do not agree."""
        first, second = self.verdicts
        return first if first == second else 0


def judge_report(
    model: str, gradings: Sequence[Grading], comparisons: Sequence[Comparison], anchors: Mapping[str, Grade], *, seed: int = 0
) -> JudgeReport:
    """The figures.

    Args:
        model: the judge.
        gradings: of all arms, retrieved.
        comparisons: of one arm with another; may be empty.
        anchors: the grade of each anchor.
        seed: of the resampling.
    """
    cells = tuple(_cell(arm, own, seed) for arm in ARMS if (own := [each for each in gradings if each.prediction.arm == arm]))
    pair = _pair(comparisons, seed) if comparisons else None
    kept = orders_kept(anchors)
    length = _length(gradings, seed)
    return JudgeReport(
        model=model,
        questions=_questions(gradings),
        cells=cells,
        pair=pair,
        agreement=_agreement(gradings, seed),
        length=length,
        anchors_kept=kept,
        anchors=len(ORDERS),
        sound=kept >= SOUND * len(ORDERS),
        notes=tuple(_notes(kept, cells, pair, length)),
    )


def _cell(arm: Arm, gradings: Sequence[Grading], seed: int) -> JudgeCell:
    graded = [each for each in gradings if each.grade.failed is None]
    groups = [each.prediction.group for each in graded]
    scores = {name: bootstrap([each.grade.scores[name] for each in graded], groups, seed=seed) for name in SCORES if graded}
    return JudgeCell(arm, scores, len(gradings), dict(Counter(each.grade.failed for each in gradings if each.grade.failed is not None)))


def _pair(comparisons: Sequence[Comparison], seed: int) -> JudgePair:
    counted = [each for each in comparisons if not each.failed]
    asked = [each for each in counted if each.arm_first is not None]
    outcomes = [each.outcome for each in counted]
    # The arm's verdict when shown first counts for the first place as it is, when shown second the other way round.
    preferred = [(sign * verdict, each.arm) for each in asked for sign, verdict in zip((1, -1), each.verdicts, strict=True) if verdict]

    def share(values: Sequence[float], groups: Sequence[str], n: int) -> Estimate | None:
        return bootstrap(values, groups, n=n, seed=seed) if values else None

    return JudgePair(
        arm=comparisons[0].arm.arm,
        against=comparisons[0].against.arm,
        won=outcomes.count(1),
        tied=outcomes.count(0),
        lost=outcomes.count(-1),
        equal=len(counted) - len(asked),
        failed=len(comparisons) - len(counted),
        win_rate=share([(1 + outcome) / 2 for outcome in outcomes], [each.arm.group for each in counted], len(counted)),
        flips=share([float(each.verdicts[0] != each.verdicts[1]) for each in asked], [each.arm.group for each in asked], len(asked)),
        first=share([float(place > 0) for place, _ in preferred], [at.group for _, at in preferred], len({at.id for _, at in preferred})),
    )


def _agreement(gradings: Sequence[Grading], seed: int) -> dict[str, Estimate]:
    """Correctness against exact metrics, on what both can score: graded answers to answerable questions, of all arms together."""
    both = [each for each in gradings if each.grade.failed is None and each.prediction.references]
    if not both:
        return {}
    exact = [answer_metrics(each.prediction) for each in both]
    correctness = [each.grade.scores["correctness"] for each in both]
    right = [value >= RIGHT for value in correctness]
    groups = [each.prediction.group for each in both]
    n = _questions(both)
    found = {
        "spearman_f1": rank_correlation(correctness, [metrics["f1"] for metrics in exact], groups, n=n, seed=seed),
        **{
            f"kappa_{name}": kappa(right, [metrics[name] == 1 for metrics in exact], groups, n=n, seed=seed)
            for name in ("exact_match", "containment")
        },
    }
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _length(gradings: Sequence[Grading], seed: int) -> Estimate | None:
    """F1 sinks with every word that is not in the reference, and containment does not: among answers alike in both, length is no merit."""
    written = [each for each in gradings if each.grade.failed is None and each.prediction.references and not each.prediction.abstained]
    if not written:
        return None
    exact = [answer_metrics(each.prediction) for each in written]
    return rank_correlation(
        [each.grade.scores["correctness"] for each in written],
        [float(len(each.prediction.answer.split())) for each in written],
        [each.prediction.group for each in written],
        within=[(round(metrics["f1"], 1), metrics["containment"]) for metrics in exact],
        n=_questions(written),
        seed=seed,
    )


def _questions(gradings: Sequence[Grading]) -> int:
    return len({each.prediction.id for each in gradings})


def _notes(kept: int, cells: Sequence[JudgeCell], pair: JudgePair | None, length: Estimate | None) -> Iterator[str]:
    if kept < SOUND * len(ORDERS):
        yield (
            f"This judge cannot tell right from wrong: ignore its grades. Of {len(ORDERS)} pairs of invented answers whose order is beyond "
            f"doubt it grades {kept} in order. Choose a stronger model for judge.model."
        )
    for cell in cells:
        failed = sum(cell.failed.values())
        if failed > MANY_FAILED * cell.asked:
            yield f"{failed} of {cell.asked} answers of {cell.arm} have no grade: the figures speak of the others alone."
    if pair is not None and pair.first is not None and _excludes(pair.first, 0.5):
        place = "first" if pair.first.value > 0.5 else "second"
        share = pair.first.value if pair.first.value > 0.5 else 1 - pair.first.value
        yield (
            f"This judge prefers the answer that it is shown {place}: {100 * share:.0f} % of its preferences. "
            "Only verdicts that both orders share count."
        )
    if length is not None and _excludes(length, 0.0):
        more = "higher" if length.value > 0 else "lower"
        yield (
            f"Among answers that exact metrics score alike, this judge grades longer answers {more}: rank correlation of correctness with "
            f"length {signed(length.value)} [{signed(length.low or 0, plus=False)}, {signed(length.high or 0, plus=False)}]."
        )


def _excludes(estimate: Estimate, value: float) -> bool:
    return estimate.low is not None and estimate.high is not None and not estimate.low <= value <= estimate.high
