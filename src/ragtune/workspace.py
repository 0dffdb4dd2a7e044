"""The project's folders, its writers' lock, atomic writes, manifests and the lineage that they carry.

A workspace is ``.ragtune/`` in a project. Datasets, models and evaluations are immutable, named folders; one without a manifest.json
is unfinished and may be resumed or replaced. A manifest is written last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from ragtune.errors import LockedError, ProjectError

FOLDER = ".ragtune"
Kind = Literal["datasets", "models", "evaluations", "retrievers"]
_NAME = re.compile(r"\w[\w.-]{0,99}")
RECORDED_PACKAGES = ("ragtune", "torch", "transformers", "sentence-transformers", "faiss-cpu", "numpy", "keras", "keras-hub", "tensorflow")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artifact was made from and by.

    Args:
        kind: datasets, models, evaluations or retrievers.
        name: the artifact's folder.
        key: hash of the stage's version, the settings it reads and its inputs' content; equal keys mean equal artifacts.
        inputs: content hashes, e.g. ``{"corpus": ..., "questions": ...}``, or names and keys of other artifacts.
        settings: what the stage read.
        figures: what came out, for people and reports.
        created: UTC, ISO 8601.
        seconds: wall time: of a model its training over all sittings, without what a kill threw away; of others the run that made them,
            which may have gone on from what an earlier one had answered.
        versions: of the libraries that took part; recorded, not keyed.
        device: where it ran.
    """

    kind: Kind
    name: str
    key: str
    inputs: Mapping[str, Any]
    settings: Mapping[str, Any]
    figures: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    format: int = 1


class Workspace:
    """The folders of one project.

    Args:
        project: the folder that holds ragtune.toml; the workspace is ``.ragtune`` in it and is made when first written to.
    """

    def __init__(self, project: Path) -> None:
        self.project = project.resolve()
        self.folder = self.project / FOLDER

    @property
    def corpus(self) -> Path:
        """The SQLite file that is the truth about the documents."""
        return self.folder / "corpus.db"

    @property
    def index(self) -> Path:
        """Where files derived from the corpus lie."""
        return self.folder / "index"

    @property
    def next_index(self) -> Path:
        """An index that was built in the background and waits to take the other's place."""
        return self.folder / "index.next"

    @property
    def ingested(self) -> Path:
        """What the last ingest counted, and with which settings."""
        return self.folder / "ingest.json"

    @property
    def reports(self) -> Path:
        """Pages of the last report of an ingest; they hold text of documents."""
        return self.folder / "report"

    @property
    def purged(self) -> Path:
        """Sources that were purged and that no ingest takes in again."""
        return self.folder / "purged.json"

    @property
    def loaded(self) -> Path:
        """Documents that other programs' loaders gave; always among the sources of the corpus."""
        return self.folder / "loaded"

    @property
    def uploads(self) -> Path:
        """Files that came over the web page or the API; always among the sources of the corpus, and named ``uploads/…`` there."""
        return self.project / "uploads"

    @property
    def jobs(self) -> Path:
        """What the server was asked to do: a folder for each job."""
        return self.folder / "jobs"

    @property
    def web(self) -> Path:
        """Copies of web pages as they were last fetched."""
        return self.folder / "web"

    @property
    def ledger(self) -> Path:
        """What hosted models answered, and what it cost."""
        return self.folder / "chat.db"

    @property
    def embeddings(self) -> Path:
        """Vectors of questions that hosted embedders gave."""
        return self.folder / "embeddings.db"

    @property
    def adopted(self) -> Path:
        """Which tuned retriever is in force, while one is."""
        return self.folder / "retriever.json"

    @property
    def keys(self) -> Path:
        """Hashes of the keys that clients of the served project have."""
        return self.folder / "keys.db"

    @property
    def generations(self) -> Path:
        """What models wrote for which prompt, so that no answer is generated twice."""
        return self.folder / "generations.db"

    @property
    def traces(self) -> Path:
        """What a server was asked, what it answered, and what people made of it."""
        return self.folder / "traces.db"

    @property
    def served(self) -> Path:
        """Which model was promoted, while one is."""
        return self.folder / "served.json"

    @property
    def audit(self) -> Path:
        """Who promoted which model, and when."""
        return self.folder / "audit.jsonl"

    def artifact(self, kind: Kind, name: str) -> Path:
        """The folder of a named artifact.

        Raises:
            ProjectError: the name is no plain folder name.
        """
        if not _NAME.fullmatch(name):
            raise ProjectError(f"{name!r} cannot be a name: use up to 100 letters, digits, '-', '_' and '.', a letter or digit first")
        return self.folder / kind / name

    def manifests(self, kind: Kind) -> list[Manifest]:
        """Finished artifacts of a kind, oldest first."""
        found = [read_manifest(path.parent) for path in (self.folder / kind).glob("*/manifest.json")]
        return sorted((manifest for manifest in found if manifest), key=lambda manifest: (manifest.created, manifest.name))

    def weights(self, model: str) -> Path:
        """What was trained of a model: its folder ``adapter/``, or ``model/`` where the whole of it was."""
        folder = self.artifact("models", model)
        return folder / ("model" if (folder / "model").is_dir() else "adapter")

    def find(self, kind: Kind, name: str | None) -> Manifest:
        """A finished artifact by name, or the newest.

        Raises:
            ProjectError: there is none; the message says how to make one.
        """
        manifests = self.manifests(kind)
        if name is None and manifests:
            return manifests[-1]
        for manifest in manifests:
            if manifest.name == name:
                return manifest
        command = {"datasets": "dataset", "models": "train", "evaluations": "evaluate", "retrievers": "train --retriever"}[kind]
        known = f" (there are: {', '.join(manifest.name for manifest in manifests)})" if manifests else ""
        raise ProjectError(f"there is no finished {kind[:-1]}{f' named {name}' if name else ''}{known}: run 'ragtune {command}'")

    def find_key(self, kind: Kind, key: str) -> Manifest | None:
        """A finished artifact that was made from just these inputs and settings."""
        return next((manifest for manifest in self.manifests(kind) if manifest.key == key), None)

    @contextlib.contextmanager
    def lock(self, command: str) -> Iterator[None]:
        """Hold the writers' lock: one command writes to a project at a time; readers need none. A killed holder frees it.

        Raises:
            LockedError: another command holds it; the message says which.
            ProjectError: the project cannot be written to.
        """
        who = self.folder / "lock.json"
        lock = FileLock(str(self.folder / "lock"))
        with contextlib.ExitStack() as held:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / ".gitignore").write_text("*\n", encoding="utf-8")
                lock.acquire(timeout=0)
                held.callback(lock.release)
                write_json(who, {"command": command, "pid": os.getpid(), "since": now()})
                held.callback(who.unlink, missing_ok=True)
            except Timeout:
                raise LockedError(
                    f"{_holder(who)} is writing to {self.folder}: wait for it to end, or stop it, and run this again"
                ) from None
            except OSError as error:
                raise ProjectError(f"{self.folder} cannot be written to ({error.strerror}): choose another --project") from None
            yield


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when what was written there is whole and on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_new(files: Mapping[Path, bytes]) -> None:
    """Write files of the user's, where none is but of the same bytes; all of them, or none where one is refused.

    Raises:
        ProjectError: another is there.
    """
    for path, data in files.items():
        if path.exists() and (path.is_dir() or path.read_bytes() != data):
            raise ProjectError(f"{path} is there already, with other contents: choose another path, or remove it")
    for path, data in files.items():
        write_bytes(path, data)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, keys in the order given."""
    write_bytes(path, (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of an artifact, or ``None`` while it is unfinished.

    Raises:
        ProjectError: the file is damaged.
    """
    path = folder / "manifest.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(**values)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ProjectError(f"{path} is damaged ({error}): remove its folder and make it again") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write an artifact's manifest, which makes it finished."""
    write_json(folder / "manifest.json", asdict(manifest))


def stage_key(stage: str, stage_version: int, settings: Any, inputs: Any) -> str:
    """Hash of everything that decides a stage's output, as 16 hex characters."""
    text = json.dumps([stage, stage_version, settings, inputs], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of Python, the platform and the libraries whose behaviour figures depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform(aliased=True, terse=True)}
    for package in RECORDED_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def now() -> str:
    """UTC, ISO 8601, to the microsecond."""
    return datetime.now(UTC).isoformat()


def _holder(path: Path) -> str:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return f"'ragtune {held['command']}' (process {held['pid']}, since {held['since'][:19]} UTC)"
    except (OSError, ValueError, KeyError):
        return "another ragtune command"
