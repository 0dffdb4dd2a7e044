"""``evaluate``, ``report``, ``ask`` and ``run``."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from ragtune.cli.app import (
    AccessOption,
    JsonOption,
    ProjectOption,
    QuietOption,
    SetOption,
    SourceOption,
    SpendAllOption,
    TypeOption,
    YesOption,
    app,
    asker,
    open_project,
    print_json,
    show,
)
from ragtune.errors import ConfigError


@app.command()
def evaluate(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="The tuned model, or the folder of a PEFT adapter; default: the newest. Say it twice to compare two."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the evaluation; default: made from its inputs.")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="test (each reading is counted), validation, or with --retrieval train; default: test, with --retrieval validation.",
        ),
    ] = None,
    retrieval: Annotated[
        bool, typer.Option("--retrieval", help="Measure retrieval alone, as it is set now: by kind and source, with every miss.")
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="Whose questions; default: the model's own, with --retrieval the newest.", show_default=False),
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
    weigh: Annotated[
        bool, typer.Option("--weigh", help="With --retrieval: compare weights of dense beside lexical search on your questions.")
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            min=2,
            help="Ask all questions, each of a model trained without its documents: so many trainings. For few documents.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --folds: only say what would be trained.")] = False,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Ask 60 questions again in changed contexts (or set evaluate.robustness).")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Compare with this earlier evaluation, the newest one of this model, or base or base-fewshot.",
            show_default=False,
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help="With --against: exit 1 where this holds of the difference, e.g. 'retrieved.f1 < -0.02', or of a bound of its interval, "
            "e.g. 'retrieved.f1.high < 0'; may be given several times.",
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

    Example: ragtune evaluate --against NAME --fail-if 'retrieved.f1 < -0.02'
    """
    if fail_if and not against:
        raise ConfigError("--fail-if is about the difference from another evaluation: say --against NAME too")
    if robustness:
        settings = ["evaluate.robustness=60", *(settings or ())]
    opened = open_project(project, settings, quiet=quiet or as_json)
    if retrieval:
        if model or name or against or folds or robustness:
            raise ConfigError("--retrieval asks no model and makes no named evaluation: leave out what is about those")
        if weigh:
            if split or calibrate is not None:
                raise ConfigError("--weigh chooses on training and measures on validation questions: leave out --split and --calibrate")
            show(opened.weigh_retrieval(dataset=dataset), as_json, "show_weights")
            return
        measured = opened.evaluate_retrieval(dataset=dataset, split=split or "validation", precision=calibrate)
        show(measured, as_json, "show_retrieval")
        return
    if weigh or calibrate is not None:
        raise ConfigError("--calibrate and --weigh are about retrieval alone: say --retrieval too")
    if len(model or ()) > 2:
        raise ConfigError("--model can be given twice at most: compare more with --against")
    first, second = [*(model or ()), None, None][:2]
    if dry_run and not folds:
        raise ConfigError("--dry-run says what --folds would train: say --folds too, or see 'ragtune run --dry-run'")
    if folds and split:
        raise ConfigError("--folds asks the questions of all splits: leave out --split")
    if folds and dry_run:
        show(opened.plan_folds(folds, model=first, dataset=dataset), as_json, "show_folds")
        return
    asked: dict[str, Any] = {"model": first, "other": second, "dataset": dataset, "name": name, "split": split or "test", "folds": folds}
    asked |= {"yes": yes, "confirm": asker()}
    if against:
        compared = opened.evaluate_against(against, fail_if or (), **asked)
        show(compared, as_json, "show_gate")
        if compared.failed:
            raise typer.Exit(1)
        return
    show(opened.evaluate(**asked), as_json, "show_report")


@app.command()
def report(
    evaluations: Annotated[
        list[str] | None,
        typer.Argument(help="The evaluation; default: the newest. Of several, each is compared with the first.", show_default=False),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser, too.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show an evaluation again, or compare several, and make the page anew from the stored answers: no model is asked.

    Several are compared on the questions that all of them asked: paired differences from the first, what differs in their settings, their
    learning curves, and all answers side by side.

    Example: ragtune report baseline low-rate high-rate --open
    """
    names = evaluations or []
    opened = open_project(project, None, quiet=quiet or as_json or len(names) < 2, shown=("report",))
    result = opened.compare(names) if len(names) > 1 else opened.report(names[0] if names else None)
    show(result, as_json, "show_comparison" if len(names) > 1 else "show_report")
    if open_page:
        webbrowser.open((Path(result.folder) / "report.html").as_uri())


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="A tuned model, `base`, or `provider:model`; default: what was promoted, else the newest tuned model, else the base.",
        ),
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
    opened = open_project(project, settings, quiet=True)
    pieces = opened.ask(question, model=model, k=k, access=access, source=source, media_type=media_type)
    from ragtune import screen

    if as_json:
        with screen.waiting(screen.ANSWERING):
            answer = list(pieces)[-1]
        print_json(answer)
    else:
        screen.show_answer(pieces)


@app.command()
def run(
    documents: Annotated[list[str] | None, typer.Option("--documents", "-d", help="Files, folders and web addresses to ingest.")] = None,
    questions: Annotated[list[Path] | None, typer.Option("--questions", help="Question files or folders.")] = None,
    test: Annotated[list[Path] | None, typer.Option("--test", help="Question files that are the whole test split.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", help="Wall time for the whole run, e.g. 20m, 1h30m or 20 (minutes): training and test questions are sampled to fit."
        ),
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
    opened = open_project(project, settings, quiet=quiet or as_json, create=True)
    result = opened.run(documents or (), questions or (), test=test or (), budget=budget, dry_run=dry_run, yes=yes, confirm=asker())
    show(result, as_json, "show_run")
