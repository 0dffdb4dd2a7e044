"""The review queue, and which model serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ragtune.pipeline.records import Promotion, ReviewResult
from ragtune.screen import console
from ragtune.traces.records import ReviewItem, ReviewPage

if TYPE_CHECKING:
    from ragtune.pipeline.promote import AuditEntry


def show_review(page: ReviewPage) -> None:
    """The queue, a line an item."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("item", "question", "why", "asked"):
        table.add_column(column, overflow="fold")
    for item in page.items:
        times = f" ({item.times} times)" if item.times > 1 else ""
        table.add_row(item.id, Text(item.question), Text(", ".join(item.why)), item.at[:16].replace("T", " ") + times)
    console.out.print(table if page.items else "nothing to review")
    if page.total > len(page.items):
        console.err.print(f"{len(page.items)} of {page.total}: --offset and --limit show others", style="dim")


def show_review_item(item: ReviewItem) -> None:
    """One item, whole."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        *((turn.role, turn.content) for turn in item.history),
        ("question", item.question),
        ("answer", item.answer or "none"),
        ("why", ", ".join(item.why)),
        ("said of it", item.reason or ""),
        ("should be", item.correction or ""),
        ("state", f"{item.state} by {item.by} on {(item.decided or '')[:10]}" if item.decided else item.state),
        ("note", item.note),
        *((f"[{each['number']}] {each['document']}", str(each["text"])) for each in item.passages),
    ):
        if value:
            table.add_row(Text(name, style="dim"), Text(value))
    console.out.print(table)


def show_decision(result: ReviewResult) -> None:
    """What became of an item, and what to do next."""
    if result.question is None:
        console.out.print(f"{result.item.id} dismissed")
    else:
        console.out.print(Text(f"{result.item.id} accepted as question {result.question} in {result.file}"), soft_wrap=True)
        console.out.print("'ragtune run' learns it: it is trained on, or validates where its document is held out", style="dim")
    _warn(result.warnings)


def show_promotion(result: Promotion) -> None:
    """What serves now."""
    if result.refused:
        console.out.print(
            Text(f"not promoted, as this holds: {'; '.join(result.refused)}. {result.served} serves as before"), soft_wrap=True
        )
    else:
        console.out.print(Text(f"{result.served} serves now, {result.previous} did before"), soft_wrap=True)
    _warn(result.warnings)


def show_audit(entries: Sequence[AuditEntry]) -> None:
    """The log."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("when", "who", "what", "model", "before", "note"):
        table.add_column(column, overflow="fold")
    for each in entries:
        table.add_row(each.at[:16].replace("T", " "), Text(each.who), each.action, Text(each.model), Text(each.previous), Text(each.note))
    console.out.print(table if entries else "nothing was promoted yet")


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        console.err.print(Text.assemble(("· ", "yellow"), warning), soft_wrap=True)
