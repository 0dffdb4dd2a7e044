"""Which of two arms answers better? The contrast named beforehand, the others, and the decision in plain words.

Exactly one contrast is named before any figure is seen: tuned − base-fewshot, retrieved passages, F1, all test questions. It alone
decides, uncorrected; all others are corrected for their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ragtune.evaluate.answers import answer_metrics
from ragtune.evaluate.intervals import holm, paired_difference
from ragtune.evaluate.power import power_of
from ragtune.evaluate.report import ARM_WORDS, Contrast, Decision, Report, Slice
from ragtune.types import CONTEXTS, Arm, Context, Prediction

FEW_GROUPS = 20

Cells = Mapping[tuple[Arm, Context], Sequence[Prediction]]

_OTHERS: tuple[tuple[Arm, Arm, Context, Slice], ...] = (
    ("tuned", "base", "retrieved", "all"),
    ("tuned", "base-fewshot", "retrieved", "new_questions"),
    ("tuned", "base-fewshot", "retrieved", "new_documents"),
    *(("tuned", "base-fewshot", context, "all") for context in CONTEXTS if context not in ("retrieved", "distractors")),
    ("tuned", "other", "retrieved", "all"),
    ("other", "base-fewshot", "retrieved", "all"),
    ("tuned", "dsf", "retrieved", "all"),
    ("dsf", "base-fewshot", "retrieved", "all"),
    ("base-fewshot", "base", "retrieved", "all"),
)


def named_contrast(cells: Cells, *, seed: int = 0) -> Contrast | None:
    """Tuned − base-fewshot, retrieved, F1, all test questions; ``None`` where no question has both answers."""
    return _contrast(cells, "tuned", "base-fewshot", "retrieved", "all", seed)


def other_contrasts(cells: Cells, *, seed: int = 0) -> tuple[Contrast, ...]:
    """The other contrasts of which both arms were evaluated, with p-values corrected together."""
    found = [contrast for key in _OTHERS if (contrast := _contrast(cells, *key, seed)) is not None]
    tested = [contrast for contrast in found if contrast.p is not None]
    corrected = dict(zip(map(id, tested), holm([c.p for c in tested if c.p is not None]), strict=True))
    return tuple(replace(contrast, p_holm=corrected.get(id(contrast))) for contrast in found)


def decide(named: Contrast | None, *, tuned: bool = True) -> tuple[Decision, str]:
    """Better, worse or undecided, and why, in one sentence; ``tuned`` is whether the tuned model was asked at all."""
    if not tuned:
        return "undecided", f"There is nothing to decide: the {ARM_WORDS['tuned']} was not asked (evaluate.arms does not name it)."
    if named is None:
        return "undecided", (
            "It is undecided whether tuning helped: no answerable test question was answered from retrieved passages by both the "
            f"{ARM_WORDS['tuned']} and the {ARM_WORDS['base-fewshot']}."
        )
    low, high = named.difference.low, named.difference.high
    figures = f"F1 {named.value:.2f} against {named.value_against:.2f} for the {ARM_WORDS[named.against]}"
    asked = f"on {named.difference.n} question{'' if named.difference.n == 1 else 's'} it was not trained on"
    if low is None or high is None:
        return "undecided", (
            f"It is undecided whether the tuned model answers better: {figures}, {asked}, and an interval needs questions on at least "
            "two separate groups of documents."
        )
    difference = f"difference {signed(named.difference.value)} [{signed(low, plus=False)}, {signed(high, plus=False)}] {asked}"
    if low > 0:
        return "better", f"The tuned model answers better: {figures}, {difference}."
    if high < 0:
        return "worse", f"The tuned model answers worse: {figures}, {difference}."
    return "undecided", (
        f"It is undecided whether the tuned model answers better: {figures}, {difference}; the interval includes zero{_lacking(named)}."
    )


def _lacking(named: Contrast) -> str:
    """What would decide it, where that can be said."""
    power = named.power
    if power is None:
        return ""
    if power.questions is None or power.groups is None:
        return ", and so small a difference no number of questions would decide"
    if power.questions <= named.difference.n:
        return f", though a test of its size finds such a difference {100 * power.now:.0f} times in 100"
    size = f"{power.questions:,} questions on {power.groups:,} groups of documents"
    return f" (were the difference what it seems, {size} would decide it 80 times in 100, instead of these {named.difference.n})"


def reading_notes(groups: int, test_readings: int, named: Contrast | None) -> list[str]:
    """What must be known before the figures are trusted."""
    notes = []
    tested = groups if named is None else named.groups
    if tested < FEW_GROUPS:
        notes.append(
            f"The answerable questions come from only {tested} separate group{'' if tested == 1 else 's'} of documents; with "
            f"fewer than {FEW_GROUPS}, intervals are unreliable. Add documents, or questions on more of them."
        )
    if test_readings > 1:
        notes.append(
            f"The test split has been read {test_readings} times. If anything was chosen after an earlier reading, these figures "
            "flatter the choice; confirm it on new questions."
        )
    return notes


def closed_book_words(report: Report) -> str:
    """How many questions the base answers without documents, in a sentence; nothing where it was not asked."""
    known = report.closed_book
    if known is None:
        return ""
    return f"Closed-book, the {ARM_WORDS['base']} answers {known.exact} of {known.n} answerable questions exactly."


def signed(value: float, *, plus: bool = True) -> str:
    """Two decimals with a typographic minus: ``+0.31``, ``−0.04``; a rounded zero has no sign."""
    text = f"{abs(value):.2f}"
    if float(text) == 0:
        return text
    return ("−" if value < 0 else "+" if plus else "") + text


def question_f1(predictions: Sequence[Prediction]) -> dict[str, float]:
    """F1 of each answerable question, averaged over seeds."""
    scores: dict[str, list[float]] = {}
    for prediction in predictions:
        if prediction.references:
            scores.setdefault(prediction.id, []).append(answer_metrics(prediction)["f1"])
    return {key: sum(values) / len(values) for key, values in scores.items()}


def _contrast(cells: Cells, arm: Arm, against: Arm, context: Context, stratum: Slice, seed: int) -> Contrast | None:
    sides = [[p for p in cells.get((side, context), ()) if stratum in ("all", p.stratum)] for side in (arm, against)]
    a, b = (question_f1(side) for side in sides)
    ids = sorted(a.keys() & b.keys())
    if not ids:
        return None
    group_of = {p.id: p.group for p in sides[0]}
    groups = [group_of[key] for key in ids]
    found = paired_difference([a[key] for key in ids], [b[key] for key in ids], groups, seed=seed)
    mean_a, mean_b = (sum(side[key] for key in ids) / len(ids) for side in (a, b))
    low, high = found.estimate.low, found.estimate.high
    undecided = low is not None and high is not None and low <= 0 <= high
    power = power_of([a[key] for key in ids], [b[key] for key in ids], groups) if undecided else None
    return Contrast(arm, against, context, stratum, "f1", mean_a, mean_b, found.estimate, len(set(groups)), found.p, power=power)
