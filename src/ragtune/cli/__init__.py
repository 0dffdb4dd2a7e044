"""One command per method of :class:`ragtune.Project`. Results go to stdout, messages and progress bars to stderr, ``--json`` for scripts.

Nothing heavy is imported before a command runs, so that ``ragtune --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from ragtune.cli import start, documents, datasets, models, answers, serving, review  # noqa: F401 - in the order of --help; isort: skip
from ragtune.cli.app import app
from ragtune.errors import RagtuneError


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2, a bug is a traceback."""
    # Read when torch is loaded. Threads of GNU's OpenMP spin a while for each other, which beside other work is most of their time: with
    # fewer turns training is as fast alone, and several times as fast beside busy processes.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        app(prog_name="ragtune")  # as which it would be called `python -m ragtune.cli`, where it was started so
    except RagtuneError as error:
        from rich.console import Console
        from rich.text import Text

        from ragtune.page import visible

        Console(stderr=True).print(Text.assemble(("error:", "red"), " ", visible(str(error))), soft_wrap=True)
        sys.exit(2)
    except SystemExit as stopped:
        if stopped.code == 130:  # typer's for Ctrl-C
            typer.echo("\nstopped; run the same command again to go on", err=True)
        raise


def _version(value: bool) -> None:
    if value:
        from ragtune import __version__

        typer.echo(f"ragtune {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,  # noqa: ARG001 - its callback prints it
) -> None:
    return
