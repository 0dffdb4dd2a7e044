"""What the command line shows: progress on stderr, results on stdout. Nothing here computes."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ragtune.doctor import Check
from ragtune.pipeline.records import (
    DatasetResult,
    EvaluationResult,
    ExampleView,
    Forecast,
    IndexResult,
    IngestResult,
    ModelResult,
    RunResult,
    SearchHit,
    SynthesisResult,
)
from ragtune.rag import Answer
from ragtune.types import Reason

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
_EVERY_S = 20.0
_MARKS = {"ok": "[green]✓[/green]", "note": "[yellow]·[/yellow]", "problem": "[red]✗[/red]"}


class LiveProgress:
    """Draws bars with the time left on a terminal; elsewhere writes a line now and then."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, float | None] = {}
        self._began: dict[str, tuple[float, float]] = {}
        self._said: dict[str, float] = {}

    def start(self, stage: str, total: float | None = None) -> None:
        """Draw a bar."""
        self._said[stage] = time.monotonic()
        self._began.pop(stage, None)
        self._totals[stage] = total
        if not err.is_terminal:
            return
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description:<10}"),
                BarColumn(bar_width=28),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("[dim]{task.fields[detail]}"),
                console=err,
                transient=True,
            )
            self._bars.start()
            atexit.register(self._bars.stop)  # an error or Ctrl-C must not leave the cursor hidden
        self._tasks[stage] = self._bars.add_task(stage, total=total, detail="")

    def update(self, stage: str, done: float, detail: str = "") -> None:
        """Move a bar. The rate is counted from the first call, as a stage that goes on from an earlier sitting starts with work done."""
        if stage not in self._began:
            self._began[stage] = (time.monotonic(), done)
            if self._bars is not None and stage in self._tasks:
                self._bars.reset(self._tasks[stage], completed=int(done), detail=detail)
        elif self._bars is not None and stage in self._tasks:
            self._bars.update(self._tasks[stage], completed=done, detail=detail)
        elif stage in self._said and time.monotonic() - self._said[stage] > _EVERY_S:
            self._said[stage] = time.monotonic()
            total = self._totals[stage]
            began, before = self._began[stage]
            left = f", {(time.monotonic() - began) / (done - before) * (total - done):.0f} s left" if total and done > before else ""
            err.print(
                f"  {stage}: {done:g}{f' of {total:g}' if total else ''}{left}{f' ({detail})' if detail else ''}",
                markup=False,
                soft_wrap=True,
            )

    def finish(self, stage: str, message: str) -> None:
        """Replace a bar by a line."""
        if self._bars is not None and stage in self._tasks:
            self._bars.remove_task(self._tasks.pop(stage))
            if not self._tasks:
                self._bars.stop()
                self._bars = None
        err.print(Text.assemble(("✓ ", "green"), (f"{stage:<10}", "bold"), " ", message), soft_wrap=True)

    def note(self, message: str) -> None:
        """Write a line."""
        err.print(Text.assemble(("· ", "yellow"), message), soft_wrap=True)


def show_checks(checks: Sequence[Check]) -> None:
    """The doctor's findings."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        table.add_row(_MARKS[check.state], check.name, Text(check.found), Text(f"→ {check.advice}" if check.advice else "", style="dim"))
    out.print(table)


def show_ingest(result: IngestResult) -> None:
    """Counts, then what was not read and why."""
    out.print(
        f"{len(result.read)} read, {result.unchanged} unchanged, {len(result.removed)} removed, {len(result.skipped)} skipped, "
        f"{len(result.duplicates)} duplicates: {result.documents} documents in {result.chunks} chunks ({result.seconds:.1f} s)"
    )
    _reasons("skipped", result.skipped)
    _reasons("duplicate", result.duplicates)


def show_index(result: IndexResult) -> None:
    """What the index holds."""
    out.print(f"{result.embedded} chunks embedded, {result.vectors} vectors in the index ({result.action}, {result.seconds:.1f} s)")


def show_hits(hits: Sequence[SearchHit]) -> None:
    """Rank, score, source, heading, then the text."""
    if not hits:
        out.print("nothing found")
    for hit in hits:
        heading = f" › {hit.heading}" if hit.heading else ""
        out.print(Text.assemble((f"{hit.rank}. ", "bold"), (hit.source, "cyan"), (heading, ""), (f"  {hit.score:.3f}", "dim")))
        text = " ".join(hit.text.split())
        out.print(Text(f"   {text[:240]}{'…' if len(text) > 240 else ''}", style="dim"))


def show_dataset(result: DatasetResult) -> None:
    """The dataset's counts."""
    out.print(f"dataset {result.name}{'' if result.made else ' (unchanged)'} in {result.folder}")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _flat(result.figures):
        table.add_row(Text(name, style="dim"), Text(value))
    out.print(table)
    _reasons("left out", result.left_out)


def show_synthesis(result: SynthesisResult) -> None:
    """How many questions came through, and to which filters the others fell; of a dry run, the plan with a prompt."""
    from ragtune.pipeline.synthesise import describe

    if result.file is None:
        out.print(Text(describe(result.plan)), soft_wrap=True)
        out.print(f"first: {', '.join(f'{count} {kind}' for kind, count in result.plan.kinds.items()) or 'nothing'}")
        out.print(Panel(Text(result.plan.prompt), title="the teacher sees", title_align="left", border_style="dim"))
        return
    out.print(f"{result.accepted} of {result.asked} questions came through, {result.written} of them new in {result.file}", soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, fell in result.figures["dropped"].items():
        if fell["count"]:
            table.add_row(Text(name, style="dim"), str(fell["count"]), Text(fell["reason"]))
    out.print(table)
    if result.stopped:
        out.print(Text(f"stopped: {result.stopped}", style="yellow"), soft_wrap=True)


def show_example(view: ExampleView) -> None:
    """The prompt and the completion, the trained part marked."""
    out.print(
        f"{view.id} ({view.split}), {view.tokens} tokens, {view.trained_tokens} of them trained; "
        f"evidence {'shown' if view.oracle_present else 'absent'}"
    )
    out.print(Panel(Text(view.text), title="the model sees", title_align="left", border_style="dim"))
    out.print(Panel(Text(view.completion, style="green"), title="and learns to write", title_align="left", border_style="green"))


def show_models(models: Sequence[dict[str, Any]]) -> None:
    """The catalog."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("model", "kind", "parameters", "licence", "here", "summary"):
        table.add_column(column, overflow="fold")
    for model in models:
        table.add_row(
            model["id"],
            model["kind"],
            f"{model['parameters'] / 1e6:.0f} M",
            model["licence"],
            "yes" if model["folder"] else "no",
            model["summary"],
        )
    out.print(table)


def show_model(result: ModelResult) -> None:
    """A tuned model's figures."""
    out.print(f"model {result.name}{'' if result.made else ' (unchanged)'} in {result.folder}")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _flat(result.figures):
        table.add_row(Text(name, style="dim"), Text(value))
    out.print(table)


def show_report(result: EvaluationResult) -> None:
    """The grid, the decision, and where the page is."""
    from ragtune.evaluate.terminal import terminal_table

    out.print(terminal_table(result.report))
    out.print(Text.assemble("report: ", (str(Path(result.folder) / "report.html"), "cyan")), soft_wrap=True)


def show_forecast(forecast: Forecast) -> None:
    """Predicted time by stage."""
    parts = ", ".join(f"{stage} {_clock(seconds)}" for stage, seconds in forecast.stages.items())
    out.print(f"predicted: {_clock(forecast.total)} in all ({parts}){f'; {forecast.note}' if forecast.note else ''}")


def show_run(result: RunResult) -> None:
    """The report of the run, or its forecast."""
    if result.evaluation is None:
        show_forecast(result.forecast)
        return
    show_report(result.evaluation)
    out.print(f'finished in {_clock(result.seconds)}; ask it something: ragtune ask "…"', style="dim")


def show_answer(pieces: Iterator[str | Answer]) -> None:
    """Stream the raw words, then replace them by the answer with its checked citations."""
    written = ""
    answer: Answer | None = None
    if out.is_terminal:
        with Live(console=out, transient=True, refresh_per_second=12) as live:
            for piece in pieces:
                if isinstance(piece, Answer):
                    answer = piece
                else:
                    written += piece
                    live.update(Text(written, style="dim"))
    else:
        answer = next(piece for piece in pieces if isinstance(piece, Answer))
    assert answer is not None  # noqa: S101 - the iterator's last item
    if out.is_terminal:
        out.print(Markdown(answer.markdown))
    else:
        sys.stdout.write(answer.markdown + "\n")
    sources = "; ".join(f"[{number}] {passage.document}" for number, passage in enumerate(answer.passages, start=1))
    err.print(Text(f"\n{answer.model} · passages {sources}", style="dim"), soft_wrap=True)


def _reasons(label: str, reasons: Sequence[Reason], limit: int = 20) -> None:
    for reason in reasons[:limit]:
        out.print(Text.assemble((f"  {label}: ", "yellow"), reason.source, " — ", reason.reason), soft_wrap=True)
    if len(reasons) > limit:
        out.print(f"  … and {len(reasons) - limit} more: --json lists them all")


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name} · ")
        else:
            yield f"{prefix}{name}", f"{value:.4g}" if isinstance(value, float) else str(value)


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
