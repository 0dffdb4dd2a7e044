"""``ragtune.Project``: a method per command, returning the records that ``--json`` prints."""

from __future__ import annotations

import contextlib
import getpass
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragtune import doctor as checks
from ragtune.config import BESIDE, SETTINGS_FILE, is_address, lend_token, load_settings, render_toml
from ragtune.errors import ConfigError, ProjectError
from ragtune.hosted.providers import is_hosted, price_name
from ragtune.models import catalog
from ragtune.models.choose import Choice, Need, Privacy, Task
from ragtune.models.hosted import HOSTED
from ragtune.models.prices import find_price
from ragtune.models.pull import cache_dir, pull
from ragtune.pipeline.records import (
    ComparisonResult,
    DatasetResult,
    EvaluationResult,
    ExampleView,
    ExportResult,
    FoldsPlan,
    IndexExplanation,
    IndexResult,
    IngestResult,
    ModelExport,
    ModelResult,
    Promotion,
    PurgeResult,
    RetrievalResult,
    RetrieverResult,
    ReviewResult,
    RunResult,
    SearchHit,
    SynthesisResult,
    TrainingPlan,
    Trial,
    TuningJob,
    TuningPlan,
    ViewResult,
    WatchRound,
    WeightResult,
)
from ragtune.progress import Progress, Silent
from ragtune.rag import Answer
from ragtune.types import JSON, Message, TuningCheckpoint, Usage, Where
from ragtune.workspace import FOLDER, Workspace, write_bytes

if TYPE_CHECKING:
    from ragtune.access import AccessStore, Key, NewKey
    from ragtune.dataset.statistics import Statistics
    from ragtune.evaluate.gate import GateResult
    from ragtune.pipeline.consent import Confirm
    from ragtune.pipeline.promote import AuditEntry
    from ragtune.pipeline.review import Decision
    from ragtune.pipeline.traces import Monitoring
    from ragtune.prepare.preview import Preview
    from ragtune.prepare.report import IngestReport
    from ragtune.traces.records import ItemState, ReviewItem, ReviewPage
    from ragtune.traces.store import TraceStore

Paths = Sequence[str | Path]


class Project:
    """A folder with ragtune.toml, .env and questions/; its workspace is ``.ragtune/`` in it.

    Args:
        path: the project's folder; ``None`` takes the nearest one upwards from here that has a ragtune.toml or a workspace.
        overrides: settings as ``"train.epochs=2"``, above environment and files.
        progress: told what goes on; default: silent.
        create: make the project where there is none, its folder when first something is written to it.

    Raises:
        ProjectError: there is no project and ``create`` is false.
        ConfigError: its settings are wrong.

    Example:
        >>> project = Project("handbook", create=True)  # doctest: +SKIP
        >>> project.ingest(["docs/"]).documents  # doctest: +SKIP
        46
    """

    def __init__(
        self, path: str | Path | None = None, *, overrides: Sequence[str] = (), progress: Progress | None = None, create: bool = False
    ) -> None:
        self.path = _find(path, create)
        self.settings = load_settings(self.path, overrides)
        self.workspace = Workspace(self.path)
        lend_token(self.path)
        self._progress: Progress = progress or Silent()

    @classmethod
    def init(cls, path: str | Path = ".", *, documents: Paths = (), questions: Paths = ()) -> Project:
        """Make a project; files that exist are left as they are, and said.

        Raises:
            ProjectError: there is a ragtune.toml already.
        """
        folder = Path(path)
        if (folder / SETTINGS_FILE).exists():
            raise ProjectError(f"{folder / SETTINGS_FILE} exists already: edit it, or choose another folder")
        (folder / "questions").mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {}
        if documents:
            values["documents"] = [str(item) for item in _roots(documents)]
        if questions:
            values["questions"] = [str(Path(item).resolve()) for item in questions]
        write_bytes(folder / SETTINGS_FILE, render_toml(values).encode())
        for name, text in BESIDE.items():
            if not (folder / name).exists():
                write_bytes(folder / name, text.encode())
        return cls(folder)

    def doctor(self) -> list[checks.Check]:
        """Look at the machine and the project."""
        return checks.run_checks(self.path, self.settings)

    def ingest(self, paths: Paths = ()) -> IngestResult:
        """Make the corpus equal to its sources: ``paths``, else the setting ``documents``, else what was ingested last.

        A path may be the address of a web page or of a sitemap.
        """
        from ragtune.pipeline.ingest import ingest

        roots = _roots(paths)
        with self.workspace.lock("ingest"):
            return ingest(self.workspace, self.settings, roots, self._progress)

    def ingest_report(self) -> IngestReport:
        """What the last ingest made, as it stands in the corpus: by source, format, language and length, what is not in it and why."""
        from ragtune.pipeline.ingest_report import ingest_report

        return ingest_report(self.workspace, self.settings, self._progress)

    def preview(self, document: str) -> Preview:
        """One document beside its source and its chunks.

        Args:
            document: its name as :meth:`search` gives it; a unique ending will do.
        """
        from ragtune.pipeline.ingest_report import preview_document

        return preview_document(self.workspace, self.settings, document)

    def watch(self, paths: Paths = (), *, yes: bool = False, confirm: Confirm | None = None) -> Iterator[WatchRound]:
        """Ingest and index now and after each change of the sources, for ever; gives what each round did.

        Web pages are looked at again each ``web.recheck`` seconds. Settings are those of now.
        """
        from ragtune.pipeline.watch import watch

        return watch(self.workspace, self.settings, _roots(paths), self._progress, yes=yes, confirm=confirm)

    def purge(
        self,
        sources: Sequence[str] = (),
        *,
        redact: bool = False,
        missing: bool = False,
        confirm: Callable[[PurgeResult], bool] | None = None,
    ) -> PurgeResult:
        """Remove sources from corpus and index for good, and keep them out; ``redact`` blanks them in datasets and evaluations, too.

        ``missing`` means what an ingest removed because its files are gone. ``confirm`` is asked before anything is changed. The source
        files themselves are never touched.
        """
        from ragtune.pipeline.purge import purge

        with self.workspace.lock("purge"):
            return purge(self.workspace, self.settings, sources, self._progress, redact=redact, missing=missing, confirm=confirm)

    def undo_purge(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Let the next ingest take purged sources in again."""
        from ragtune.pipeline.purge import undo_purge

        with self.workspace.lock("purge"):
            return undo_purge(self.workspace, sources)

    def index(self, *, yes: bool = False, confirm: Confirm | None = None, rebuild: bool = False) -> IndexResult:
        """Embed new chunks and bring the vector index up to date; ``rebuild`` builds it anew, whatever there is.

        What costs money, here as in all that take them, needs ``yes``, or a ``confirm`` that agrees when it is told what it costs.
        """
        from ragtune.pipeline.index import build_index

        with self.workspace.lock("index"):
            return build_index(self.workspace, self.settings, self._progress, yes=yes, confirm=confirm, rebuild=rebuild)

    def explain_index(self) -> IndexExplanation:
        """Why the index is of the kind that it is, and what was measured of it; nothing is built or changed."""
        from ragtune import build
        from ragtune.pipeline.rebuild import explain

        local = not is_hosted(self.settings.embed.model)  # a hosted one's would need its key
        return explain(self.workspace, self.settings.index, build.embedder(self.workspace, self.settings).fingerprint if local else None)

    def search(
        self,
        text: str,
        k: int | None = None,
        *,
        access: Sequence[str] | None = None,
        source: str | None = None,
        media_type: str | None = None,
    ) -> list[SearchHit]:
        """The ``k`` best chunks for a text, best first.

        Args:
            text: what to look for.
            k: chunks; ``None`` is the setting ``retrieve.k``.
            access: tags that the asker has; what is tagged otherwise is left out before anything is ranked. ``None`` leaves out nothing.
            source: pattern of documents' sources, as ``guides/*``.
            media_type: pattern of media types, as ``text/*``.
        """
        from ragtune.pipeline.index import search

        return search(self.workspace, self.settings, text, k or self.settings.retrieve.k, _where(access, source, media_type))

    def dataset(
        self,
        questions: Paths = (),
        *,
        test: Paths = (),
        name: str | None = None,
        yes: bool = False,
        confirm: Confirm | None = None,
    ) -> DatasetResult:
        """Build a dataset from questions; where one of the same inputs exists, that is given."""
        from ragtune.pipeline.dataset import build_dataset

        with self.workspace.lock("dataset"):
            given = self._resolve(questions), self._resolve(test)
            return build_dataset(self.workspace, self.settings, *given, name, self._progress, yes=yes, confirm=confirm)

    def synthesise(
        self, count: int | None = None, *, yes: bool = False, dry_run: bool = False, confirm: Confirm | None = None
    ) -> SynthesisResult:
        """Have ``teacher.model`` write questions from the documents, until ``count`` (``teacher.questions``) came through the filters."""
        from ragtune.pipeline.synthesise import synthesise

        with self.workspace.lock("dataset"):
            return synthesise(self.workspace, self.settings, count, self._progress, yes=yes, dry_run=dry_run, confirm=confirm)

    def dataset_show(self, example: str | None = None, *, name: str | None = None, epoch: int = 0) -> ExampleView:
        """One example as the model sees it."""
        from ragtune.pipeline.dataset import show_example

        return show_example(self.workspace, self.settings, example, name, epoch)

    def dataset_statistics(self, *, name: str | None = None, epoch: int = 0) -> Statistics:
        """What a dataset teaches, in figures."""
        from ragtune.pipeline.view import dataset_statistics

        return dataset_statistics(self.workspace, self.settings, name, epoch)

    def dataset_view(
        self,
        name: str | None = None,
        *,
        split: str = "train",
        question: str | None = None,
        limit: int = 20,
        epoch: int = 0,
        output: str | Path | None = None,
    ) -> ViewResult:
        """Write a page of examples as the model sees them, token by token; default: ``view.html`` in the dataset's folder."""
        from ragtune.pipeline.view import view_dataset

        path = None if output is None else Path(output).resolve()
        return view_dataset(self.workspace, self.settings, name, split=split, question=question, limit=limit, epoch=epoch, output=path)

    def dataset_export(
        self, output: str | Path, format_: str = "trl", *, name: str | None = None, split: str = "train", epoch: int = 0
    ) -> ExportResult:
        """Write a dataset for another trainer: trl, openai, vertex, raft, or huggingface, which is a folder."""
        from ragtune.pipeline.export import export_dataset

        return export_dataset(self.workspace, self.settings, name, format_, Path(output).resolve(), split=split, epoch=epoch)

    def train(
        self,
        *,
        dataset: str | None = None,
        name: str | None = None,
        without_context: bool = False,
        yes: bool = False,
        confirm: Confirm | None = None,
    ) -> ModelResult:
        """Tune the base model on a dataset; a killed run goes on. A hosted model is tuned by its vendor."""
        from ragtune.pipeline.train import train

        with self.workspace.lock("train"):
            return train(
                self.workspace, self.settings, dataset, name, self._progress, without_context=without_context, yes=yes, confirm=confirm
            )

    def train_retriever(self, *, dataset: str | None = None, name: str | None = None) -> RetrieverResult:
        """Tune embedder and cross-encoder on a dataset's training questions; what proves better is adopted. A killed run goes on."""
        from ragtune.pipeline.train_retriever import train_retriever

        with self.workspace.lock("train"):
            return train_retriever(self.workspace, self.settings, dataset, name, self._progress)

    def undo_retriever(self) -> RetrieverResult:
        """Let the retriever that the settings name serve again."""
        from ragtune.pipeline.adopt_retriever import undo_retriever

        with self.workspace.lock("train"):
            return undo_retriever(self.workspace, self.settings, self._progress)

    def plan_tuning(
        self, *, dataset: str | None = None, name: str | None = None, without_context: bool = False
    ) -> TuningPlan | TrainingPlan:
        """What tuning would be and take: of a hosted model what is sent and what it costs, of a local one memory and time.

        Nothing is spent or trained.
        """
        if not is_hosted(self.settings.model.base):
            from ragtune.pipeline.train import plan_training

            return plan_training(self.workspace, self.settings, dataset, without_context=without_context)
        from ragtune.pipeline.train_hosted import plan_hosted

        with self.workspace.lock("train"):
            return plan_hosted(self.workspace, self.settings, dataset, name, without_context=without_context)

    def jobs(self) -> list[TuningJob]:
        """Hosted tuning jobs as they were last seen."""
        from ragtune.pipeline.jobs import list_jobs

        return list_jobs(self.workspace)

    def cancel_job(self, name: str | None = None) -> TuningJob:
        """Stop a hosted tuning job, by its model's name; default: the newest."""
        from ragtune.pipeline.jobs import cancel_job

        return cancel_job(self.workspace, self.settings, name)

    def checkpoints(self, name: str | None = None) -> list[TuningCheckpoint]:
        """The models that a hosted tuning job kept on its way."""
        from ragtune.pipeline.jobs import checkpoints

        return checkpoints(self.workspace, self.settings, name)

    def use_checkpoint(self, step: int, name: str | None = None) -> ModelResult:
        """Make a checkpoint of a hosted tuning job a model of its own."""
        from ragtune.pipeline.jobs import use_checkpoint

        with self.workspace.lock("jobs"):
            return use_checkpoint(self.workspace, self.settings, name, step)

    def evaluate(
        self,
        *,
        model: str | None = None,
        other: str | None = None,
        dataset: str | None = None,
        folds: int | None = None,
        name: str | None = None,
        split: str = "test",
        yes: bool = False,
        confirm: Confirm | None = None,
    ) -> EvaluationResult:
        """Compare base and tuned model on held-out questions.

        Args:
            model: a tuned model's name, or the folder of a PEFT adapter; ``None`` is the newest.
            other: a second one to compare with it.
            dataset: whose questions are asked; ``None`` is the model's own.
            folds: ask all questions, those of each of so many folds of a model that is trained without their documents; see
                :meth:`plan_folds` for what that takes.
            name: of the evaluation; ``None`` makes one.
            split: ``test`` or ``validation``.
            yes: spend what hosted models cost, up to ``chat.max_cost``.
            confirm: asked before money is spent, where ``yes`` was not said.
        """
        from ragtune.pipeline.evaluate import evaluate

        with self.workspace.lock("evaluate"):
            return evaluate(
                self.workspace,
                self.settings,
                model,
                name,
                split,
                self._progress,
                other=other,
                dataset=dataset,
                folds=folds,
                yes=yes,
                confirm=confirm,
            )

    def plan_folds(self, folds: int, *, model: str | None = None, dataset: str | None = None) -> FoldsPlan:
        """What :meth:`evaluate` with ``folds`` would train, and about how long that takes; nothing is trained."""
        from ragtune.pipeline.parts import plan

        return plan(self.workspace, self.settings, model, dataset, folds)

    def evaluate_against(self, against: str, fail_if: Sequence[str] = (), *, split: str = "test", **asked: Any) -> GateResult:
        """Evaluate a model and compare it, question by question, with an earlier evaluation, or the newest one of another model.

        Args:
            against: name of the evaluation, or of the model; ``base`` or ``base-fewshot`` is that arm of the evaluation itself.
            fail_if: conditions on this model less the other, as ``retrieved.f1 < -0.02``, or of a bound of the difference's interval, as
                ``retrieved.f1.high < 0``.
            split: as in :meth:`evaluate`.
            asked: what else :meth:`evaluate` takes.

        Raises:
            ConfigError: a condition is malformed.
            EvaluationError: there is no such evaluation, or the two did not ask the same questions.
        """
        from ragtune.evaluate.gate import parse_condition
        from ragtune.pipeline.gate import check_asked, compare_with, find_against

        conditions = [parse_condition(text) for text in fail_if]
        earlier = find_against(self.workspace, against, "all" if asked.get("folds") else split)
        check_asked(self.settings, earlier)
        made = self.evaluate(split=split, **asked)
        return compare_with(self.workspace, made.name, earlier, conditions, self.settings.evaluate.seed)

    def compare_evaluated(self, against: str, fail_if: Sequence[str] = (), *, model: str, split: str = "test") -> GateResult:
        """What :meth:`evaluate_against` does, of a model's newest evaluation: nothing is asked anew.

        Raises:
            ConfigError: a condition is malformed.
            EvaluationError: one of the two was not evaluated, or they did not ask the same questions.
        """
        from ragtune.evaluate.gate import parse_condition
        from ragtune.pipeline.gate import compare_with, find_against, find_evaluated

        conditions = [parse_condition(text) for text in fail_if]
        made, earlier = find_evaluated(self.workspace, model, split), find_against(self.workspace, against, split)
        return compare_with(self.workspace, made.name, earlier, conditions, self.settings.evaluate.seed)

    def evaluate_retrieval(
        self, *, dataset: str | None = None, split: str = "validation", precision: float | None = None
    ) -> RetrievalResult:
        """Ask the retriever, as it is set now, a dataset's questions: recall, nDCG and MRR by kind and source, and every miss.

        With a ``precision`` the score is chosen below which search and ask say that nothing was found: at or above it, that share of the
        questions have their evidence in the top k.
        """
        from ragtune.pipeline.retrieval import evaluate_retrieval

        with self.workspace.lock("evaluate"):
            return evaluate_retrieval(self.workspace, self.settings, dataset, split, precision, self._progress)

    def weigh_retrieval(self, *, dataset: str | None = None) -> WeightResult:
        """What every weight of dense beside lexical search finds: chosen on training questions, measured on validation questions."""
        from ragtune.pipeline.weigh import weigh_retrieval

        with self.workspace.lock("evaluate"):
            return weigh_retrieval(self.workspace, self.settings, dataset, self._progress)

    def report(self, name: str | None = None) -> EvaluationResult:
        """An evaluation made earlier, its report.html made anew from the stored answers; nothing is asked or computed again."""
        from ragtune.pipeline.evaluate import load_evaluation
        from ragtune.pipeline.evaluation_page import rewrite_page

        found = load_evaluation(self.workspace, name)
        rewrite_page(self.workspace, self.workspace.find("evaluations", found.name))
        return found

    def compare(self, names: Sequence[str]) -> ComparisonResult:
        """Several evaluations against the first of them, on the questions that all asked, from the stored answers."""
        from ragtune.pipeline.compare import compare

        return compare(self.workspace, self.settings, names, self._progress)

    def ask(
        self,
        question: str,
        *,
        model: str | None = None,
        k: int | None = None,
        access: Sequence[str] | None = None,
        source: str | None = None,
        media_type: str | None = None,
        history: Sequence[Message] = (),
    ) -> Iterator[str | Answer]:
        """Answer a question: pieces of text as they are written, then the :class:`~ragtune.rag.Answer` with checked citations.

        ``access``, ``source`` and ``media_type`` say which documents may be found, as in :meth:`search`. ``history`` is what was asked and
        answered before, oldest first, so that "And in winter?" is understood.
        """
        from ragtune.pipeline.ask import ask

        return ask(self.workspace, self.settings, question, model, k, _where(access, source, media_type), history, self._progress)

    @cached_property
    def traces(self) -> TraceStore:
        """What a server was asked and answered, what people thought of it, and what a person should look at."""
        from ragtune.pipeline.traces import open_traces

        return open_traces(self.workspace, self.settings)

    def monitor(self, days: float = 7) -> Monitoring:
        """How the server fared in the last ``days``, by hour, and how far its questions have moved from the newest evaluation's."""
        from ragtune.pipeline.traces import monitor

        return monitor(self.workspace, self.settings, self.traces, days)

    def review(self, state: ItemState | None = "open", *, offset: int = 0, limit: int = 50) -> ReviewPage:
        """Questions whose answers a person should look at, each with why, what was asked last first."""
        from ragtune.traces import queue

        return queue.items(self.traces, state, offset=offset, limit=limit)

    def review_item(self, item: str) -> ReviewItem:
        """One of them."""
        from ragtune.traces import queue

        return queue.find(self.traces, item)

    def decide(
        self,
        item: str,
        decision: Decision,
        answers: Sequence[str] = (),
        evidence: Sequence[Mapping[str, JSON]] = (),
        *,
        question: str | None = None,
        note: str = "",
        by: str | None = None,
    ) -> ReviewResult:
        """Make a question to train on of one that was answered badly, or dismiss it.

        Args:
            item: its id.
            decision: ``accept`` or ``dismiss``.
            answers: what is right, the best first; none where the documents do not answer it.
            evidence: where that stands: each a ``document`` with ``start`` and ``end``, or a verbatim ``text`` in it or anywhere.
            question: in other words, where it should not be kept as it was asked.
            note: for whoever looks later.
            by: who decides; default: the user of this machine.
        """
        from ragtune.pipeline.review import Correction, decide

        correction = Correction(tuple(answers), tuple(evidence), question)
        return decide(self.workspace, self.settings, self.traces, item, decision, correction, by=by or _user(), note=note)

    def promote(
        self,
        model: str,
        *,
        note: str = "",
        against: str | None = None,
        fail_if: Sequence[str] = (),
        by: str | None = None,
        evaluate: bool = True,
        **asked: Any,
    ) -> Promotion:
        """Let a model serve from now on, for whoever names none.

        Args:
            model: a tuned model's name, ``base``, or ``provider:model``.
            note: for the log.
            against: an evaluation, or a model, that the tuned model is evaluated against first.
            fail_if: conditions on the difference, as in :meth:`evaluate_against`; where one holds, nothing changes.
            by: who does it; default: the user of this machine.
            evaluate: whether the model is evaluated for it; else its newest evaluation is compared.
            asked: what else :meth:`evaluate` takes.

        Raises:
            EvaluationError: there is nothing to compare.
        """
        from ragtune.pipeline.promote import check_name, promote

        if fail_if and against is None:
            raise ConfigError("fail_if is about the difference from another evaluation: say against which")
        check_name(self.workspace, model)
        compare = self.evaluate_against if evaluate else self.compare_evaluated
        gate = None if against is None else compare(against, fail_if, model=model, **asked)
        return promote(self.workspace, model, who=by or _user(), note=note, gate=gate)

    def rollback(self, *, note: str = "", by: str | None = None) -> Promotion:
        """Let the model serve again that served before the last promotion."""
        from ragtune.pipeline.promote import rollback

        return rollback(self.workspace, who=by or _user(), note=note)

    def audit(self) -> list[AuditEntry]:
        """Who promoted which model, and when, the oldest first."""
        from ragtune.pipeline.promote import audit

        return audit(self.workspace)

    def add_key(
        self,
        name: str,
        *,
        scopes: Sequence[str] = ("ask",),
        access: Sequence[str] | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        expires: datetime | None = None,
    ) -> NewKey:
        """Make a key for a client of ``ragtune serve``; its secret is given this once.

        Args:
            name: whose it is; unique.
            scopes: ``ask``, ``read``, ``write``, ``admin``.
            access: tags of documents that it may find, beside those without tags; ``None`` is all documents.
            requests_per_minute: at most.
            tokens_per_minute: of prompts and answers, at most.
            expires: from when on it is refused.
        """
        with self._keys() as store:
            return store.add(
                name,
                scopes=scopes,
                access=access,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                expires=expires,
            )

    def keys(self) -> list[Key]:
        """The keys of clients, oldest first, without their secrets."""
        with self._keys() as store:
            return store.keys()

    def keys_required(self) -> bool:
        """Whether every caller of a server needs a key: once one was made, until :meth:`revoke_keys`."""
        with self._keys() as store:
            return store.required

    def revoke_keys(self) -> list[Key]:
        """Revoke every key, and let everybody on this machine in without one again; gives those that were revoked."""
        with self._keys() as store:
            return store.open_again()

    def revoke_key(self, name: str) -> Key:
        """Revoke a key; a running server refuses it from its next request on, and asks for one though it was the last."""
        with self._keys() as store:
            return store.revoke(name)

    def _keys(self) -> contextlib.closing[AccessStore]:
        from ragtune.access import AccessStore

        return contextlib.closing(AccessStore(self.workspace.keys))

    def choose_models(
        self,
        task: Task = "answer",
        *,
        budget: float | None = None,
        calls: int = 1000,
        privacy: Privacy = "any",
        memory: float | None = None,
        gpu: bool | None = None,
    ) -> list[Choice]:
        """Every model that ragtune knows by name, those that fit the need first, each with its reasons.

        Args:
            task: what the model is for.
            budget: US dollars for ``calls`` calls, and where the task is ``tune`` for the tuning too; ``None`` is any.
            calls: how many.
            privacy: ``own-machine`` where no document may leave it.
            memory: GB of the GPU, or of the machine; ``None`` looks here.
            gpu: whether there is one; ``None`` looks here.
        """
        from ragtune.pipeline.choose import rank_models, this_machine

        free, here = this_machine()
        need = Need(
            task,
            budget=math.inf if budget is None else budget,
            calls=calls,
            privacy=privacy,
            memory=free if memory is None else memory * 1e9,
            gpu=here if gpu is None else gpu,
            today=datetime.now(UTC).date(),
        )
        return rank_models(self.workspace, self.settings, need)

    def try_models(
        self,
        names: Sequence[str],
        *,
        questions: int = 20,
        dataset: str | None = None,
        yes: bool = False,
        confirm: Confirm | None = None,
    ) -> list[Trial]:
        """Ask models the same sample of validation questions: quality, cost and time side by side."""
        from ragtune.pipeline.choose import try_models

        return try_models(self.workspace, self.settings, names, questions, dataset, self._progress, yes=yes, confirm=confirm)

    def export_model(self, output: str | Path, format_: str = "safetensors", *, name: str | None = None) -> ModelExport:
        """Write a tuned model whole, for other programs: safetensors, or tensorflow (a SavedModel)."""
        from ragtune.pipeline.export_model import export_model

        return export_model(self.workspace, self.settings, name, Path(output).resolve(), format_)

    def run(
        self,
        documents: Paths = (),
        questions: Paths = (),
        *,
        test: Paths = (),
        budget: str | None = None,
        dry_run: bool = False,
        yes: bool = False,
        confirm: Confirm | None = None,
    ) -> RunResult:
        """Do everything that is not done yet, in one go; a dry run only predicts and writes nothing into the project."""
        from ragtune.pipeline.forecast import parse_budget
        from ragtune.pipeline.run import run

        given = _roots(documents), self._resolve(questions), self._resolve(test)
        if budget:
            parse_budget(budget)  # what is mistyped is said before another command is waited for
        with contextlib.nullcontext() if dry_run else self.workspace.lock("run"):
            return run(self.workspace, self.settings, *given, budget, dry_run, self._progress, yes=yes, confirm=confirm)

    @staticmethod
    def _resolve(paths: Paths) -> list[Path]:
        return [Path(path).resolve() for path in paths]


def _roots(items: Paths) -> list[Path | str]:
    """Files and folders by their whole paths, web addresses as they are."""
    if not all(str(item) for item in items):
        raise ConfigError("one of the sources is an empty text, which would be the folder that you are in: write . for that")
    return [item if isinstance(item, str) and is_address(item) else Path(item).resolve() for item in items]


def _user() -> str:
    """For logs; of a container whose user has no name, that it was the command line."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "command line"


def _where(access: Sequence[str] | None, source: str | None, media_type: str | None) -> Where | None:
    if access is None and source is None and media_type is None:
        return None
    return Where(None if access is None else tuple(access), source, media_type)


def list_models() -> list[dict[str, JSON]]:
    """The catalog, each entry with the folder it lies in, or null."""
    return [_entry(entry) for entry in catalog.CATALOG.values()]


def list_hosted() -> list[dict[str, JSON]]:
    """The hosted models that ragtune knows, with prices for a million tokens where they are known and the price list is installed."""
    return [
        {
            "id": model.id,
            "use": list(model.uses),
            "context": model.context,
            "prompt_price": _price(model.id, Usage(prompt_tokens=1000)),
            "completion_price": _price(model.id, Usage(completion_tokens=1000)) if "chat" in model.uses else None,
            "training_price": model.training_price,
            "retires": str(model.retires) if model.retires else None,
            "may_retire": model.may_retire,
            "tune_until": str(model.tune_until) if model.tune_until else None,
            "successor": model.successor,
            "note": model.note,
        }
        for model in HOSTED.values()
    ]


def _price(name: str, usage: Usage) -> float | None:
    """Dollars for a million tokens, at the price of a thousand: some models charge more for long prompts."""
    try:
        price = find_price(*price_name(name))
    except ModuleNotFoundError:
        return None
    return None if price is None else round(1000 * price(usage), 4)


def pull_models(names: Sequence[str] = ()) -> list[dict[str, JSON]]:
    """Fetch models into the user's cache; default: all of the catalog."""
    wanted = list(names) or list(catalog.CATALOG)
    for name in wanted:
        pull(name)
    return [_entry(catalog.CATALOG[name]) for name in wanted]


def to_json(value: Any) -> str:
    """A record, or a list of them, as indented JSON."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=1)


def _entry(entry: catalog.CatalogEntry) -> dict[str, JSON]:
    folder = cache_dir() / "models" / entry.id
    return {
        "id": entry.id,
        "kind": entry.kind,
        "parameters": entry.parameters,
        "licence": entry.licence,
        "folder": str(folder) if folder.is_dir() else None,
        "summary": entry.summary,
        "hub_id": entry.hub_id,
    }


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(item) for name, item in asdict(value).items()}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):  # which JSON lacks, and metadata of a file may hold
        return None
    return str(value) if isinstance(value, Path | date) else value


def _find(path: str | Path | None, create: bool) -> Path:
    if path is not None:
        folder = Path(path).resolve()
        if folder.exists() and not folder.is_dir():
            raise ProjectError(f"{folder} is a file: a project is a folder")
        if not folder.exists() and not create:
            raise ProjectError(f"there is no folder {folder}: run 'ragtune init {path}'")
        return folder
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / SETTINGS_FILE).is_file() or (folder / FOLDER).is_dir():
            return folder
    if create:
        return here
    raise ProjectError(
        f"there is no ragtune project in {here} or above it: run 'ragtune init', or 'ragtune run --documents DIR --questions FILE'"
    )
