"""``init`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ragtune.cli.app import JsonOption, ProjectOption, app, open_project, print_json


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The project's folder; made when absent.")] = Path(),
    documents: Annotated[list[str] | None, typer.Option("--documents", "-d", help="Files, folders and web addresses to ingest.")] = None,
    questions: Annotated[list[Path] | None, typer.Option("--questions", help="Question files or folders.")] = None,
) -> None:
    """Make a project: ragtune.toml with every default commented, .env.example, questions/.

    Example: ragtune init handbook --documents ~/handbook
    """
    from ragtune.project import Project

    made = Project.init(path, documents=documents or (), questions=questions or ())
    first = [] if documents else [f"Set documents in {made.path / 'ragtune.toml'}, or add --documents DIR to the command."]
    second = [] if questions else [f"Put questions into {made.path / 'questions'}."]
    typer.echo(" ".join([f"A project is ready in {made.path}.", *first, *second, f"Then run: ragtune run --project {path}"]))


@app.command()
def doctor(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Check Python, cores, memory, disk, GPU, models and keys, and say what to do.

    Example: ragtune doctor
    """
    checks = open_project(project, None, quiet=True, create=project is None).doctor()
    if as_json:
        print_json(checks)
    else:
        from ragtune import screen

        screen.show_checks(checks)
    if any(check.state == "problem" for check in checks):
        raise typer.Exit(1)
