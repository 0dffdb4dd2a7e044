"""Ingesting, the index, search and purging."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ragtune.pipeline.records import (
    IndexExplanation,
    IndexResult,
    IngestResult,
    PurgeResult,
    SearchHit,
    WatchRound,
)
from ragtune.progress import counted

if TYPE_CHECKING:
    from ragtune.prepare.preview import Preview
    from ragtune.prepare.report import IngestReport


from ragtune.screen import console

_NAMED = 5  # of the removed


def show_purge(result: PurgeResult) -> None:
    """What is purged, and who else holds it."""
    if not result.purged:
        console.out.print("nothing is missing")
        return
    gone = f"{counted(result.documents, 'document')} {'gone from corpus and index' if result.done else 'would go'}"
    state = gone if result.documents or result.purged != result.already else "purged already"
    console.out.print(f"{', '.join(result.purged)}: {state}", markup=False, soft_wrap=True)
    for held in result.held:
        what = "your own file: edit it yourself" if held.own else "blanked" if held.redacted else "holds it still: --redact blanks it"
        console.out.print(f"  {held.path}: {counted(held.places, 'place')}, {what}", markup=False, soft_wrap=True)
    console.show_reasons("stays", result.copies)
    if result.tuned:
        console.out.print(f"  tuned on it, and may remember it: {', '.join(result.tuned)}", markup=False, soft_wrap=True)


def show_undone(lifted: Sequence[str], asked: Sequence[str]) -> None:
    """What the next ingest takes in again."""
    named = [name for name in lifted if name in asked]
    console.out.print(
        f"{', '.join(named)}: the next 'ragtune ingest' takes {'it' if len(named) == 1 else 'them'} in again", markup=False, soft_wrap=True
    )
    if others := [name for name in lifted if name not in asked]:
        console.out.print(f"  with the same bytes, and so off the list too: {', '.join(others)}", markup=False, soft_wrap=True)


def show_ingest(result: IngestResult) -> None:
    """Counts, then what was not read and why."""
    console.out.print(f"{result.counts} ({result.seconds:.1f} s)", soft_wrap=True)
    if result.repairs:
        console.out.print("cleaned: " + ", ".join(f"{kind} {count:,}" for kind, count in result.repairs.items()))
    _removed(result)
    console.show_reasons("skipped", result.skipped)
    console.show_reasons("left out", result.left_out)
    console.show_reasons("duplicate", result.duplicates)


def show_ingest_report(report: IngestReport) -> None:
    """Figures and grouped reasons, and where the page is."""
    from ragtune.prepare.report_terminal import report_terminal

    console.out.print(report_terminal(report))
    console.out.print(Text.assemble("report: ", (report.page, "cyan")), soft_wrap=True)


def show_preview(preview: Preview) -> None:
    """A document beside its source and its chunks, and where the page is."""
    from ragtune.prepare.report_terminal import preview_terminal

    console.out.print(preview_terminal(preview))
    console.out.print(Text.assemble("\npage: ", (preview.page, "cyan")), soft_wrap=True)


def show_round(made: WatchRound) -> None:
    """One line of ``ingest --watch``, what was not read below it, and what went wrong."""
    at = datetime.fromisoformat(made.at).astimezone().strftime("%H:%M:%S")
    if made.ingested is not None:
        done = made.ingested
        embedded = "" if made.indexed is None else f", {counted(made.indexed.embedded, 'chunk')} embedded"
        seconds = done.seconds + (made.indexed.seconds if made.indexed else 0)
        console.out.print(
            f"{at} {len(done.read)} read, {len(done.removed)} removed, {len(done.skipped)} skipped{embedded}: "
            f"{counted(done.documents, 'document')} in {counted(done.chunks, 'chunk')} ({seconds:.1f} s)",
            soft_wrap=True,
        )
        _removed(done)
        console.show_reasons("skipped", done.skipped, 5)
        console.show_reasons("left out", done.left_out, 5)
    if made.error is not None:
        console.out.print(Text.assemble(f"{at} ", ("failed: ", "red"), made.error, " (it is tried again)"), soft_wrap=True)


def show_index(result: IndexResult) -> None:
    """What the index holds."""
    console.out.print(f"{result.counts}: {result.action} in {result.seconds:.1f} s", soft_wrap=True)


def show_index_explanation(told: IndexExplanation) -> None:
    """Kind, reason, what was measured, what other kinds would take, and what would have another chosen."""
    table = Table(box=None, show_header=False, pad_edge=False)

    def line(name: str, text: str) -> None:
        table.add_row(Text(name, style="dim"), Text(text))

    line("vectors", f"{told.vectors:,} of {told.dimension} dimensions, by {told.embedder}")
    line("kind", f"{told.kind}, {told.bytes / 2**20:,.1f} MiB on disk")
    line("why", told.why)
    if told.parameters:
        line("searches", ", ".join(f"{name} {value}" for name, value in told.parameters.items()))
    if told.measured:
        found = told.measured
        line("recall@10", f"{found['recall']:.3f} [{found['low']:.3f}, {found['high']:.3f}] of exact search, n = {found['n']}")
        line("speed", f"{found['milliseconds']:.2f} ms a search, comparing with all {found['exact_milliseconds']:.2f} ms")
    line("sizes", ", ".join(f"{kind} {size / 2**20:,.1f} MiB" for kind, size in told.sizes.items()))
    built = told.built
    line("built", f"{built['at'][:16]} UTC, of {built['vectors']:,} vectors in {built['seconds']:.1f} s; {told.changed:,} changed since")
    last = told.action.replace("built", "built whole", 1)
    line("last change", last if told.current else f"{last}; older than the corpus or its settings: run 'ragtune index'")
    if told.due:
        line("due", f"it will be built anew: {told.due}")
    for number, change in enumerate(told.otherwise):
        line("" if number else "other kinds", change)
    console.out.print(table)


def show_hits(hits: Sequence[SearchHit]) -> None:
    """Rank, score, source, heading, then the text."""
    if not hits:
        console.out.print("nothing found")
    elif not any(hit.sure is not False for hit in hits):
        console.out.print("nothing found that reaches the calibrated score; the nearest:")
    for hit in hits:
        heading = f" › {hit.heading}" if hit.heading else ""
        title = Text.assemble((f"{hit.rank}. ", "bold"), (hit.source, "cyan"), (heading, ""), (f"  {hit.score:.3f}", "dim"))
        console.out.print(title, soft_wrap=True)
        text = " ".join(hit.text.split())
        shown = Text(f"{text[:240]}{'…' if len(text) > 240 else ''}", style="dim")
        if console.out.is_terminal:
            console.out.print(Padding(shown, (0, 0, 0, 3)))
        else:
            console.out.print(Text("   ") + shown, soft_wrap=True)


def show_none_fits(patterns: Sequence[str]) -> None:
    """A search found nothing, as every document that fits would be ranked."""
    console.out.print(f"no document fits {' and '.join(map(repr, patterns))}", markup=False)


def _removed(result: IngestResult) -> None:
    """Which sources the corpus has lost: a mistyped path would cost it others."""
    if result.removed:
        named = ", ".join(each.source for each in result.removed[:_NAMED])
        more = ", …" if len(result.removed) > _NAMED else ""
        console.out.print(f"  {len(result.removed)} not among the sources any more: {named}{more}", markup=False, soft_wrap=True)
