"""The typer app, its groups, the options that several commands have, and how a result is shown."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ragtune.pipeline.consent import Confirm
    from ragtune.project import Project

app = typer.Typer(
    name="ragtune",
    help="Turn a folder of documents into a language model that answers from them, with citations, "
    "and measure on held-out questions whether it answers better.",
    epilog="Start here: ragtune run --documents DIR --questions FILE",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="List the models that ragtune knows, and fetch them.", no_args_is_help=True)
app.add_typer(models_app, name="models")
jobs_app = typer.Typer(help="See and steer hosted tuning jobs.", no_args_is_help=True)
app.add_typer(jobs_app, name="jobs")
dataset_app = typer.Typer(invoke_without_command=True)
app.add_typer(dataset_app, name="dataset")
review_app = typer.Typer(help="See which answers a person should look at, and correct them.", no_args_is_help=True)
app.add_typer(review_app, name="review")
ProjectOption = Annotated[
    Path | None,
    typer.Option(
        "--project", "-p", help="The project's folder; default: the nearest one upwards that has a ragtune.toml.", show_default=False
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="NAME=VALUE", help="Override a setting, e.g. --set train.epochs=2.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Spend what hosted models cost, up to chat.max_cost, without being asked.")]
SpendAllOption = Annotated[
    bool,
    typer.Option(
        "--yes",
        "-y",
        help="Spend without being asked: what calls of hosted models cost, up to chat.max_cost, and a hosted tuning job whatever it costs.",
    ),
]
AccessOption = Annotated[
    list[str] | None,
    typer.Option("--access", help="A tag that you have; documents tagged otherwise are not found. Default: all are.", show_default=False),
]
SourceOption = Annotated[str | None, typer.Option("--source", help="Only sources like this, e.g. 'guides/*'.", show_default=False)]
TypeOption = Annotated[str | None, typer.Option("--type", help="Only media types like this pattern, e.g. 'text/*'.", show_default=False)]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]


def open_project(
    project: Path | None, settings: list[str] | None, *, quiet: bool, create: bool = False, shown: Collection[str] = ()
) -> Project:
    """The project of a command, with progress bars unless they are not wanted; what stages ``shown`` made, the command prints itself."""
    from ragtune.project import Project

    progress = None
    if not quiet:
        from ragtune.screen import LiveProgress

        progress = LiveProgress(shown)
    return Project(project, overrides=settings or (), progress=progress, create=create)


def asker() -> Confirm | None:
    """Asks on the terminal; where there is none, nobody can agree."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return lambda plan: typer.confirm(f"{plan}\nSpend it?", err=True)


def show(result: Any, as_json: bool, shown_by: str) -> None:
    """A result as JSON, or by the function of :mod:`ragtune.screen` that is named."""
    if as_json:
        print_json(result)
        return
    from ragtune import screen

    getattr(screen, shown_by)(result)


def print_json(value: Any) -> None:
    """Any record on stdout."""
    from ragtune.project import to_json

    typer.echo(to_json(value))
