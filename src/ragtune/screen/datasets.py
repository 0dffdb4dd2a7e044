"""Datasets, their examples and questions that were written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ragtune.pipeline.records import (
    DatasetResult,
    ExampleView,
    ExportResult,
    SynthesisResult,
    ViewResult,
    grouped,
)
from ragtune.progress import counted

if TYPE_CHECKING:
    from ragtune.dataset.statistics import Statistics


from ragtune.screen import console


def show_dataset(result: DatasetResult) -> None:
    """The dataset's counts."""
    console.out.print(f"dataset {result.name}{'' if result.made else ' (unchanged)'} in {result.folder}")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in console.flat(_named_apart(result.figures)):
        table.add_row(Text(name, style="dim"), Text(value))
    console.out.print(table)
    lines = grouped(result.left_out)
    for line in lines[: console.LINES]:
        console.out.print(Text.assemble(("  left out: ", "yellow"), line), soft_wrap=True)
    if len(lines) > console.LINES:
        console.out.print(f"  … and {len(lines) - console.LINES} more reasons: --json lists them all")


def _named_apart(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures, recall by what it is here: in `ragtune evaluate --retrieval` it is a share of the evidence, not of the questions."""
    recall = {split: share if share >= 0 else None for split, share in figures.get("recall", {}).items()}
    named = {"recall": ("questions with all evidence in the top k", recall)}
    return dict(named.get(name, (name, value)) for name, value in figures.items())


def show_synthesis(result: SynthesisResult) -> None:
    """How many questions came through, and to which filters the others fell; of a dry run, the plan with a prompt."""
    from ragtune.pipeline.synthesise import describe

    if result.file is None:
        console.out.print(Text(describe(result.plan)), soft_wrap=True)
        console.out.print(f"first: {', '.join(f'{count} {kind}' for kind, count in result.plan.kinds.items()) or 'nothing'}")
        console.out.print(Panel(Text(result.plan.prompt), title="the teacher sees", title_align="left", border_style="dim"))
        return
    console.out.print(
        f"{result.accepted} of {result.asked} questions came through, {result.written} of them new in {result.file}", soft_wrap=True
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, fell in result.figures["dropped"].items():
        if fell["count"]:
            table.add_row(Text(name, style="dim"), str(fell["count"]), Text(fell["reason"]))
    console.out.print(table)
    if result.stopped:
        console.out.print(Text(f"stopped: {result.stopped}", style="yellow"), soft_wrap=True)


def show_view(result: ViewResult) -> None:
    """Where the page is."""
    console.out.print(
        Text(f"{result.questions} questions of {result.dataset} in {result.contexts} contexts: {result.path}"), soft_wrap=True
    )


def show_statistics(result: Statistics) -> None:
    """What is taught, a line each."""
    console.out.print(f"dataset {result.dataset}, training contexts of epoch {result.epoch}")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _taught(result):
        table.add_row(Text(name, style="dim"), Text(value))
    console.out.print(table)


def _taught(found: Statistics) -> Iterator[tuple[str, str]]:
    yield "questions", _named(found.questions)
    for split, kinds in found.kinds.items():
        yield f"  of {split}", _named(kinds)
    yield "answers that are learnt", _named({form: count for form, count in found.answers.items() if form != "dropped"})
    if dropped := found.answers.get("dropped"):
        yield "  in no context", counted(dropped, "question")
    if found.p_realised is not None:
        yield "evidence shown", f"for {found.p_realised:.1%} of the answerable questions ({found.p:.1%} asked for)"
    if found.false_negatives is not None:
        share = f"{found.false_negatives:.1%} of those could be shown an answer's words elsewhere (train.false_negatives)"
        yield "  not shown", f"for {found.without_evidence}; {share}"
    yield "contexts", str(found.contexts)
    yield "  questions in each", _named(found.questions_per_context, "have ")
    yield "  passages in each", _named(found.passages_per_context, "have ")
    yield "passages that a question needs", _named(found.oracles_per_question, "need ")
    yield "ranks of the distractors", ", ".join(f"{count} {'at ' * rank.isdigit()}{rank}" for rank, count in found.distractor_ranks.items())
    for part, lengths in found.tokens.items():
        yield (
            f"tokens of {'an' if part[0] in 'aeiou' else 'a'} {part}",
            f"{lengths.least} to {lengths.most}, median {lengths.median}, nine in ten up to {lengths.ninth_decile}",
        )


def _named(counts: Mapping[str, int], between: str = "") -> str:
    return ", ".join(f"{count} {between}{name}" for name, count in counts.items()) or "none"


def show_export(result: ExportResult) -> None:
    """Where the files are."""
    counts = ", ".join(f"{count} {split}" for split, count in result.questions.items())
    console.out.print(Text(f"{counts} questions of {result.dataset} as {result.format} in {result.path}"), soft_wrap=True)


def show_example(view: ExampleView) -> None:
    """The prompt and the completion, the trained part marked."""
    console.out.print(
        f"{view.id} ({view.split}), {view.tokens} tokens, {view.trained_tokens} of them trained; "
        f"evidence {'shown' if view.oracle_present else 'absent'}"
    )
    console.out.print(Panel(Text(view.text), title="the model sees", title_align="left", border_style="dim"))
    console.out.print(Panel(Text(view.completion, style="green"), title="and learns to write", title_align="left", border_style="green"))
