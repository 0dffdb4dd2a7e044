"""Models: listed, chosen, tuned here or by a vendor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ragtune.models.choose import Choice
from ragtune.pipeline.records import (
    ModelExport,
    ModelResult,
    RetrieverResult,
    TrainingPlan,
    Trial,
    TuningJob,
    TuningPlan,
)
from ragtune.progress import counted
from ragtune.types import Reason, TuningCheckpoint

if TYPE_CHECKING:
    pass


from ragtune.screen import console


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
    console.out.print(table)


def show_model_export(result: ModelExport) -> None:
    """Where it is, and how large."""
    console.out.print(Text(f"model {result.model} as {result.format} in {result.path}: {result.size / 1e9:.1f} GB"), soft_wrap=True)


def show_hosted(models: Sequence[dict[str, Any]]) -> None:
    """The hosted models: dollars are for a million tokens read, written and trained on."""
    for model in models:
        prices = [("read", model["prompt_price"]), ("written", model["completion_price"]), ("trained on", model["training_price"])]
        known = [f"${price:g} {what}" for what, price in prices if price is not None]
        console.out.print(
            Text.assemble((model["id"], "bold"), f"  {', '.join(model['use'])}", ("  " + ", ".join(known), "dim")), soft_wrap=True
        )
        facts = [
            f"tunable until {model['tune_until']}" if model["tune_until"] else "",
            f"shut down on {model['retires']}{' or later' if model['may_retire'] else ''}" if model["retires"] else "",
            f"then {model['successor']}" if model["successor"] else "",
            model["note"],
        ]
        if any(facts):
            console.out.print(Text(f"   {'; '.join(filter(None, facts))}", style="dim"), soft_wrap=True)
    console.out.print("dollars are for a million tokens", style="dim")


def show_plan(plan: TuningPlan) -> None:
    """What a hosted tuning job would be, and what stands in its way."""
    for warning in plan.warnings:
        console.err.print(Text.assemble(("· ", "yellow"), warning), soft_wrap=True)
    if plan.made is not None:
        console.out.print(plan.sentence, soft_wrap=True)
        return
    console.out.print(f"{plan.sentence}; {plan.validation_examples} more to watch the loss on", soft_wrap=True)
    console.out.print(f"written and checked, not sent: {plan.training}", soft_wrap=True, markup=False)
    console.show_reasons("problem", [Reason(where, what) for where, _, what in (each.partition(": ") for each in plan.problems)])


def show_training_plan(plan: TrainingPlan) -> None:
    """What a training run on this machine would be, and whether there is room for it."""
    made = plan.forecast
    if plan.made is not None:
        console.out.print(f"model {plan.made} is as these inputs make it: nothing would be trained", soft_wrap=True)
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
        "time": "not measured, as it does not fit" if plan.seconds is None else f"about {console.clock(plan.seconds)}",
    }.items():
        table.add_row(Text(name, style="dim"), Text(text))
    console.out.print(table)
    if not made.fits:
        console.err.print(Text.assemble(("· ", "red"), made.refusal), soft_wrap=True)


def show_jobs(jobs: Sequence[TuningJob]) -> None:
    """Hosted tuning jobs."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("model", "base", "job", "status", "started", "tuned"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        table.add_row(job.name, job.base, job.job or "", job.status, job.started[:16].replace("T", " "), job.model or job.reason)
    console.out.print(table if jobs else "no hosted tuning jobs")


def show_checkpoints(checkpoints: Sequence[TuningCheckpoint]) -> None:
    """Checkpoints with the losses at their steps."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("step", "loss", "validation loss", "model"):
        table.add_column(column, overflow="fold")
    for each in checkpoints:
        losses = [each.metrics.get(name) for name in ("loss", "validation_loss")]
        table.add_row(str(each.step), *("" if loss is None else f"{loss:.4f}" for loss in losses), each.model)
    console.out.print(table if checkpoints else "the job kept no checkpoints")


def show_choices(choices: Sequence[Choice]) -> None:
    """The ranking, what fits first; what does not fit below, with what rules it console.out."""
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
        console.out.print(table)
    console.out.print("measure the first ones on validation questions: ragtune models choose --try", style="dim")


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
    console.out.print(table)
    for trial in trials:
        if trial.problem:
            console.out.print(Text.assemble((trial.model, "yellow"), f": {trial.problem}"), soft_wrap=True)


def show_model(result: ModelResult) -> None:
    """A tuned model's figures."""
    console.out.print(f"model {result.name}{'' if result.made else ' (unchanged)'} in {result.folder}")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in console.flat({name: _in_units(name, value) for name, value in result.figures.items()}):
        table.add_row(Text(name, style="dim"), Text(value))
    console.out.print(table)


def _in_units(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in ("peak_memory", "predicted_memory"):
        return f"{value / 1e9:.2f} GB"
    return console.clock(value) if name in ("seconds", "predicted_seconds") else value


def show_retriever(result: RetrieverResult) -> None:
    """How a retriever ranks before and after it was tuned, on how many questions that was measured, and what of it serves."""
    figures = result.figures
    if "measured" in figures:
        console.out.print(_by_metric("", figures["measured"]))
        console.out.print(_by_metric("difference", figures["differences"], "+"))
        on = figures["decided_on"]
        console.out.print(
            f"on {on['validation']} validation questions and {on['cross_fitted']} training questions, each of these asked of a retriever "
            f"that was tuned without it; {on['groups']} groups of documents; intervals are 95 %",
            style="dim",
        )
    serves = f"its {' and '.join(result.adopted)} serve now" if result.adopted else f"it does not serve{_why_not(figures)}"
    console.out.print(f"retriever {result.name}{'' if result.made else ' (unchanged)'}: {serves} ({result.folder})", soft_wrap=True)


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
