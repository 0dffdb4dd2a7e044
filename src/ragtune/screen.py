"""What the command line shows: progress on stderr, results on stdout. Nothing here computes."""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.panel import Panel
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ragtune.doctor import Check
from ragtune.models.choose import Choice
from ragtune.page import visible
from ragtune.pipeline.records import (
    ComparisonResult,
    DatasetResult,
    EvaluationResult,
    ExampleView,
    ExportResult,
    FoldsPlan,
    Forecast,
    IndexExplanation,
    IndexResult,
    IngestResult,
    ModelResult,
    PurgeResult,
    RetrievalResult,
    RetrieverResult,
    RunResult,
    SearchHit,
    SynthesisResult,
    TrainingPlan,
    Trial,
    TuningJob,
    TuningPlan,
    ViewResult,
    WatchRound,
    WeightResult,
    grouped,
)
from ragtune.progress import counted
from ragtune.rag import Answer
from ragtune.types import Reason, TuningCheckpoint

if TYPE_CHECKING:
    from ragtune.dataset.statistics import Statistics
    from ragtune.evaluate.gate import GateResult
    from ragtune.prepare.preview import Preview
    from ragtune.prepare.report import IngestReport


class _Console(Console):
    """Writes out characters that would steer the terminal: names of files, texts of documents and models' answers may hold any."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


out = _Console(highlight=False)
err = _Console(stderr=True, highlight=False)
_EVERY_S = 20.0
_LONG_S = 2.0
_NAMED = 5  # of the removed
_LINES = 20  # of reasons
_MARKS = {"ok": "[green]✓[/green]", "note": "[yellow]·[/yellow]", "problem": "[red]✗[/red]"}


class _TimeLeft(ProgressColumn):
    """The stage's own estimate where it has one, else what its rate so far comes to; nothing where neither is known."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        left = task.time_remaining if task.fields.get("left") is None else task.fields["left"]
        return Text("" if left is None else f"{timedelta(seconds=round(left))} left", style="progress.remaining")


class LiveProgress:
    """Draws bars with the time left on a terminal; elsewhere writes a line now and then.

    Args:
        shown: stages whose result the command prints itself, so that they end without a line.
    """

    def __init__(self, shown: Collection[str] = ()) -> None:
        self._shown = shown
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
                _TimeLeft(),
                TextColumn("[dim]{task.fields[detail]}"),
                console=err,
                transient=True,
            )
            self._bars.start()
            atexit.register(self._bars.stop)  # an error or Ctrl-C must not leave the cursor hidden
        self._tasks[stage] = self._bars.add_task(stage, total=total, detail="", left=None)

    def update(self, stage: str, done: float, detail: str = "", left: float | None = None) -> None:
        """Move a bar. The rate is counted from the first call, as a stage that goes on from an earlier sitting starts with work done."""
        if stage not in self._began:
            self._began[stage] = (time.monotonic(), done)
            if self._bars is not None and stage in self._tasks:
                self._bars.reset(self._tasks[stage], completed=int(done), detail=detail, left=left)
        elif self._bars is not None and stage in self._tasks:
            self._bars.update(self._tasks[stage], completed=done, detail=detail, left=left)
        elif stage in self._said and time.monotonic() - self._said[stage] > _EVERY_S:
            self._said[stage] = time.monotonic()
            total = self._totals[stage]
            began, before = self._began[stage]
            if left is None and total and done > before:
                left = (time.monotonic() - began) / (done - before) * (total - done)
            ahead = "" if left is None else f", {left:.0f} s left"
            err.print(
                f"  {stage}: {done:g}{f' of {total:g}' if total else ''}{ahead}{f' ({detail})' if detail else ''}",
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
        if stage not in self._shown:
            err.print(Text.assemble(("✓ ", "green"), (f"{stage:<10}", "bold"), " ", message), soft_wrap=True)

    def note(self, message: str) -> None:
        """Write a line."""
        err.print(Text.assemble(("· ", "yellow"), message), soft_wrap=True)


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Tell a terminal what is going on, where it goes on for long."""
    if not err.is_terminal:
        yield
        return
    status = err.status(f"{what} …")
    timer = threading.Timer(_LONG_S, status.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


def show_checks(checks: Sequence[Check]) -> None:
    """The doctor's findings, nothing of them cut or broken: paths and commands are there to be copied."""
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        out.print(_MARKS[check.state], Text(f"{check.name:<{width}}  {check.found}"), soft_wrap=True)
        if check.advice:
            out.print(Text(f"  {'':<{width}}  → {check.advice}", style="dim"), soft_wrap=True)


def show_purge(result: PurgeResult) -> None:
    """What is purged, and who else holds it."""
    if not result.purged:
        out.print("nothing is missing")
        return
    gone = f"{counted(result.documents, 'document')} {'gone from corpus and index' if result.done else 'would go'}"
    state = gone if result.documents or result.purged != result.already else "purged already"
    out.print(f"{', '.join(result.purged)}: {state}", markup=False, soft_wrap=True)
    for held in result.held:
        what = "your own file: edit it yourself" if held.own else "blanked" if held.redacted else "holds it still: --redact blanks it"
        out.print(f"  {held.path}: {counted(held.places, 'place')}, {what}", markup=False, soft_wrap=True)
    _reasons("stays", result.copies)
    if result.tuned:
        out.print(f"  tuned on it, and may remember it: {', '.join(result.tuned)}", markup=False, soft_wrap=True)


def show_undone(lifted: Sequence[str], asked: Sequence[str]) -> None:
    """What the next ingest takes in again."""
    named = [name for name in lifted if name in asked]
    out.print(
        f"{', '.join(named)}: the next 'ragtune ingest' takes {'it' if len(named) == 1 else 'them'} in again", markup=False, soft_wrap=True
    )
    if others := [name for name in lifted if name not in asked]:
        out.print(f"  with the same bytes, and so off the list too: {', '.join(others)}", markup=False, soft_wrap=True)


def show_ingest(result: IngestResult) -> None:
    """Counts, then what was not read and why."""
    out.print(f"{result.counts} ({result.seconds:.1f} s)", soft_wrap=True)
    if result.repairs:
        out.print("cleaned: " + ", ".join(f"{kind} {count:,}" for kind, count in result.repairs.items()))
    _removed(result)
    _reasons("skipped", result.skipped)
    _reasons("left out", result.left_out)
    _reasons("duplicate", result.duplicates)


def show_ingest_report(report: IngestReport) -> None:
    """Figures and grouped reasons, and where the page is."""
    from ragtune.prepare.report_terminal import report_terminal

    out.print(report_terminal(report))
    out.print(Text.assemble("report: ", (report.page, "cyan")), soft_wrap=True)


def show_preview(preview: Preview) -> None:
    """A document beside its source and its chunks, and where the page is."""
    from ragtune.prepare.report_terminal import preview_terminal

    out.print(preview_terminal(preview))
    out.print(Text.assemble("\npage: ", (preview.page, "cyan")), soft_wrap=True)


def show_round(made: WatchRound) -> None:
    """One line of ``ingest --watch``, what was not read below it, and what went wrong."""
    at = datetime.fromisoformat(made.at).astimezone().strftime("%H:%M:%S")
    if made.ingested is not None:
        done = made.ingested
        embedded = "" if made.indexed is None else f", {counted(made.indexed.embedded, 'chunk')} embedded"
        seconds = done.seconds + (made.indexed.seconds if made.indexed else 0)
        out.print(
            f"{at} {len(done.read)} read, {len(done.removed)} removed, {len(done.skipped)} skipped{embedded}: "
            f"{counted(done.documents, 'document')} in {counted(done.chunks, 'chunk')} ({seconds:.1f} s)",
            soft_wrap=True,
        )
        _removed(done)
        _reasons("skipped", done.skipped, 5)
        _reasons("left out", done.left_out, 5)
    if made.error is not None:
        out.print(Text.assemble(f"{at} ", ("failed: ", "red"), made.error, " (it is tried again)"), soft_wrap=True)


def show_index(result: IndexResult) -> None:
    """What the index holds."""
    out.print(f"{result.counts}: {result.action} in {result.seconds:.1f} s", soft_wrap=True)


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
    out.print(table)


def show_hits(hits: Sequence[SearchHit]) -> None:
    """Rank, score, source, heading, then the text."""
    if not hits:
        out.print("nothing found")
    elif not any(hit.sure is not False for hit in hits):
        out.print("nothing found that reaches the calibrated score; the nearest:")
    for hit in hits:
        heading = f" › {hit.heading}" if hit.heading else ""
        out.print(Text.assemble((f"{hit.rank}. ", "bold"), (hit.source, "cyan"), (heading, ""), (f"  {hit.score:.3f}", "dim")))
        text = " ".join(hit.text.split())
        out.print(Text(f"   {text[:240]}{'…' if len(text) > 240 else ''}", style="dim"))


def show_none_fits(patterns: Sequence[str]) -> None:
    """A search found nothing, as every document that fits would be ranked."""
    out.print(f"no document fits {' and '.join(map(repr, patterns))}", markup=False)


def show_dataset(result: DatasetResult) -> None:
    """The dataset's counts."""
    out.print(f"dataset {result.name}{'' if result.made else ' (unchanged)'} in {result.folder}")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _flat(result.figures):
        table.add_row(Text(name, style="dim"), Text(value))
    out.print(table)
    lines = grouped(result.left_out)
    for line in lines[:_LINES]:
        out.print(Text.assemble(("  left out: ", "yellow"), line), soft_wrap=True)
    if len(lines) > _LINES:
        out.print(f"  … and {len(lines) - _LINES} more reasons: --json lists them all")


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


def show_view(result: ViewResult) -> None:
    """Where the page is."""
    out.print(Text(f"{result.questions} questions of {result.dataset} in {result.contexts} contexts: {result.path}"), soft_wrap=True)


def show_statistics(result: Statistics) -> None:
    """The figures, a line each; of counts, the values with their numbers."""
    out.print(f"dataset {result.dataset}, training contexts of epoch {result.epoch}")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in asdict(result).items():
        if name not in ("dataset", "epoch"):
            table.add_row(Text(name.replace("_", " "), style="dim"), Text(_in_words(value) or "none"))
    out.print(table)


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        deep = any(isinstance(item, dict) for item in value.values())
        return ("; " if deep else ", ").join(f"{name}{':' if deep else ''} {_in_words(item)}" for name, item in value.items())
    return "" if value is None else str(value)


def show_export(result: ExportResult) -> None:
    """Where the files are."""
    counts = ", ".join(f"{count} {split}" for split, count in result.questions.items())
    out.print(Text(f"{counts} questions of {result.dataset} as {result.format} in {result.path}"), soft_wrap=True)


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
    for column in ("model", "kind", "parameters", "licence", "here"):
        table.add_column(column, no_wrap=True)
    table.add_column("summary", overflow="fold")
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


def show_hosted(models: Sequence[dict[str, Any]]) -> None:
    """The hosted models: dollars are for a million tokens read, written and trained on."""
    for model in models:
        prices = [("read", model["prompt_price"]), ("written", model["completion_price"]), ("trained on", model["training_price"])]
        known = [f"${price:g} {what}" for what, price in prices if price is not None]
        out.print(Text.assemble((model["id"], "bold"), f"  {', '.join(model['use'])}", ("  " + ", ".join(known), "dim")), soft_wrap=True)
        facts = [
            f"tunable until {model['tune_until']}" if model["tune_until"] else "",
            f"shut down on {model['retires']}{' or later' if model['may_retire'] else ''}" if model["retires"] else "",
            f"then {model['successor']}" if model["successor"] else "",
            model["note"],
        ]
        if any(facts):
            out.print(Text(f"   {'; '.join(filter(None, facts))}", style="dim"), soft_wrap=True)
    out.print("dollars are for a million tokens", style="dim")


def show_plan(plan: TuningPlan) -> None:
    """What a hosted tuning job would be, and what stands in its way."""
    for warning in plan.warnings:
        err.print(Text.assemble(("· ", "yellow"), warning), soft_wrap=True)
    if plan.made is not None:
        out.print(plan.sentence, soft_wrap=True)
        return
    out.print(f"{plan.sentence}; {plan.validation_examples} more to watch the loss on", soft_wrap=True)
    out.print(f"written and checked, not sent: {plan.training}", soft_wrap=True, markup=False)
    _reasons("problem", [Reason(where, what) for where, _, what in (each.partition(": ") for each in plan.problems)])


def show_training_plan(plan: TrainingPlan) -> None:
    """What a training run on this machine would be, and whether there is room for it."""
    made = plan.forecast
    if plan.made is not None:
        out.print(f"model {plan.made} is as these inputs make it: nothing would be trained", soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    memory = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in made.memory.items() if size)
    twice = ", each layer computed twice" if made.gradient_checkpointing else ""
    epochs = f" {plan.epochs} times" if plan.epochs > 1 else ""
    for name, text in {
        "model": f"{plan.base}, {made.parameters / 1e6:,.1f} M parameters, of which {plan.method} trains {made.trained / 1e6:,.2f} M",
        "dataset": f"{plan.dataset}: {counted(plan.questions, 'question')}{epochs}, as {counted(made.answers, 'answer')} in "
        f"{counted(made.contexts, 'context')}",
        "steps": f"{made.steps:,}, about {made.tokens:,} tokens; {made.batch_tokens:,} at once at most{twice}",
        "memory": f"about {made.peak / 1e9:.2f} GB ({memory}); {made.device} has {made.memory_available / 1e9:.2f} GB for it",
        "time": "not measured, as it does not fit" if plan.seconds is None else f"about {_clock(plan.seconds)}",
    }.items():
        table.add_row(Text(name, style="dim"), Text(text))
    out.print(table)
    if not made.fits:
        err.print(Text.assemble(("· ", "red"), made.refusal), soft_wrap=True)


def show_jobs(jobs: Sequence[TuningJob]) -> None:
    """Hosted tuning jobs."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("model", "base", "job", "status", "started", "tuned"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        table.add_row(job.name, job.base, job.job or "", job.status, job.started[:16].replace("T", " "), job.model or job.reason)
    out.print(table if jobs else "no hosted tuning jobs")


def show_checkpoints(checkpoints: Sequence[TuningCheckpoint]) -> None:
    """Checkpoints with the losses at their steps."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("step", "loss", "validation loss", "model"):
        table.add_column(column, overflow="fold")
    for each in checkpoints:
        losses = [each.metrics.get(name) for name in ("loss", "validation_loss")]
        table.add_row(str(each.step), *("" if loss is None else f"{loss:.4f}" for loss in losses), each.model)
    out.print(table if checkpoints else "the job kept no checkpoints")


def show_choices(choices: Sequence[Choice]) -> None:
    """The ranking, what fits first; what does not fit below, with what rules it out."""
    for title, fits in (("fits, in the order to try", True), ("does not fit", False)):
        chosen = [choice for choice in choices if choice.fits is fits]
        if not chosen:
            continue
        table = Table(
            box=None, pad_edge=False, header_style="dim", title=title, title_justify="left", title_style="bold" if fits else "dim"
        )
        for column in ("model", "why"):
            table.add_column(column, overflow="fold")
        for choice in chosen:
            table.add_row(Text(choice.candidate.name, style="" if fits else "dim"), Text("; ".join(choice.reasons), style="dim"))
        out.print(table)
    out.print("measure the first ones on validation questions: ragtune models choose --try", style="dim")


def show_trials(trials: Sequence[Trial]) -> None:
    """Quality, cost and time side by side."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model", overflow="fold")
    for column in ("F1", "95 %", "quoting", "$ for 1000", "seconds", "n"):
        table.add_column(column, justify="right", no_wrap=True)
    for trial in trials:
        if trial.f1 is None:
            table.add_row(trial.model, *["–"] * 5, str(trial.questions))
            continue
        low, high = trial.f1.low, trial.f1.high
        table.add_row(
            trial.model,
            f"{trial.f1.value:.2f}",
            "–" if low is None or high is None else f"{low:.2f}, {high:.2f}",
            "–" if trial.quoting is None else f"{trial.quoting:.0%}",
            "–" if trial.cost is None else f"{trial.cost * 1000:.2f}",
            "–" if trial.seconds is None else f"{trial.seconds:.2f}",
            str(trial.questions),
        )
    out.print(table)
    for trial in trials:
        if trial.problem:
            out.print(Text.assemble((trial.model, "yellow"), f": {trial.problem}"), soft_wrap=True)


def show_model(result: ModelResult) -> None:
    """A tuned model's figures."""
    out.print(f"model {result.name}{'' if result.made else ' (unchanged)'} in {result.folder}")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _flat(result.figures):
        table.add_row(Text(name, style="dim"), Text(value))
    out.print(table)


def show_retriever(result: RetrieverResult) -> None:
    """How a retriever ranks before and after it was tuned, on how many questions that was measured, and what of it serves."""
    figures = result.figures
    if "measured" in figures:
        out.print(_by_metric("", figures["measured"]))
        out.print(_by_metric("difference", figures["differences"], "+"))
        on = figures["decided_on"]
        out.print(
            f"on {on['validation']} validation questions and {on['cross_fitted']} training questions, each of these asked of a retriever "
            f"that was tuned without it; {on['groups']} groups of documents; intervals are 95 %",
            style="dim",
        )
    serves = f"its {' and '.join(result.adopted)} serve now" if result.adopted else f"it does not serve{_why_not(figures)}"
    out.print(f"retriever {result.name}{'' if result.made else ' (unchanged)'}: {serves} ({result.folder})", soft_wrap=True)


def _by_metric(corner: str, arms: Mapping[str, Mapping[str, Mapping[str, Any]]], sign: str = "") -> Table:
    """A row a metric and a column an arm, which fits into 80 columns with the intervals."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(corner, no_wrap=True)
    for arm in arms:
        table.add_column(arm, no_wrap=True)
    for name in next(iter(arms.values())):
        table.add_row(name, *(_estimate(measured[name], sign) for measured in arms.values()))
    return table


def _why_not(figures: Mapping[str, Any]) -> str:
    if "decided_on" not in figures:
        return ""
    if any(figures["better"].values()):
        return ", as only its re-ranker is clearly better and retriever.rerank is false"
    questions = figures["decided_on"]["validation"] + figures["decided_on"]["cross_fitted"]
    return f", as no part of it is clearly better on {questions} questions; that is usual where there are few of them"


def _estimate(value: Mapping[str, Any], sign: str = "") -> str:
    bounds = "" if value["low"] is None else f" [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"
    return f"{value['value']:{sign}.3f}{bounds}"


def show_report(result: EvaluationResult) -> None:
    """The grid, the decision, and where the page is."""
    from ragtune.evaluate.terminal import terminal_table

    out.print(terminal_table(result.report))
    out.print(Text.assemble("report: ", (str(Path(result.folder) / "report.html"), "cyan")), soft_wrap=True)


def show_folds(plan: FoldsPlan) -> None:
    """What a cross-fitted evaluation would train."""
    out.print(plan.words, soft_wrap=True)


def show_gate(result: GateResult) -> None:
    """Two models on the same questions, and which conditions hold."""
    from ragtune.evaluate.terminal import gate_table

    out.print(gate_table(result))


def show_comparison(result: ComparisonResult) -> None:
    """Several evaluations side by side, and where the page is."""
    from ragtune.evaluate.several_terminal import several_table

    out.print(several_table(result.comparison))
    out.print(Text.assemble("report: ", (str(Path(result.folder) / "report.html"), "cyan")), soft_wrap=True)


def show_retrieval(result: RetrievalResult) -> None:
    """Figures by kind and source, the first misses, and where the page is."""
    from ragtune.evaluate.retrieval_page import retrieval_table

    out.print(retrieval_table(result.report))
    out.print(f"report: {Path(result.folder) / 'report.html'}", soft_wrap=True)


def show_weights(result: WeightResult) -> None:
    """nDCG@10 of each weight, and what to do."""
    table = Table(box=None, caption_justify="left")
    table.add_column("dense weight")
    table.add_column("nDCG@10, training", justify="right")
    table.add_column("validation", justify="right")
    for row in result.weights:
        name = f"{row.weight:g}{' (as set)' if row.weight == result.current else ''}{' (best)' if row.weight == result.best else ''}"
        table.add_row(name, f"{row.training:.3f}", f"{row.validation:.3f}", style="bold" if row.weight == result.best else "")
    out.print(table)
    if result.best == result.current:
        out.print(f"{result.current:g}, as it is set, is best on the training questions: nothing to change")
        return
    difference = result.difference
    low, high = difference.low, difference.high
    interval = "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"
    out.print(f"{result.best:g} instead of {result.current:g}: {difference.value:+.3f}{interval} on {difference.n} validation questions")
    if result.better:
        out.print(f"set it in ragtune.toml, and run 'ragtune dataset' again:\n  [retrieve]\n  dense_weight = {result.best:g}", markup=False)
    else:
        out.print("that is not clearly better: keep what is set")


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
        with Live(Text("looking for passages …", style="dim"), console=out, transient=True, refresh_per_second=12) as live:
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
    sure = "" if answer.confidence is None else f" · {answer.confidence:.0%} sure that they hold the answer"
    err.print(Text(f"\n{answer.model} · passages {sources}{sure}", style="dim"), soft_wrap=True)


def _removed(result: IngestResult) -> None:
    """Which sources the corpus has lost: a mistyped path would cost it others."""
    if result.removed:
        named = ", ".join(each.source for each in result.removed[:_NAMED])
        more = ", …" if len(result.removed) > _NAMED else ""
        out.print(f"  {len(result.removed)} not among the sources any more: {named}{more}", markup=False, soft_wrap=True)


def _reasons(label: str, reasons: Sequence[Reason], limit: int = _LINES) -> None:
    for reason in reasons[:limit]:
        out.print(Text.assemble((f"  {label}: ", "yellow"), reason.line), soft_wrap=True)
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
