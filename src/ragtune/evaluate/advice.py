"""What a reader should do next, from a report's figures: rules that are few, plain and said with the figure that they rest on."""

from __future__ import annotations

from collections.abc import Iterator

from ragtune.evaluate.comparison import LEFT, RIGHT
from ragtune.evaluate.report import Report
from ragtune.progress import listed
from ragtune.types import Arm

_GAP = 0.05  # F1 that retrieval costs before it is worth a line
_REAL = 0.95  # share of quotes below which they are worth a line
_FORGETS = 0.02  # relative rise of the loss on general text


def advice(report: Report, lost: int = 0) -> Iterator[str]:
    """What to do next, the most important first.

    Args:
        report: of one evaluation.
        lost: questions on which the model that is judged does worse than the one that it is compared with.
    """
    if report.decision == "better":
        yield "Use the tuned model: 'ragtune ask' takes the newest one by itself."
    elif report.decision == "worse":
        yield "Do not use the tuned model: 'ragtune ask --model base' asks the one that it was made of."
        yield "Look at the learning curves: a validation loss that rises asks for fewer epochs or a lower learning rate."
    elif lacking := [arm for arm in (RIGHT, LEFT) if arm not in report.models]:
        yield f"Add {listed(lacking)} to evaluate.arms and run 'ragtune evaluate' again: the difference of {RIGHT} and {LEFT} decides."
    else:
        yield (
            "Do not choose on these figures. Write more test questions into a file of their own, best on documents that have none yet: "
            "'ragtune dataset --test FILE --name more', then 'ragtune evaluate --dataset more', asks them of this model."
        )
    if lost:
        yield (
            f"Read the {lost} questions on which it does worse, below, before you rely on it."
            if lost > 1
            else ("Read the question on which it does worse, below, before you rely on it.")
        )
    yield from _retrieval(report)
    yield from _quotes(report)
    yield from _forgetting(report)


def main_arm(report: Report) -> Arm:
    """The model that the report is about."""
    return report.named.arm if report.named else "tuned" if "tuned" in report.models else report.arms[-1]


def _retrieval(report: Report) -> Iterator[str]:
    shown, served = (report.cell(main_arm(report), context) for context in ("oracle+distractors", "retrieved"))
    if shown is None or served is None or "f1" not in shown.metrics or "f1" not in served.metrics:
        return
    gap = shown.metrics["f1"].value - served.metrics["f1"].value
    if gap > _GAP:
        yield (
            f"Look at retrieval: what it misses costs {gap:.2f} of F1, and training cannot bring that back. "
            "'ragtune evaluate --retrieval' lists every miss."
        )


def _quotes(report: Report) -> Iterator[str]:
    cell = report.cell(main_arm(report), "retrieved")
    if cell is not None and "quotes_valid" in cell.metrics and cell.metrics["quotes_valid"].value < _REAL:
        share = 100 * (1 - cell.metrics["quotes_valid"].value)
        yield f"Mistrust its quotes: {share:.0f} % stand in no passage. A local model with generate.constrained_quotes only copies."


def _forgetting(report: Report) -> Iterator[str]:
    for cell in report.forgetting:
        before = cell.nll.value - cell.change.value if cell.change else 0.0
        if cell.arm == main_arm(report) and cell.change is not None and before > 0 and cell.change.value / before > _FORGETS:
            yield f"Keep it to these documents: its loss on general text has risen by {100 * cell.change.value / before:.0f} %."
