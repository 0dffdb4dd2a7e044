"""Whatever happens to the sources, corpus and index are afterwards what a build from nothing would give."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from ragtune import Project
from ragtune.corpus import Corpus
from ragtune.errors import ReadError
from ragtune.index.exact import ExactStore
from ragtune.index.faiss import FaissStore
from ragtune.pipeline import ingest as ingesting
from ragtune.prepare import ReadResult
from ragtune.prepare import read as readers
from tiny_project import PLACES, document

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

LONG = document(PLACES[0], 3, 30)
TEXTS = [
    LONG,
    LONG.replace("autumn", "winter", 1) + "\nOne more line.",  # nearly the same
    LONG.replace("\n\n", "\n\n\n", 2),  # the same chunks at other places
    "Slate heron.\n\nWillow copper.",
    "Slate heron.\n\n\nWillow copper.",
    document(PLACES[1], 2),
    "# Dirty\n\nSkip to content\n\nThe cafÃ© of wil\u00ad\nlow \u202eopens.  \n",
    " \n",  # nothing to read
]
TABLES = [f"id,name\n{rows}" for rows in ("1,slate\n2,heron\n", "2,heron\n3,gravel\n", "1,slate\n2,slate heron\n3,gravel\n")]
NAMES = ("a.md", "b.md", "deep/a.md", "z.txt", "t.csv")
SETTINGS = (
    "prepare.chunk_size=60",
    "prepare.near_duplicates=1.0",
    'prepare.exclude=["b*"]',
    "prepare.mojibake=false",
    "prepare.chunk_overlap=8",
    "index.backend=exact",
    'prepare.metadata={"a*" = {language = "fr", access = ["staff"]}, "t.csv" = {language = "en"}}',
    'prepare.languages=["en"]',
)


class Stopped(BaseException):
    """What a kill is: nothing may catch it."""


def read_here(sources: Any, *_limits: Any, rules: Any, on_progress: Any) -> Iterator[ReadResult]:
    """Reading without child processes, which cost a second each."""
    for source in sources:
        repairs: Any = Counter()
        try:
            yield ReadResult(source, tuple(readers.read_source(source, rules, repairs)), None, repairs)
        except ReadError as error:
            yield ReadResult(source, None, str(error))


@contextlib.contextmanager
def stopped_after(writes: int) -> Iterator[None]:
    """Raise before the next write to corpus or index that follows so many."""
    left = itertools.count(writes, -1)
    whole, save = Corpus._transaction, FaissStore.save

    def transaction(self: Corpus) -> Any:
        if next(left) <= 0:
            raise Stopped
        return whole(self)

    def torn_save(self: FaissStore, folder: Path) -> None:
        if next(left) <= 0:
            raise Stopped
        save(self, folder)
        if next(left) <= 0:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Corpus, "_transaction", transaction)
        patch.setattr(FaissStore, "save", torn_save)
        with contextlib.suppress(Stopped):
            yield


def state(workspace: Path) -> dict[str, Any]:
    """All of corpus and index but row ids, which tell only in which order chunks came; those are turned into chunk ids."""
    with contextlib.closing(Corpus(workspace / "corpus.db")) as corpus:
        manifest = json.loads((workspace / "index" / "manifest.json").read_text(encoding="utf-8"))
        ids = {chunk.row: chunk.id for chunk in corpus.all_chunks()}
        rows, vectors_nd = corpus.vectors(manifest["embedder"])
        loaded = (FaissStore if manifest["backend"] == "faiss" else ExactStore).load(workspace / "index")
        found = loaded.search(vectors_nd, len(rows))[1] if len(rows) else np.zeros((0, 0), np.int64)
        db = corpus._db
        db.execute("INSERT INTO fulltext (fulltext) VALUES ('integrity-check')")
        return {
            "files": corpus.files(),
            "documents": corpus.all_documents(),
            "duplicates": (corpus.duplicates(), corpus.copies(), corpus.left_out()),
            "repairs": corpus.repairs(),
            "chunks": sorted((c.id, c.document, c.start, c.end, c.text, c.title, c.headings, c.prefix) for c in corpus.chunks(sorted(ids))),
            "fulltext": sorted((ids[row], prefix, text) for row, prefix, text in db.execute("SELECT rowid, prefix, text FROM fulltext")),
            "vectors": {ids[int(row)]: vector.round(4).tolist() for row, vector in zip(rows, vectors_nd, strict=True)},
            "vector keys": sorted(db.execute("SELECT embedded, embedder FROM vectors")),
            "index": (len(loaded), sorted({ids[int(row)] for row in found.flat if row >= 0})),
            "current": (manifest["generation"] == corpus.generation, manifest["corpus"] == corpus.identity),
        }


class Sync(RuleBasedStateMachine):
    """Sources that change, and a project that follows them."""

    embedder: Path

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.roots = [self.folder / "one", self.folder / "two"]
        for root in self.roots:
            root.mkdir()
        (self.roots[0] / "always.md").write_text(document(PLACES[2], 2), encoding="utf-8")
        self.twice = False
        self.deleted: dict[Path, bytes] = {}
        self.chosen: set[str] = set()
        self.version = 1
        self.purged: list[str] = []
        self.project = self.make("project")
        self.settle()

    def make(self, name: str) -> Path:
        (self.folder / name).mkdir()
        (self.folder / name / "ragtune.toml").write_text(
            f"[prepare]\nchunk_size = 40\n[embed]\nmodel = {json.dumps(str(self.embedder))}\n", encoding="utf-8"
        )
        return self.folder / name

    def open(self, project: Path) -> Project:
        return Project(project, overrides=sorted(self.chosen))

    def bring_up(self, project: Path) -> None:
        opened = self.open(project)
        opened.ingest(self.named())
        opened.index()

    def named(self) -> list[Path]:
        """The folders to ingest; where one is named twice, once as a part of another."""
        deep = self.folder / "one" / "deep"
        return [*([deep] if self.twice and deep.is_dir() else []), *self.roots]

    def settle(self) -> None:
        """Run, and compare with a project that never saw anything else."""
        self.bring_up(self.project)
        fresh = self.make("fresh")
        try:
            if (self.project / ".ragtune" / "purged.json").exists():
                (fresh / ".ragtune").mkdir()
                shutil.copy(self.project / ".ragtune" / "purged.json", fresh / ".ragtune")
            self.bring_up(fresh)
            here, there = state(self.project / ".ragtune"), state(fresh / ".ragtune")
            assert here["current"] == there["current"] == (True, True)
            for part in there:
                assert here[part] == there[part], part
        finally:
            shutil.rmtree(fresh)

    def files(self) -> list[Path]:
        return sorted(path for root in self.roots for path in root.rglob("*") if path.is_file() and path.name != "always.md")

    @rule(name=st.sampled_from(NAMES), number=st.integers(0, 99), root=st.integers(0, 1))
    def write(self, name: str, number: int, root: int) -> None:
        path = self.roots[root] / name
        path.parent.mkdir(exist_ok=True)
        texts = TABLES if path.suffix == ".csv" else TEXTS
        path.write_text(texts[number % len(texts)], encoding="utf-8")
        self.settle()

    @precondition(lambda self: self.files())
    @rule(number=st.integers(0, 99), name=st.sampled_from(NAMES), copy=st.booleans())
    def move(self, number: int, name: str, copy: bool) -> None:
        path = self.files()[number % len(self.files())]
        target = path.parent / Path(name).with_suffix(path.suffix).name
        if target != path:
            shutil.copy(path, target)
            if not copy:
                path.unlink()
        self.settle()

    @precondition(lambda self: self.files())
    @rule(number=st.integers(0, 99))
    def delete(self, number: int) -> None:
        path = self.files()[number % len(self.files())]
        self.deleted[path] = path.read_bytes()
        path.unlink()
        self.settle()

    @precondition(lambda self: self.deleted)
    @rule(number=st.integers(0, 99))
    def restore(self, number: int) -> None:
        path = sorted(self.deleted)[number % len(self.deleted)]
        path.write_bytes(self.deleted.pop(path))
        self.settle()

    @precondition(lambda self: self.files())
    @rule(number=st.integers(0, 99))
    def touch(self, number: int) -> None:
        os.utime(self.files()[number % len(self.files())])
        self.settle()

    @rule()
    def swap_the_sources(self) -> None:
        self.roots.reverse()
        self.settle()

    @rule()
    def name_a_folder_twice(self) -> None:
        self.twice = not self.twice
        self.settle()

    @rule(setting=st.sampled_from(SETTINGS))
    def change_a_setting(self, setting: str) -> None:
        self.chosen ^= {setting}
        self.settle()

    @rule()
    def change_a_reader(self) -> None:
        self.version += 1
        readers._READERS[".md"] = ("markdown", self.version)
        self.settle()

    @rule(number=st.integers(0, 99))
    def purge(self, number: int) -> None:
        with contextlib.closing(Corpus(self.project / ".ragtune" / "corpus.db")) as corpus:
            known = [source for source, _ in corpus.sources() if "always" not in source]
        if known:
            self.open(self.project).purge([known[number % len(known)]])
            self.purged = [entry["source"] for entry in json.loads((self.project / ".ragtune" / "purged.json").read_text())]
        self.settle()

    @precondition(lambda self: self.purged)
    @rule()
    def undo_the_purges(self) -> None:
        self.open(self.project).undo_purge(self.purged)
        self.purged = []
        self.settle()

    @rule(name=st.sampled_from(NAMES[:4]), number=st.integers(0, len(TEXTS) - 1), writes=st.integers(0, 9), indexed=st.booleans())
    def change_and_stop(self, name: str, number: int, writes: int, indexed: bool) -> None:
        """A run that is killed somewhere, then another."""
        (self.roots[0] / name).parent.mkdir(exist_ok=True)
        (self.roots[0] / name).write_text(TEXTS[number], encoding="utf-8")
        if indexed:
            self.open(self.project).ingest(self.named())
        with stopped_after(writes):
            self.bring_up(self.project)
        self.settle()

    @rule(setting=st.sampled_from(SETTINGS), reader=st.booleans(), writes=st.integers(0, 9), kept=st.booleans())
    def remake_and_stop(self, setting: str, reader: bool, writes: int, kept: bool) -> None:
        """A run that reads everything again and is killed somewhere, then another, which may be of the settings from before."""
        before = set(self.chosen)
        self.chosen ^= {setting}
        if reader:
            self.version += 1
            readers._READERS[".md"] = ("markdown", self.version)
        with stopped_after(writes):
            self.bring_up(self.project)
        self.chosen = self.chosen if kept else before
        self.settle()

    @rule(kind=st.sampled_from(("index", "vectors.faiss", "manifest.json")))
    def lose_the_index(self, kind: str) -> None:
        index = self.project / ".ragtune" / "index"
        if kind == "index":
            shutil.rmtree(index)
        else:
            (index / kind).unlink(missing_ok=True)
        self.settle()

    def teardown(self) -> None:
        readers._READERS[".md"] = ("markdown", 1)
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


@pytest.mark.parametrize("examples", [int(os.environ.get("RAGTUNE_SYNC_EXAMPLES", "6"))])
def test_a_synced_project_equals_one_that_is_built_from_nothing(
    examples: int, tiny_embedder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingesting, "read_sources", read_here)
    monkeypatch.setattr(Sync, "embedder", tiny_embedder, raising=False)
    run_state_machine_as_test(
        Sync,
        settings=settings(
            max_examples=examples,
            stateful_step_count=15,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            phases=[Phase.generate],  # shrinking takes minutes: set RAGTUNE_SYNC_EXAMPLES, or add Phase.shrink, to look closer
        ),
    )
