"""The machine, a forecast and a whole run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from ragtune.doctor import Check
from ragtune.pipeline.records import (
    Forecast,
    RunResult,
)

if TYPE_CHECKING:
    pass


from ragtune.screen import console
from ragtune.screen.answers import show_report

_MARKS = {"ok": "[green]✓[/green]", "note": "[yellow]·[/yellow]", "problem": "[red]✗[/red]"}


def show_checks(checks: Sequence[Check]) -> None:
    """The doctor's findings, nothing of them cut or broken: paths and commands are there to be copied."""
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        console.out.print(_MARKS[check.state], Text(f"{check.name:<{width}}  {check.found}"), soft_wrap=True)
        if check.advice:
            console.out.print(Text(f"  {'':<{width}}  → {check.advice}", style="dim"), soft_wrap=True)


def show_forecast(forecast: Forecast) -> None:
    """Predicted time by stage."""
    parts = ", ".join(f"{stage} {console.clock(seconds)}" for stage, seconds in forecast.stages.items())
    console.out.print(f"predicted: {console.clock(forecast.total)} in all ({parts}){f'; {forecast.note}' if forecast.note else ''}")


def show_run(result: RunResult) -> None:
    """The report of the run, or its forecast."""
    if result.evaluation is None:
        show_forecast(result.forecast)
        return
    show_report(result.evaluation)
    console.out.print(
        f'finished in {console.clock(result.seconds)}; ask it something: ragtune ask "…"{_where(result.evaluation.folder)}',
        style="dim",
        soft_wrap=True,
    )


def _where(folder: str) -> str:
    """``--project``, where the project is not the folder that a command would find by itself."""
    project = Path(folder).resolve().parents[2]
    here = Path.cwd()
    return "" if project in (here, *here.parents) else f" --project {os.path.relpath(project)}"
