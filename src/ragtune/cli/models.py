"""``models``, ``train`` and ``jobs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ragtune.cli.app import (
    JsonOption,
    ProjectOption,
    QuietOption,
    SetOption,
    SpendAllOption,
    YesOption,
    app,
    asker,
    jobs_app,
    models_app,
    open_project,
    show,
)
from ragtune.errors import ConfigError
from ragtune.models.choose import Task
from ragtune.pipeline.records import TrainingPlan


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

    show(list_hosted() if hosted else list_models(), as_json, "show_hosted" if hosted else "show_models")


@models_app.command("pull")
def models_pull(
    names: Annotated[list[str] | None, typer.Argument(help="Catalog ids; default: all of the catalog.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch models into the user's cache and check them by SHA-256.

    Example: ragtune models pull smollm2-135m-instruct
    """
    from ragtune.project import pull_models

    show(pull_models(names or ()), as_json, "show_models")


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
    opened = open_project(project, settings, quiet=quiet or as_json, create=True)
    ranked = opened.choose_models(
        task,
        budget=budget,
        calls=calls,
        privacy="own-machine" if private else "any",
        memory=memory,
        gpu=gpu,
    )
    if not try_:
        show(ranked, as_json, "show_choices")
        return
    wanted = names or [choice.candidate.name for choice in ranked if choice.fits and choice.candidate.ready][:3]
    if not wanted:
        raise ConfigError("no model fits that could be asked now: leave --try out to see why, or name some with --model")
    trials = opened.try_models(wanted, questions=questions, yes=yes, confirm=asker())
    show(trials, as_json, "show_trials")
    if all(trial.f1 is None for trial in trials):
        raise typer.Exit(2)


@models_app.command("export")
def models_export(
    output: Annotated[Path, typer.Argument(help="The folder to write, which must not be there yet.")],
    format_: Annotated[
        str, typer.Option("--format", help="safetensors, for transformers, vLLM and converters; or tensorflow, a SavedModel.")
    ] = "safetensors",
    name: Annotated[str | None, typer.Option("--name", help="The tuned model; default: the newest.")] = None,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a tuned model whole, its adapter merged into its base.

    Example: ragtune models export merged
    """
    opened = open_project(project, settings, quiet=True)
    show(opened.export_model(output, format_, name=name), as_json, "show_model_export")


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
    backend: Annotated[
        str | None,
        typer.Option("--backend", help="torch, or keras: Keras on TensorFlow. Short for --set train.backend=…", show_default=False),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="With --retriever: let the untuned one serve again.")] = False,
    yes: SpendAllOption = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what it would take: memory and time here; of hosted models the cost, with the files written and checked.",
        ),
    ] = False,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tune the base model: on this machine, or where `model.base` is hosted as a job at its vendor. A killed run goes on.

    Example: ragtune train --set train.epochs=2

    Example: ragtune train --backend keras

    Example: ragtune train --dry-run

    Example: ragtune train --retriever
    """
    own = [*(settings or ()), *([f"train.backend={backend}"] if backend else ())]
    opened = open_project(project, own, quiet=quiet or as_json)
    if undo and not retriever:
        raise ConfigError("--undo is about a tuned retriever: say --retriever too")
    if retriever:
        if without_context or dry_run or backend or (undo and (dataset or name)):
            raise ConfigError("--retriever takes --dataset and --name, or --undo alone")
        tuned = opened.undo_retriever() if undo else opened.train_retriever(dataset=dataset, name=name)
        show(tuned, as_json, "show_retriever")
        return
    if dry_run:
        plan = opened.plan_tuning(dataset=dataset, name=name, without_context=without_context)
        if isinstance(plan, TrainingPlan):
            show(plan, as_json, "show_training_plan")
            if not plan.forecast.fits:
                raise typer.Exit(2)
            return
        show(plan, as_json, "show_plan")
        if plan.problems:
            raise typer.Exit(2)
        return
    made = opened.train(dataset=dataset, name=name, without_context=without_context, yes=yes, confirm=asker())
    show(made, as_json, "show_model")


@jobs_app.command("list")
def jobs_list(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List hosted tuning jobs as they were last seen; `ragtune train` looks again.

    Example: ragtune jobs list
    """
    show(open_project(project, None, quiet=True).jobs(), as_json, "show_jobs")


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
    job = open_project(project, settings, quiet=True).cancel_job(model)
    show([job] if not as_json else job, as_json, "show_jobs")


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
    opened = open_project(project, settings, quiet=True)
    if use is None:
        show(opened.checkpoints(model), as_json, "show_checkpoints")
    else:
        show(opened.use_checkpoint(use, model), as_json, "show_model")
