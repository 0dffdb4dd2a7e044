"""The report in a terminal: the grid of F1, the decision, and what else is worth a line."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ragtune.evaluate.decide import closed_book_words
from ragtune.evaluate.report import Report
from ragtune.types import Estimate

_COLOURS = {"better": "green", "worse": "red", "undecided": "yellow"}


def terminal_table(report: Report) -> RenderableType:
    """Arms as rows, contexts as columns with F1 and its interval; then the decision, retrieval, quotes and notes. Fits 80 columns."""
    title = f"Answer F1 [95 % interval] on {report.answerable} answerable {report.split} questions"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("arm", no_wrap=True)
    for context in report.contexts:
        table.add_column(context, justify="right", no_wrap=True)
    for arm in report.arms:
        row: list[RenderableType] = [Text(arm, style="bold" if arm == "tuned" else "")]
        for context in report.contexts:
            cell = report.cell(arm, context)
            row.append(_figure(cell.metrics.get("f1") if cell else None, bold=arm == "tuned"))
        table.add_row(*row)
    lines: list[RenderableType] = [Padding(table, (1, 0)), Text(report.sentence, style=f"bold {_COLOURS[report.decision]}")]
    lines += [Text(line) for line in (_retrieval_line(report), _quotes_line(report), closed_book_words(report)) if line]
    lines += [Text(f"Note: {note}", style="yellow") for note in report.notes]
    return Group(*lines)


def _figure(estimate: Estimate | None, *, bold: bool) -> Text:
    if estimate is None:
        return Text("–", style="dim")
    text = Text(f"{estimate.value:.2f}", style="bold" if bold else "")
    if estimate.low is not None and estimate.high is not None:
        text.append(f"\n[{estimate.low:.2f}, {estimate.high:.2f}]", style="not bold dim")
    return text


def _retrieval_line(report: Report) -> str:
    if not report.retrieval:
        return ""
    figures = [f"{name} {estimate.value:.2f}" for name, estimate in report.retrieval[0].metrics.items()]
    return f"Retrieval: {', '.join(figures)} (n = {next(iter(report.retrieval[0].metrics.values())).n})"


def _quotes_line(report: Report) -> str:
    cell = report.cell("tuned", "retrieved")
    if cell is None or "quotes" not in cell.metrics:
        return ""
    words = {"quotes": "of answers quote", "quotes_valid": "of quotes are real", "quotes_gold": "of quoting answers quote the evidence"}
    figures = [f"{100 * cell.metrics[name].value:.0f} % {what}" for name, what in words.items() if name in cell.metrics]
    return f"Quotes (tuned, retrieved): {', '.join(figures)} (n = {cell.metrics['quotes'].n})"
