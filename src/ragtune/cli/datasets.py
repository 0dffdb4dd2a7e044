"""``dataset`` and its subcommand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ragtune.cli.app import JsonOption, ProjectOption, QuietOption, SetOption, YesOption, asker, dataset_app, open_project, show
from ragtune.errors import ConfigError


@dataclass(frozen=True)
class _DatasetOptions:
    """What was written before a subcommand of ``ragtune dataset``, and holds for it."""

    project: Path | None
    settings: list[str]
    name: str | None
    as_json: bool


@dataset_app.callback(invoke_without_command=True)
def dataset(
    context: typer.Context,
    questions: Annotated[
        list[Path] | None, typer.Option("--questions", help="Question files or folders; default: `questions` in ragtune.toml.")
    ] = None,
    test: Annotated[list[Path] | None, typer.Option("--test", help="Question files that are the whole test split.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the dataset; default: made from its inputs.")] = None,
    synthesise: Annotated[
        bool, typer.Option("--synthesise", help="Build no dataset: have teacher.model write questions into questions/synthesised.jsonl.")
    ] = False,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="With --synthesise: questions in that file in the end; default: teacher.questions.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --synthesise: only show the plan, its cost and a prompt.")] = False,
    yes: YesOption = False,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build a dataset: questions, oracles, distractors from the serving index, quoted answers, and three splits.

    Example: ragtune dataset --questions questions.jsonl
    """
    if context.invoked_subcommand is None:
        opened = open_project(project, settings, quiet=quiet or as_json)
        if (count is not None or dry_run) and not synthesise:
            raise ConfigError("--count and --dry-run are about writing questions: say --synthesise too")
        if synthesise:
            if questions or test or name:
                raise ConfigError("--synthesise builds no dataset: leave out --questions, --test and --name, and say them without it after")
            show(opened.synthesise(count, yes=yes, dry_run=dry_run, confirm=asker()), as_json, "show_synthesis")
            return
        show(opened.dataset(questions or (), test=test or (), name=name, yes=yes, confirm=asker()), as_json, "show_dataset")
    elif questions or test:
        context.fail(f"--questions and --test build a dataset: leave them out before '{context.invoked_subcommand}'")
    else:
        context.obj = _DatasetOptions(project, settings or [], name, as_json)


@dataset_app.command("show")
def dataset_show(
    context: typer.Context,
    example: Annotated[str | None, typer.Argument(help="A question's id; default: the first training example.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The dataset; default: the newest.")] = None,
    epoch: Annotated[int, typer.Option("--epoch", min=0, help="Contexts are drawn anew each epoch.")] = 0,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print an example as the model sees it.

    Example: ragtune dataset show q001
    """
    before: _DatasetOptions = context.obj
    opened = open_project(project or before.project, [*before.settings, *(settings or ())], quiet=True)
    show(opened.dataset_show(example, name=name or before.name, epoch=epoch), as_json or before.as_json, "show_example")


@dataset_app.command("export")
def dataset_export(
    context: typer.Context,
    output: Annotated[Path, typer.Argument(help="The file to write, where none is yet; with --format huggingface a folder.")],
    format_: Annotated[str, typer.Option("--format", help="trl, openai, vertex, raft, or huggingface (a folder of Parquet).")] = "trl",
    name: Annotated[str | None, typer.Option("--name", help="The dataset; default: the newest.")] = None,
    split: Annotated[str, typer.Option("--split", help="train, or validation; huggingface has all.")] = "train",
    epoch: Annotated[int, typer.Option("--epoch", min=0, help="Contexts are drawn anew each epoch.")] = 0,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a dataset for another trainer.

    Example: ragtune dataset export train.jsonl --format trl
    """
    before: _DatasetOptions = context.obj
    opened = open_project(project or before.project, [*before.settings, *(settings or ())], quiet=True)
    made = opened.dataset_export(output, format_, name=name or before.name, split=split, epoch=epoch)
    show(made, as_json or before.as_json, "show_export")


@dataset_app.command("stats")
def dataset_stats(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The dataset; default: the newest.")] = None,
    epoch: Annotated[int, typer.Option("--epoch", min=0, help="Contexts are drawn anew each epoch.")] = 0,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a dataset teaches, in figures: answers, abstentions, ranks of distractors, lengths in tokens.

    Example: ragtune dataset stats
    """
    before: _DatasetOptions = context.obj
    opened = open_project(project or before.project, [*before.settings, *(settings or ())], quiet=True)
    show(opened.dataset_statistics(name=name or before.name, epoch=epoch), as_json or before.as_json, "show_statistics")


@dataset_app.command("view")
def dataset_view(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The dataset; default: the newest.")] = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "train",
    question: Annotated[str | None, typer.Option("--question", help="Show the context of this question alone, by its id.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Contexts shown.")] = 20,
    epoch: Annotated[int, typer.Option("--epoch", min=0, help="Contexts are drawn anew each epoch.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", help="The file to write; default: view.html in the dataset's folder.")] = None,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a page of examples as the model sees them: token by token, with what is learnt, oracles, distractors and quotes marked.

    Example: ragtune dataset view --question q001
    """
    before: _DatasetOptions = context.obj
    opened = open_project(project or before.project, [*before.settings, *(settings or ())], quiet=True)
    made = opened.dataset_view(name or before.name, split=split, question=question, limit=limit, epoch=epoch, output=output)
    show(made, as_json or before.as_json, "show_view")
