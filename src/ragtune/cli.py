"""One command per method of :class:`ragtune.Project`. Results go to stdout, messages and progress bars to stderr, ``--json`` for scripts.

Nothing heavy is imported before a command runs, so that ``ragtune --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragtune.errors import ConfigError, RagtuneError
from ragtune.models.choose import Task

if TYPE_CHECKING:
    from ragtune.pipeline.consent import Confirm
    from ragtune.pipeline.records import PurgeResult
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


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2, a bug is a traceback."""
    # Read when torch is loaded. Threads of GNU's OpenMP spin a while for each other, which beside other work is most of their time: with
    # fewer turns training is as fast alone, and several times as fast beside busy processes.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        app()
    except RagtuneError as error:
        from rich.console import Console

        Console(stderr=True).print(f"[red]error:[/red] {_escape(str(error))}", highlight=False, soft_wrap=True)
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


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The project's folder; made when absent.")] = Path(),
    documents: Annotated[list[Path] | None, typer.Option("--documents", "-d", help="Files and folders to ingest.")] = None,
    questions: Annotated[list[Path] | None, typer.Option("--questions", help="Question files or folders.")] = None,
) -> None:
    """Make a project: ragtune.toml with every default commented, .env.example, questions/.

    Example: ragtune init handbook --documents ~/handbook
    """
    from ragtune.project import Project

    made = Project.init(path, documents=documents or (), questions=questions or ())
    typer.echo(f"A project is ready in {made.path}. Put questions into {made.path / 'questions'} and run: ragtune run --project {path}")


@app.command()
def doctor(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Check Python, cores, memory, disk, GPU, models and keys, and say what to do.

    Example: ragtune doctor
    """
    checks = _open(project, None, quiet=True, create=project is None).doctor()
    if as_json:
        _print_json(checks)
    else:
        from ragtune import screen

        screen.show_checks(checks)
    if any(check.state == "problem" for check in checks):
        raise typer.Exit(1)


@app.command()
def ingest(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files and folders; default: `documents` in ragtune.toml.")] = None,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the corpus equal to the sources: read what is new or changed, remove what vanished, skip what is unchanged.

    Example: ragtune ingest ~/handbook
    """
    opened = _open(project, settings, quiet=quiet or as_json, create=True)
    result = opened.ingest(paths or ())
    _show(result, as_json, "show_ingest")


@app.command()
def index(
    yes: YesOption = False,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Embed new chunks and bring the vector index up to date.

    Example: ragtune index
    """
    _show(_open(project, settings, quiet=quiet or as_json).index(yes=yes, confirm=_confirm()), as_json, "show_index")


@app.command()
def purge(
    sources: Annotated[list[str], typer.Argument(help="Files or documents as `ragtune search` names them; a unique ending will do.")],
    redact: Annotated[bool, typer.Option("--redact", help="Blank the text in datasets, evaluations and caches as well.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take them off the list instead: the next ingest reads them again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove documents for good, from the corpus, its free pages and the index, and keep them out of later ingests.

    Your own files are never touched. What else holds the text is listed.

    Example: ragtune purge handbook/salaries.md --redact
    """
    opened = _open(project, settings, quiet=True)
    if undo:
        _show(opened.undo_purge(sources), as_json, "show_undone")
        return
    if not yes and not sys.stdin.isatty():
        raise ConfigError("a purge cannot be taken back: say --yes where nobody can be asked")
    _show(opened.purge(sources, redact=redact, confirm=None if yes else _agrees), as_json, "show_purge")


def _agrees(plan: PurgeResult) -> bool:
    from ragtune import screen

    screen.show_purge(plan)
    return typer.confirm("Purge it?", err=True)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int | None, typer.Option("-k", min=1, help="Chunks to show; default: retrieve.k.")] = None,
    access: AccessOption = None,
    source: SourceOption = None,
    media_type: TypeOption = None,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the chunks that answer a question: source, heading, score.

    Example: ragtune search "how long is the crossing"
    """
    hits = _open(project, settings, quiet=True).search(text, k, access=access, source=source, media_type=media_type)
    _show(hits, as_json, "show_hits")


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
        opened = _open(project, settings, quiet=quiet or as_json)
        if (count is not None or dry_run) and not synthesise:
            raise ConfigError("--count and --dry-run are about writing questions: say --synthesise too")
        if synthesise:
            if questions or test or name:
                raise ConfigError("--synthesise builds no dataset: leave out --questions, --test and --name, and say them without it after")
            _show(opened.synthesise(count, yes=yes, dry_run=dry_run, confirm=_confirm()), as_json, "show_synthesis")
            return
        _show(opened.dataset(questions or (), test=test or (), name=name, yes=yes, confirm=_confirm()), as_json, "show_dataset")
    elif questions or test:
        context.fail(f"--questions and --test build a dataset: leave them out before '{context.invoked_subcommand}'")
    else:
        context.obj = _DatasetOptions(project, settings or [], name, as_json)


@dataset_app.command("show")
def dataset_show(
    context: typer.Context,
    example: Annotated[str | None, typer.Argument(help="A question's id; default: the first training example.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The dataset; default: the newest.")] = None,
    epoch: Annotated[int, typer.Option("--epoch", help="Contexts are drawn anew each epoch.")] = 0,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print an example as the model sees it.

    Example: ragtune dataset show q001
    """
    before: _DatasetOptions = context.obj
    opened = _open(project or before.project, [*before.settings, *(settings or ())], quiet=True)
    _show(opened.dataset_show(example, name=name or before.name, epoch=epoch), as_json or before.as_json, "show_example")


@models_app.command("list")
def models_list(
    hosted: Annotated[
        bool, typer.Option("--hosted", help="Models of vendors instead: use, price, and until when they can be tuned and asked.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the catalog: what each model is for, its size, its licence, and whether it is here.

    Example: ragtune models list
    """
    from ragtune.project import list_hosted, list_models

    _show(list_hosted() if hosted else list_models(), as_json, "show_hosted" if hosted else "show_models")


@models_app.command("pull")
def models_pull(
    names: Annotated[list[str] | None, typer.Argument(help="Catalog ids; default: all of the catalog.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch models into the user's cache and check them by SHA-256.

    Example: ragtune models pull smollm2-135m-instruct
    """
    from ragtune.project import pull_models

    _show(pull_models(names or ()), as_json, "show_models")


@models_app.command("choose")
def models_choose(
    task: Annotated[Task, typer.Option("--task", help="What the model is for.")] = "answer",
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", min=0, help="US dollars for all calls, and with --task tune for the tuning; default: any.", show_default=False
        ),
    ] = None,
    calls: Annotated[int, typer.Option("--calls", min=1, help="How many calls there will be.")] = 1000,
    private: Annotated[bool, typer.Option("--private", help="No document may leave this machine.")] = False,
    memory: Annotated[float | None, typer.Option("--memory", min=0, help="GB of the GPU, or of the machine; default: this one's.")] = None,
    gpu: Annotated[bool | None, typer.Option("--gpu/--no-gpu", help="Whether there is a GPU; default: looks here.")] = None,
    try_: Annotated[
        bool, typer.Option("--try", help="Ask the first of them a sample of validation questions: quality, cost and time side by side.")
    ] = False,
    names: Annotated[list[str] | None, typer.Option("--model", help="With --try: these instead; may be given several times.")] = None,
    questions: Annotated[int, typer.Option("--questions", min=1, help="With --try: validation questions to ask.")] = 20,
    yes: YesOption = False,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Rank the models by what they are needed for, and say why; with --try, measure them on validation questions.

    Example: ragtune models choose --task tune --private
    """
    opened = _open(project, settings, quiet=quiet or as_json, create=True)
    ranked = opened.choose_models(
        task,
        budget=budget,
        calls=calls,
        privacy="own-machine" if private else "any",
        memory=memory,
        gpu=gpu,
    )
    if not try_:
        _show(ranked, as_json, "show_choices")
        return
    wanted = names or [choice.candidate.name for choice in ranked if choice.fits and choice.candidate.ready][:3]
    if not wanted:
        raise ConfigError("no model fits that could be asked now: leave --try out to see why, or name some with --model")
    trials = opened.try_models(wanted, questions=questions, yes=yes, confirm=_confirm())
    _show(trials, as_json, "show_trials")
    if all(trial.f1 is None for trial in trials):
        raise typer.Exit(2)


@app.command()
def train(
    dataset: Annotated[str | None, typer.Option("--dataset", help="The dataset; default: the newest.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the model; default: made from its inputs.")] = None,
    without_context: Annotated[
        bool, typer.Option("--without-context", help="Train the `dsf` control: the same answers, no passages.")
    ] = False,
    retriever: Annotated[
        bool, typer.Option("--retriever", help="Tune embedder and cross-encoder instead, and adopt what proves better.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="With --retriever: let the untuned one serve again.")] = False,
    yes: SpendAllOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Hosted models: write and check the files, say the cost, spend nothing.")
    ] = False,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tune the base model: with LoRA on this machine, or where `model.base` is hosted as a job at its vendor. A killed run goes on.

    Example: ragtune train --set train.epochs=2

    Example: ragtune train --retriever
    """
    opened = _open(project, settings, quiet=quiet or as_json)
    if undo and not retriever:
        raise ConfigError("--undo is about a tuned retriever: say --retriever too")
    if retriever:
        if without_context or dry_run or (undo and (dataset or name)):
            raise ConfigError("--retriever takes --dataset and --name, or --undo alone")
        tuned = opened.undo_retriever() if undo else opened.train_retriever(dataset=dataset, name=name)
        _show(tuned, as_json, "show_retriever")
        return
    if dry_run:
        plan = opened.plan_tuning(dataset=dataset, name=name, without_context=without_context)
        _show(plan, as_json, "show_plan")
        if plan.problems:
            raise typer.Exit(2)
        return
    made = opened.train(dataset=dataset, name=name, without_context=without_context, yes=yes, confirm=_confirm())
    _show(made, as_json, "show_model")


@jobs_app.command("list")
def jobs_list(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List hosted tuning jobs as they were last seen; `ragtune train` looks again.

    Example: ragtune jobs list
    """
    _show(_open(project, None, quiet=True).jobs(), as_json, "show_jobs")


@jobs_app.command("cancel")
def jobs_cancel(
    model: Annotated[str | None, typer.Argument(help="The model that the job makes; default: the newest job.")] = None,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a hosted tuning job; what it trained so far may be charged.

    Example: ragtune jobs cancel
    """
    job = _open(project, settings, quiet=True).cancel_job(model)
    _show([job] if not as_json else job, as_json, "show_jobs")


@jobs_app.command("checkpoints")
def jobs_checkpoints(
    model: Annotated[str | None, typer.Argument(help="The model that the job made; default: the newest job's.")] = None,
    use: Annotated[
        int | None, typer.Option("--use", help="Make the checkpoint of this step a model of its own.", show_default=False)
    ] = None,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the checkpoints that a hosted tuning job kept, and pick one.

    Example: ragtune jobs checkpoints --use 120
    """
    opened = _open(project, settings, quiet=True)
    if use is None:
        _show(opened.checkpoints(model), as_json, "show_checkpoints")
    else:
        _show(opened.use_checkpoint(use, model), as_json, "show_model")


@app.command()
def evaluate(
    model: Annotated[str | None, typer.Option("--model", help="The tuned model; default: the newest.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the evaluation; default: made from its inputs.")] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="test (each reading is counted) or validation; default: test, with --retrieval validation."),
    ] = None,
    retrieval: Annotated[
        bool, typer.Option("--retrieval", help="Measure retrieval alone, as it is set now: by kind and source, with every miss.")
    ] = False,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="With --retrieval: whose questions; default: the newest.", show_default=False)
    ] = None,
    calibrate: Annotated[
        float | None,
        typer.Option(
            "--calibrate",
            min=0.01,
            max=1,
            help="With --retrieval: choose the score below which nothing counts as found, for this precision above it.",
            show_default=False,
        ),
    ] = None,
    yes: YesOption = False,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Ask base and tuned model the held-out questions and compare their answers.

    Example: ragtune evaluate --split validation
    """
    opened = _open(project, settings, quiet=quiet or as_json)
    if retrieval:
        if model or name:
            raise ConfigError("--retrieval asks no model and makes no named evaluation: leave out --model and --name")
        measured = opened.evaluate_retrieval(dataset=dataset, split=split or "validation", precision=calibrate)
        _show(measured, as_json, "show_retrieval")
        return
    if dataset or calibrate is not None:
        raise ConfigError("--dataset and --calibrate are about retrieval alone: say --retrieval too")
    _show(opened.evaluate(model=model, name=name, split=split or "test", yes=yes, confirm=_confirm()), as_json, "show_report")


@app.command()
def report(
    evaluation: Annotated[str | None, typer.Argument(help="The evaluation; default: the newest.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an evaluation again, and where its report.html is.

    Example: ragtune report
    """
    _show(_open(project, None, quiet=True).report(evaluation), as_json, "show_report")


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    model: Annotated[
        str | None,
        typer.Option("--model", help="A tuned model, `base`, or `provider:model`; default: the newest tuned model, else the base."),
    ] = None,
    k: Annotated[
        int | None, typer.Option("-k", min=1, help="Passages to show; default: what a tuned model was tuned with, else retrieve.k.")
    ] = None,
    access: AccessOption = None,
    source: SourceOption = None,
    media_type: TypeOption = None,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question from the documents, with numbered citations that were checked word for word.

    Example: ragtune ask "How long is the crossing?"
    """
    opened = _open(project, settings, quiet=True)
    pieces = opened.ask(question, model=model, k=k, access=access, source=source, media_type=media_type)
    if as_json:
        _print_json(list(pieces)[-1])
        return
    from ragtune import screen

    screen.show_answer(pieces)


@app.command()
def run(
    documents: Annotated[list[Path] | None, typer.Option("--documents", "-d", help="Files and folders to ingest.")] = None,
    questions: Annotated[list[Path] | None, typer.Option("--questions", help="Question files or folders.")] = None,
    test: Annotated[list[Path] | None, typer.Option("--test", help="Question files that are the whole test split.")] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Wall time for the whole run, e.g. 20m or 1h30m: training and test questions are sampled to fit."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only predict how long each stage will take.")] = False,
    yes: SpendAllOption = False,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Do everything: ingest, index, dataset, train, evaluate, report. What is unchanged is skipped; a killed run goes on.

    Example: ragtune run --documents handbook --questions questions.jsonl
    """
    opened = _open(project, settings, quiet=quiet or as_json, create=True)
    result = opened.run(documents or (), questions or (), test=test or (), budget=budget, dry_run=dry_run, yes=yes, confirm=_confirm())
    _show(result, as_json, "show_run")


def _open(project: Path | None, settings: list[str] | None, *, quiet: bool, create: bool = False) -> Project:
    from ragtune.project import Project

    progress = None
    if not quiet:
        from ragtune.screen import LiveProgress

        progress = LiveProgress()
    return Project(project, overrides=settings or (), progress=progress, create=create)


def _confirm() -> Confirm | None:
    """Asks on the terminal; where there is none, nobody can agree."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return lambda plan: typer.confirm(f"{plan}\nSpend it?", err=True)


def _show(result: Any, as_json: bool, shown_by: str) -> None:
    if as_json:
        _print_json(result)
        return
    from ragtune import screen

    getattr(screen, shown_by)(result)


def _print_json(value: Any) -> None:
    from ragtune.project import to_json

    typer.echo(to_json(value))


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
