"""``ragtune.Project``: a method per command, returning the records that ``--json`` prints."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from ragtune import doctor as checks
from ragtune.config import ENV_EXAMPLE, SETTINGS_FILE, load_settings, read_key, render_toml
from ragtune.errors import ProjectError
from ragtune.models import catalog
from ragtune.models.pull import cache_dir, pull
from ragtune.pipeline.records import (
    DatasetResult,
    EvaluationResult,
    ExampleView,
    IndexResult,
    IngestResult,
    ModelResult,
    RunResult,
    SearchHit,
    SynthesisResult,
)
from ragtune.progress import Progress, Silent
from ragtune.rag import Answer
from ragtune.types import JSON
from ragtune.workspace import FOLDER, Workspace, write_bytes

Paths = Sequence[str | Path]


class Project:
    """A folder with ragtune.toml, .env and questions/; its workspace is ``.ragtune/`` in it.

    Args:
        path: the project's folder; ``None`` takes the nearest one upwards from here that has a ragtune.toml or a workspace.
        overrides: settings as ``"train.epochs=2"``, above environment and files.
        progress: told what goes on; default: silent.
        create: make the project where there is none.

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
        # Hugging Face's own libraries read it from there, wherever a model is loaded.
        token = read_key(self.path, "HF_TOKEN")
        if token is not None:
            os.environ.setdefault("HF_TOKEN", token.get_secret_value())
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
            values["documents"] = [str(Path(item).resolve()) for item in documents]
        if questions:
            values["questions"] = [str(Path(item).resolve()) for item in questions]
        write_bytes(folder / SETTINGS_FILE, render_toml(values).encode())
        for name, text in ((".env.example", ENV_EXAMPLE), (".gitignore", f"{FOLDER}/\n.env\n")):
            if not (folder / name).exists():
                write_bytes(folder / name, text.encode())
        return cls(folder)

    def doctor(self) -> list[checks.Check]:
        """Look at the machine and the project."""
        return checks.run_checks(self.path)

    def ingest(self, paths: Paths = ()) -> IngestResult:
        """Make the corpus equal to its sources: ``paths``, else the setting ``documents``, else what was ingested last."""
        from ragtune.pipeline.ingest import ingest

        with self.workspace.lock("ingest"):
            return ingest(self.workspace, self.settings, self._resolve(paths), self._progress)

    def index(self) -> IndexResult:
        """Embed new chunks and bring the vector index up to date."""
        from ragtune.pipeline.index import build_index

        with self.workspace.lock("index"):
            return build_index(self.workspace, self.settings, self._progress)

    def search(self, text: str, k: int | None = None) -> list[SearchHit]:
        """The ``k`` best chunks for a text, best first."""
        from ragtune.pipeline.index import search

        return search(self.workspace, self.settings, text, k or self.settings.retrieve.k)

    def dataset(self, questions: Paths = (), *, test: Paths = (), name: str | None = None) -> DatasetResult:
        """Build a dataset from questions; where one of the same inputs exists, that is given."""
        from ragtune.pipeline.dataset import build_dataset

        with self.workspace.lock("dataset"):
            return build_dataset(self.workspace, self.settings, self._resolve(questions), self._resolve(test), name, self._progress)

    def synthesise(
        self, count: int | None = None, *, yes: bool = False, dry_run: bool = False, confirm: Callable[[str], bool] | None = None
    ) -> SynthesisResult:
        """Have ``teacher.model`` write questions from the documents, until ``count`` (``teacher.questions``) came through the filters.

        What costs money needs ``yes``, or a ``confirm`` that agrees when it is told what it costs.
        """
        from ragtune.pipeline.synthesise import synthesise

        with self.workspace.lock("dataset"):
            return synthesise(self.workspace, self.settings, count, self._progress, yes=yes, dry_run=dry_run, confirm=confirm)

    def dataset_show(self, example: str | None = None, *, name: str | None = None, epoch: int = 0) -> ExampleView:
        """One example as the model sees it."""
        from ragtune.pipeline.dataset import show_example

        return show_example(self.workspace, self.settings, example, name, epoch)

    def train(self, *, dataset: str | None = None, name: str | None = None, without_context: bool = False) -> ModelResult:
        """Tune the base model on a dataset; a killed run goes on."""
        from ragtune.pipeline.train import train

        with self.workspace.lock("train"):
            return train(self.workspace, self.settings, dataset, name, self._progress, without_context=without_context)

    def evaluate(self, *, model: str | None = None, name: str | None = None, split: str = "test") -> EvaluationResult:
        """Compare base and tuned model on held-out questions."""
        from ragtune.pipeline.evaluate import evaluate

        with self.workspace.lock("evaluate"):
            return evaluate(self.workspace, self.settings, model, name, split, self._progress)

    def report(self, name: str | None = None) -> EvaluationResult:
        """An evaluation made earlier."""
        from ragtune.pipeline.evaluate import load_evaluation

        return load_evaluation(self.workspace, name)

    def ask(self, question: str, *, model: str | None = None, k: int | None = None) -> Iterator[str | Answer]:
        """Answer a question: pieces of text as they are written, then the :class:`~ragtune.rag.Answer` with checked citations."""
        from ragtune.pipeline.ask import ask

        return ask(self.workspace, self.settings, question, model, k)

    def run(
        self,
        documents: Paths = (),
        questions: Paths = (),
        *,
        test: Paths = (),
        budget: str | None = None,
        dry_run: bool = False,
        yes: bool = False,
        confirm: Callable[[str], bool] | None = None,
    ) -> RunResult:
        """Do everything that is not done yet, in one go; a teacher that costs money needs ``yes`` or ``confirm``."""
        from ragtune.pipeline.run import run

        with self.workspace.lock("run"):
            given = self._resolve(documents), self._resolve(questions), self._resolve(test)
            return run(self.workspace, self.settings, *given, budget, dry_run, self._progress, yes=yes, confirm=confirm)

    @staticmethod
    def _resolve(paths: Paths) -> list[Path]:
        return [Path(path).resolve() for path in paths]


def list_models() -> list[dict[str, JSON]]:
    """The catalog, each entry with the folder it lies in, or null."""
    return [_entry(entry) for entry in catalog.CATALOG.values()]


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
    }


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(item) for name, item in asdict(value).items()}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _find(path: str | Path | None, create: bool) -> Path:
    if path is not None:
        folder = Path(path).resolve()
        if folder.exists() and not folder.is_dir():
            raise ProjectError(f"{folder} is a file: a project is a folder")
        if not folder.exists() and not create:
            raise ProjectError(f"there is no folder {folder}: run 'ragtune init {path}'")
        folder.mkdir(parents=True, exist_ok=True)
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
