"""``review``, ``promote``, ``rollback`` and ``audit``: what people make of what was served."""

from __future__ import annotations

from typing import Annotated

import typer

from ragtune.cli.app import (
    JsonOption,
    ProjectOption,
    QuietOption,
    SetOption,
    SpendAllOption,
    app,
    asker,
    open_project,
    review_app,
    show,
)
from ragtune.errors import ConfigError
from ragtune.traces.records import ItemState

ItemArgument = Annotated[str, typer.Argument(help="The item, as `ragtune review list` names it.")]
NoteOption = Annotated[str, typer.Option("--note", help="Why, for whoever looks later.")]


@review_app.command("list")
def review_list(
    state: Annotated[ItemState, typer.Option("--state", help="open, accepted or dismissed.")] = "open",
    offset: Annotated[int, typer.Option("--offset", min=0, help="Items to pass over.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most items to list.")] = 50,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List questions whose answers a person should look at, each once, with why.

    Example: ragtune review list
    """
    show(open_project(project, settings, quiet=True).review(state, offset=offset, limit=limit), as_json, "show_review")


@review_app.command("show")
def review_show(item: ItemArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Show one of them: what was asked, found and answered, and what the asker said of it.

    Example: ragtune review show re-4f1d2c3b5a69
    """
    show(open_project(project, None, quiet=True).review_item(item), as_json, "show_review_item")


@review_app.command("accept")
def review_accept(
    item: ItemArgument,
    answer: Annotated[
        list[str] | None, typer.Option("--answer", help="What is right; may be given several times, the best first.", show_default=False)
    ] = None,
    evidence: Annotated[
        list[str] | None,
        typer.Option("--evidence", help="The words of a document that hold it, verbatim; may be given several times.", show_default=False),
    ] = None,
    document: Annotated[
        str | None, typer.Option("--document", help="Where the evidence stands; default: the passages that were found.", show_default=False)
    ] = None,
    unanswerable: Annotated[bool, typer.Option("--unanswerable", help="The documents do not answer it.")] = False,
    question: Annotated[
        str | None, typer.Option("--question", help="The question in other words; default: as it was asked.", show_default=False)
    ] = None,
    note: NoteOption = "",
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a question to train on of it, in questions/reviewed.jsonl; the next `ragtune run` learns it. It is never tested on.

    Example: ragtune review accept re-4f1d2c3b5a69 --answer "forty minutes" --evidence "The crossing takes forty minutes."
    """
    if unanswerable == bool(answer):
        raise ConfigError("say what is right with --answer, or that the documents do not answer it with --unanswerable")
    marked = [{"text": each, **({"document": document} if document else {})} for each in evidence or ()]
    opened = open_project(project, settings, quiet=True)
    show(opened.decide(item, "accept", answer or (), marked, question=question, note=note), as_json, "show_decision")


@review_app.command("dismiss")
def review_dismiss(item: ItemArgument, note: NoteOption = "", project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Take it off the list, and make nothing of it.

    Example: ragtune review dismiss re-4f1d2c3b5a69 --note "not about our documents"
    """
    show(open_project(project, None, quiet=True).decide(item, "dismiss", note=note), as_json, "show_decision")


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="A tuned model, `base`, or `provider:model`.")],
    note: NoteOption = "",
    against: Annotated[
        str | None,
        typer.Option(
            "--against", help="Evaluate it first, and compare with this evaluation or model, base or base-fewshot.", show_default=False
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option("--fail-if", help="With --against: promote nothing where this holds, as 'retrieved.f1 < -0.02'; may be repeated."),
    ] = None,
    yes: SpendAllOption = False,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Let a model serve, for whoever names none; exits 1 where a --fail-if holds, and then nothing changes.

    Example: ragtune promote NAME --against NAME --fail-if 'retrieved.f1 < -0.02'
    """
    if fail_if and not against:
        raise ConfigError("--fail-if is about the difference from another evaluation: say --against NAME too")
    opened = open_project(project, settings, quiet=quiet or as_json)
    done = opened.promote(model, note=note, against=against, fail_if=fail_if or (), yes=yes, confirm=asker())
    show(done, as_json, "show_promotion")
    if done.refused:
        raise typer.Exit(1)


@app.command()
def rollback(note: NoteOption = "", project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Let the model serve again that served before the last promotion.

    Example: ragtune rollback --note "worse on invoices"
    """
    show(open_project(project, None, quiet=True).rollback(note=note), as_json, "show_promotion")


@app.command()
def audit(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List who promoted which model, and when, the newest last.

    Example: ragtune audit
    """
    show(open_project(project, None, quiet=True).audit(), as_json, "show_audit")
