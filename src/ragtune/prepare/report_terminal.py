"""The report of an ingest, and one document with its chunks, as a terminal shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ragtune.page import visible
from ragtune.prepare.preview import Preview, stretches
from ragtune.prepare.report import FORMATS, Cause, Histogram, IngestReport, Share, without_name
from ragtune.types import Reason

_ROWS = 10
_CAUSES, _ITEMS = 12, 3
_BAR = 24
_ORIGINAL = 1200  # characters
_CHUNKS, _TEXT = 40, 20_000  # shown of a document; its page has more


def report_terminal(report: IngestReport) -> RenderableType:
    """Figures and reasons, shortened to what a terminal holds."""
    parts: list[RenderableType] = [
        Text(f"{report.documents:,} documents in {report.chunks:,} chunks, from {report.files:,} files", style="bold")
    ]
    if report.settings_changed:
        names = ", ".join(f"prepare.{name}" for name in report.settings_changed)
        parts.append(Text(f"settings are others than at the last ingest, so this is how it was before: {names}", style="yellow"))
    for head, found in (("source", report.sources), ("format", report.formats), ("language", report.languages)):
        parts += ["", _shares(head, found)]
    parts += ["", *_bars("characters of a document", report.document_lengths)]
    limit = f", {report.window} are read by the embedder" if report.window else ""
    parts += ["", *_bars(f"tokens of a chunk, prefix included (chunk_size {report.chunk_size} without it{limit})", report.chunk_lengths)]
    for title, causes in (
        ("read or embedded in part", report.cut),
        ("skipped", report.skipped),
        ("left out", report.left_out),
        ("duplicates", report.duplicates),
    ):
        if causes:
            parts += ["", Text(f"{title}: {sum(cause.count for cause in causes):,}", style="bold"), *_causes(causes)]
    parts += ["", _rules(report)]
    return Group(*parts)


def preview_terminal(preview: Preview) -> RenderableType:
    """Metadata, what it was made from, and the text with a line where each chunk begins."""
    facts = Table(box=None, show_header=False, pad_edge=False)
    shown = {"title": preview.title, "format": FORMATS.get(preview.media_type, preview.media_type), "file": preview.path or preview.file}
    shown |= {name: _value(value) for name, value in preview.metadata.items() if name != "page_starts"}
    for name, value in shown.items():
        facts.add_row(Text(visible(name), style="dim"), Text(visible(str(value))))
    parts: list[RenderableType] = [Text(visible(preview.source), style="bold"), facts]
    if preview.left_out:
        parts.append(Text(f"not in the index: {visible(preview.left_out)}", style="yellow"))
    if preview.changed:
        parts.append(Text("the file has changed since it was read", style="yellow"))
    if preview.original is not None:
        what = "the file" if preview.original_is == "file" else "as its reader gave it, before cleaning"
        cut = " …" if len(preview.original) > _ORIGINAL else ""
        parts += ["", Text(f"── {what} ──", style="dim"), Text(visible(preview.original[:_ORIGINAL]) + cut, style="dim")]
    return Group(*parts, *_chunks(preview))


def _chunks(preview: Preview) -> Iterator[RenderableType]:
    for number, chunk in enumerate(preview.chunks[:_CHUNKS], start=1):
        yield ""
        yield Text(f"── {number} · {chunk.tokens} tokens · {chunk.start}–{chunk.end} ──", style="cyan")
        if chunk.prefix:
            yield Text(visible(chunk.prefix), style="italic dim")
        body = Text()
        for part in stretches(preview, chunk.start, min(chunk.end, len(preview.text)), chunk.overlap):
            if part.page:
                body.append(f"[page {part.page}] ", style="dim")
            body.append(visible(part.text), style="reverse dim" if part.overlap else "")
        yield body
    if len(preview.chunks) > _CHUNKS:
        yield Text(f"\n… and {len(preview.chunks) - _CHUNKS:,} more chunks: see the page, or --json", style="dim")
    if not preview.chunks:
        yield Text("\n── as it is stored ──", style="dim")
        yield Text(visible(preview.text[:_TEXT]))


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shares(head: str, found: Sequence[Share]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(head, overflow="fold")
    for name in ("documents", "chunks", "characters"):
        table.add_column(name, justify="right", no_wrap=True)
    for share in found[:_ROWS]:
        table.add_row(Text(visible(share.label)), f"{share.documents:,}", f"{share.chunks:,}", f"{share.characters:,}")
    if len(found) > _ROWS:
        table.add_row(Text(f"({len(found) - _ROWS:,} more)", style="dim"))
    return table


def _bars(what: str, found: Histogram) -> tuple[Text, Table]:
    sampled = "" if found.n == found.of else f"; {found.n:,} of {found.of:,} measured"
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    most = max([*found.counts, 1])
    for low, high, count in zip(found.edges, found.edges[1:], found.counts, strict=False):
        bar = "█" * max(round(_BAR * count / most), 1) if count else ""
        table.add_row(f"{low:,}–{high - 1:,}", Text(bar, style="cyan"), f"{count:,}" if count else "")
    return Text(f"{what}: median {found.median:,}, longest {found.longest:,}{sampled}", style="dim"), table


def _causes(causes: Sequence[Cause]) -> Iterator[RenderableType]:
    for cause in causes[:_CAUSES]:
        yield Padding(Text.assemble((f"{cause.count:,} ", "yellow"), visible(cause.reason)), (0, 0, 0, 2), expand=False)
        names = ", ".join(visible(f"{item.source}{_own_words(item, cause)}") for item in cause.items[:_ITEMS])
        more = f" and {cause.count - _ITEMS:,} more" if cause.count > _ITEMS else ""
        yield Padding(Text(f"{names}{more}", style="dim"), (0, 0, 0, 6), expand=False)
    if len(causes) > _CAUSES:
        yield Text(f"  … and {len(causes) - _CAUSES} other reasons: see the page, or --json", style="dim")


def _own_words(item: Reason, cause: Cause) -> str:
    """What a reason says beyond its group's words, as which document a duplicate is one of."""
    return "" if without_name(item.reason, item.source, "it") == cause.reason else f" ({item.reason})"


def _rules(report: IngestReport) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("cleaning")
    table.add_column("switched")
    for name in ("times", "files"):
        table.add_column(name, justify="right", no_wrap=True)
    for rule in report.cleaning:
        table.add_row(rule.rule, "always" if rule.on is None else "on" if rule.on else "off", f"{rule.times:,}", f"{rule.files:,}")
    return table
