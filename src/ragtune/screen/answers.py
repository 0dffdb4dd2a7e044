"""Evaluations, comparisons and answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.live import Live
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from ragtune.pipeline.records import (
    ComparisonResult,
    EvaluationResult,
    FoldsPlan,
    RetrievalResult,
    WeightResult,
)
from ragtune.rag import Answer

if TYPE_CHECKING:
    from ragtune.evaluate.gate import GateResult


from ragtune.screen import console
from ragtune.screen.progress import waiting

ANSWERING = "loading models and answering"


def show_report(result: EvaluationResult) -> None:
    """The grid, the decision, and where the page is."""
    from ragtune.evaluate.terminal import terminal_table

    console.out.print(terminal_table(result.report))
    console.out.print(Text.assemble("report: ", (str(Path(result.folder) / "report.html"), "cyan")), soft_wrap=True)


def show_folds(plan: FoldsPlan) -> None:
    """What a cross-fitted evaluation would train."""
    console.out.print(plan.words, soft_wrap=True)


def show_gate(result: GateResult) -> None:
    """Two models on the same questions, and which conditions hold."""
    from ragtune.evaluate.terminal import gate_table

    console.out.print(gate_table(result))


def show_comparison(result: ComparisonResult) -> None:
    """Several evaluations side by side, and where the page is."""
    from ragtune.evaluate.several_terminal import several_table

    console.out.print(several_table(result.comparison))
    console.out.print(Text.assemble("report: ", (str(Path(result.folder) / "report.html"), "cyan")), soft_wrap=True)


def show_retrieval(result: RetrievalResult) -> None:
    """Figures by kind and source, the first misses, and where the page is."""
    from ragtune.evaluate.retrieval_page import retrieval_table

    console.out.print(retrieval_table(result.report))
    console.out.print(f"report: {Path(result.folder) / 'report.html'}", soft_wrap=True)


def show_weights(result: WeightResult) -> None:
    """nDCG@10 of each weight, and what to do."""
    table = Table(box=None, caption_justify="left")
    table.add_column("dense weight")
    table.add_column("nDCG@10, training", justify="right")
    table.add_column("validation", justify="right")
    for row in result.weights:
        name = f"{row.weight:g}{' (as set)' if row.weight == result.current else ''}{' (best)' if row.weight == result.best else ''}"
        table.add_row(name, f"{row.training:.3f}", f"{row.validation:.3f}", style="bold" if row.weight == result.best else "")
    console.out.print(table)
    if result.best == result.current:
        console.out.print(f"{result.current:g}, as it is set, is best on the training questions: nothing to change")
        return
    difference = result.difference
    low, high = difference.low, difference.high
    interval = "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"
    console.out.print(
        f"{result.best:g} instead of {result.current:g}: {difference.value:+.3f}{interval} on {difference.n} validation questions"
    )
    if result.better:
        console.out.print(
            f"set it in ragtune.toml, and run 'ragtune dataset' again:\n  [retrieve]\n  dense_weight = {result.best:g}", markup=False
        )
    else:
        console.out.print("that is not clearly better: keep what is set")


def show_answer(pieces: Iterator[str | Answer]) -> None:
    """Stream the raw words, then replace them by the answer with its checked citations."""
    written = ""
    answer: Answer | None = None
    if console.out.is_terminal:
        with Live(Text("looking for passages …", style="dim"), console=console.out, transient=True, refresh_per_second=12) as live:
            for piece in pieces:
                if isinstance(piece, Answer):
                    answer = piece
                else:
                    written += piece
                    live.update(Text(written, style="dim"))
    else:
        with waiting(ANSWERING):
            answer = next(piece for piece in pieces if isinstance(piece, Answer))
    assert answer is not None  # noqa: S101 - the iterator's last item
    if console.out.is_terminal:
        console.out.print(Markdown(answer.markdown))
    else:
        sys.stdout.write(answer.markdown + "\n")
    sources = "; ".join(f"[{number}] {passage.document}" for number, passage in enumerate(answer.passages, start=1))
    sure = "" if answer.confidence is None else f" · {answer.confidence:.0%} sure that they hold the answer"
    console.err.print(Text(f"\n{answer.model} · passages {sources}{sure}", style="dim"), soft_wrap=True)
