"""Everything in one go: predict, ingest, index, dataset, train, evaluate. What is unchanged is skipped, what was interrupted goes on."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ragtune import build
from ragtune.config import BESIDE, SETTINGS_FILE, Settings, changed_settings, load_settings, render_toml
from ragtune.dataset.questions import RawEvidence, RawQuestion, brought_along, load_questions
from ragtune.errors import ProjectError, QuestionError
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.answerers import check_arms
from ragtune.pipeline.consent import Confirm
from ragtune.pipeline.dataset import build_dataset, question_files, synthesised_file
from ragtune.pipeline.evaluate import evaluate
from ragtune.pipeline.forecast import Sizes, count_chunks, forecast, measure_rates, measure_sizes, parse_budget, text_bytes
from ragtune.pipeline.index import build_index
from ragtune.pipeline.ingest import find_files, ingest, look_at_pages, source_paths, to_read, without_questions
from ragtune.pipeline.judge import check_judge
from ragtune.pipeline.records import Forecast, RunResult, grouped
from ragtune.pipeline.synthesise import expected_calls, synthesise
from ragtune.pipeline.train import train
from ragtune.pipeline.train_hosted import hosted_settings
from ragtune.prepare import Source
from ragtune.progress import Progress
from ragtune.types import Document
from ragtune.workspace import Workspace, hash_file, stage_key, write_bytes, write_json

_NO_DOCUMENTS = "there are no documents: give --documents DIR, or set documents in ragtune.toml"
_SKIPPED = 5  # files that are named


def run(
    workspace: Workspace,
    settings: Settings,
    documents: Sequence[Path | str],
    questions: Sequence[Path],
    test: Sequence[Path],
    budget: str | None,
    dry_run: bool,
    progress: Progress,
    *,
    yes: bool = False,
    confirm: Confirm | None = None,
) -> RunResult:
    """Run every stage.

    Args:
        workspace: of the project; a ragtune.toml with documents, questions and overrides is written where there is none.
        settings: of the project.
        documents: files, folders and web addresses; empty takes the setting, else what was ingested last.
        questions: files and folders; empty takes the setting.
        test: files that are the whole test split.
        budget: wall time such as ``20m``; questions are sampled to fit.
        dry_run: only predict; nothing is written into the project.
        progress: told what goes on.
        yes: what costs money is paid: calls of hosted models up to ``chat.max_cost``, and a hosted tuning job whatever it costs.
        confirm: told what it costs and asked before, where ``yes`` was not said.

    Raises:
        ProjectError: there are no documents.
        ConsentError: nobody agreed to what something costs.
        RagtuneError: a hosted model that would be needed later has no key, address or price.
        QuestionError: there are no questions, or a file of them is malformed.
    """
    started = time.monotonic()
    paths = source_paths(workspace, settings, documents)
    if not (paths or questions or any((workspace.project / item).exists() for item in settings.questions)):
        raise ProjectError(_NO_DOCUMENTS)
    if not dry_run:
        check_models(workspace, settings)
    held_out = question_files(workspace, settings, test) if test else []
    to_write = settings.teacher.questions if settings.teacher.model else 0
    files = [path for path in question_files(workspace, settings, questions, missing_ok=to_write > 0) if path not in held_out]
    folder = workspace.folder / "articles"
    articles = brought_along([*files, *held_out]) if paths in ([], [folder]) else []
    if articles:
        progress.note(f"no documents given: the {len(articles)} articles that the questions bring along are the documents")
        paths = [folder]
    if not paths:
        raise ProjectError(_NO_DOCUMENTS)
    asked = [*load_questions(files), *(replace(question, split="test") for question in load_questions(held_out))]
    lacking = to_write - sum(question.synthesised_by is not None for question in asked)
    if lacking > 0:
        progress.note(f"{settings.teacher.model} is asked to write {lacking} questions, in about {expected_calls(lacking)} calls")
        asked += _to_be_written(lacking)
    if not asked:
        raise QuestionError(f"no questions found in {', '.join(map(str, files)) or 'questions/'}: write some, or give --questions FILE")
    pages = look_at_pages(workspace, settings, paths, progress, ask=not dry_run)
    found = [*find_files(workspace, paths), *(pages.sources if pages else [])] if not articles else []
    sources = without_questions(workspace, settings, found, [*files, *held_out])
    sizes = [len(article.text.encode()) for article in articles] or [text_bytes(source.path) for source in sources]
    key = _plan_key(workspace, settings, paths, sizes, [*files, *held_out], budget)
    kept = _kept_plan(workspace, key)
    plan = kept or _new_plan(workspace, settings, measure_sizes(settings, sizes, asked), sources, budget, progress)
    if kept is not None:
        progress.note("begun before, with as much to do: what was done and still holds is kept, and what is predicted is for all of it")
    if dry_run:
        return RunResult(plan)
    stages = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in plan.stages.items())
    progress.note(f"predicted: {plan.total / 60:.1f} minutes in all ({stages})" + (f"; {plan.note}" if plan.note else ""))
    if kept is None:
        write_json(_plan_file(workspace), {"key": key, "forecast": asdict(plan)})
    if articles:
        _write_articles(folder, articles)
    _write_settings(workspace, settings, documents, questions)
    settings = _within(settings, plan)
    ingested = ingest(workspace, settings, paths, progress, questions=[*files, *held_out], pages=pages)
    for reason in ingested.skipped[:_SKIPPED]:
        progress.note(f"skipped: {reason.line}")
    indexed = build_index(workspace, settings, progress, yes=yes, confirm=confirm)
    if to_write:
        synthesise(workspace, settings, to_write, progress, yes=yes, confirm=confirm)
        written = synthesised_file(workspace, settings)
        files += [written] if written.is_file() and written not in files else []
    dataset = build_dataset(workspace, settings, files, held_out, None, progress, yes=yes, confirm=confirm)
    for line in grouped(dataset.left_out)[:_SKIPPED]:
        progress.note(f"question left out: {line}")
    model = train(workspace, settings, dataset.name, None, progress, yes=yes, confirm=confirm)
    evaluation = evaluate(workspace, settings, model.name, None, "test", progress, yes=yes, confirm=confirm)
    return RunResult(plan, ingested, indexed, dataset, model, evaluation, time.monotonic() - started)


def check_models(workspace: Workspace, settings: Settings) -> None:
    """Find a hosted model's missing key, address or price before anything long or paid begins; nobody is asked for it.

    Raises:
        RagtuneError: one could not be asked.
    """
    if settings.teacher.model and settings.teacher.questions and is_hosted(settings.teacher.model):
        build.chat_model(workspace, settings, settings.teacher.model)
    check_judge(workspace, settings)
    if is_hosted(settings.embed.model):
        build.embedder(workspace, settings)
    if is_hosted(settings.model.base):
        check_arms(workspace, settings)
        base = hosted_settings(settings).model.base
        build.chat_model(workspace, settings, base)
        build.tuning_service(workspace, settings, base)


def _to_be_written(count: int) -> list[RawQuestion]:
    """Stand-ins for questions that a teacher is still to write, of which a forecast needs the number alone."""
    return [RawQuestion(f"to be written {n}", "?", ("?",), None, (RawEvidence("?"),)) for n in range(count)]


def _write_articles(folder: Path, articles: Sequence[Document]) -> None:
    """Make a folder of the workspace hold these articles as Markdown, and no others: they changed if their questions' file did."""
    for article in articles:
        path, data = folder / article.source, article.text.encode()
        if not path.is_file() or path.read_bytes() != data:
            write_bytes(path, data)
    names = {article.source for article in articles}
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()


def _to_embed(workspace: Workspace, settings: Settings, sources: Sequence[Source]) -> int | None:
    """About how many chunks have no vector yet; ``None`` where nothing was ingested, or a hosted embedder would need its key."""
    if not (sources and workspace.corpus.is_file()) or is_hosted(settings.embed.model):
        return None
    coming = count_chunks(settings, [text_bytes(source.path) for source in to_read(workspace, settings, sources)])
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        return coming + len(corpus.missing_rows(build.embedder(workspace, settings).fingerprint))


def _plan_key(
    workspace: Workspace, settings: Settings, paths: Sequence[Path | str], sizes: Sequence[int], files: Sequence[Path], budget: str | None
) -> str:
    """What a plan was made for: it is kept to by a run that was killed and started again, and made anew where there is more to do."""
    # Without the paths in the settings: the first run writes them there, and the second must keep to the first one's plan.
    read = settings.model_dump(mode="json", exclude={"documents", "questions"})
    # And without what a teacher wrote, which the first run did not have.
    written = synthesised_file(workspace, settings)
    inputs: list[Any] = [[str(path) for path in paths], list(sizes), [hash_file(path) for path in files if path != written]]
    if (tuned := build.adopted(workspace, settings)) is not None:  # a cross-encoder of which takes time
        inputs.append(tuned.name)
    return stage_key("plan", 2, [read, parse_budget(budget) if budget else None], inputs)


def _plan_file(workspace: Workspace) -> Path:
    return workspace.folder / "plan.json"


def _kept_plan(workspace: Workspace, key: str) -> Forecast | None:
    if not _plan_file(workspace).is_file():
        return None
    kept = json.loads(_plan_file(workspace).read_text(encoding="utf-8"))
    return Forecast(**kept["forecast"]) if kept["key"] == key else None


def _new_plan(
    workspace: Workspace, settings: Settings, sizes: Sizes, sources: Sequence[Source], budget: str | None, progress: Progress
) -> Forecast:
    progress.note("measuring this machine, to predict how long the run will take …")
    rates = measure_rates(workspace, settings)  # first, as it times the loading of the models
    sizes = replace(sizes, to_embed=_to_embed(workspace, settings, sources))
    return forecast(settings, sizes, rates, parse_budget(budget) if budget else None)


def _within(settings: Settings, plan: Forecast) -> Settings:
    """The settings with the samples that the plan allows."""
    update: dict[str, object] = {}
    if plan.max_answers is not None:
        update["train"] = settings.train.model_copy(update={"max_answers": plan.max_answers})
    if plan.max_questions is not None:
        update["evaluate"] = settings.evaluate.model_copy(update={"max_questions": plan.max_questions})
    return settings.model_copy(update=update)


def _write_settings(workspace: Workspace, settings: Settings, documents: Sequence[Path | str], questions: Sequence[Path]) -> None:
    """A ragtune.toml where there is none, with what this run overrides, so that single commands go on from the same settings."""
    path = workspace.project / SETTINGS_FILE
    if path.exists():
        return
    values: dict[str, object] = changed_settings(settings, load_settings(workspace.project))
    if documents:
        values["documents"] = [str(item) for item in documents]
    if questions:
        values["questions"] = [str(item) for item in questions]
    write_bytes(path, render_toml(values).encode())
    for name, text in BESIDE.items():  # keys that are written into .env must not get into version control
        if not (workspace.project / name).exists():
            write_bytes(workspace.project / name, text.encode())
