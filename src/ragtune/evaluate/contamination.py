"""What may have been known before the questions were asked, and the named contrast without those questions."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ragtune.evaluate.answers import answer_metrics
from ragtune.evaluate.decide import named_contrast, signed
from ragtune.evaluate.findings import Contamination
from ragtune.types import Arm, Context, Prediction


def contamination(
    predictions: Sequence[Prediction], near_identical: Collection[str], evidence_trained: Collection[str], *, seed: int = 0
) -> Contamination:
    """Count the questions that may have been known, and compare on the others.

    Args:
        predictions: of all arms and contexts.
        near_identical: ids of questions that a training question resembles.
        evidence_trained: ids of questions whose evidence training completions quote.
        seed: of the resampling.
    """
    answerable = {p.id for p in predictions if p.references}
    closed_book = {
        p.id
        for p in predictions
        if (p.arm, p.context) == ("base", "closed-book") and p.references and answer_metrics(p)["exact_match"] == 1
    }
    near, trained = answerable & set(near_identical), answerable & set(evidence_trained)
    known = near | trained | closed_book
    cells: dict[tuple[Arm, Context], list[Prediction]] = {}
    for p in predictions:
        if p.id not in known:
            cells.setdefault((p.arm, p.context), []).append(p)
    counts = len(answerable), len(near), len(trained), len(closed_book), len(known)
    named = named_contrast(cells, seed=seed)
    if named is None:
        return Contamination(*counts)
    return Contamination(*counts, named.value, named.value_against, named.difference)


def contamination_words(found: Contamination) -> str:
    """In a sentence; nothing where no question may have been known."""
    if not found.left_out:
        return ""
    parts = [
        f"{count} {what}"
        for count, what in (
            (found.near_identical, "nearly repeat a training question"),
            (found.evidence_trained, "have evidence that training answers quote"),
            (found.closed_book, "are answered exactly without passages"),
        )
        if count
    ]
    said = f"Of {found.answerable} answerable questions {' and '.join(parts)}"
    if found.difference is None and found.left_out < found.answerable:
        return f"{said}."
    if found.difference is None or found.difference.low is None or found.difference.high is None:
        return f"{said}; too few are left without them to compare on."
    low, high = signed(found.difference.low, plus=False), signed(found.difference.high, plus=False)
    return (
        f"{said}; on the {found.difference.n} others F1 is {found.value:.2f} against {found.value_against:.2f}, difference "
        f"{signed(found.difference.value)} [{low}, {high}]."
    )
