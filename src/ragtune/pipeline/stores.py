"""The files of the vector index: made and tuned, patched, put in place whole, and described by a manifest.

All of it can be made again from the corpus. The manifest comes last; files without one that fits them belong to nobody and are made again.
"""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ragtune import build
from ragtune.config import IndexSettings
from ragtune.corpus import Corpus
from ragtune.errors import CorpusError
from ragtune.hosted.failures import other_dimension
from ragtune.index.choose import CODED, CODES_FROM, EXACT_BELOW, KINDS, Choice, Kind, choose, lists_for
from ragtune.index.tune import Sample, TunableStore, measure, tune
from ragtune.progress import Progress
from ragtune.protocols import Float32, Int64, VectorStore
from ragtune.types import Where
from ragtune.workspace import Workspace, now, write_json

FORMAT = 2
MANIFEST = "manifest.json"
BACKGROUND_FROM = 50_000
"""Vectors from which a rebuilding takes long enough to be left to a process of its own."""
REBUILD_SHARE = 0.3
"""Vectors that came and went since an index was built, as a share of those it was built of, that make it be built anew."""
_OTHER_KIND_SHARE = 0.1  # the same, where another kind would be chosen now
_WORN = 1.5  # times what a search read when the index was built
_BLOCK = 8192
_SAMPLE = 800
_TRAINING = 64  # vectors a list
_ATTEMPTS = 20
_MOST_READ = 0.4  # of the lists; beyond it comparing with every vector in turn is as fast, as the benchmark has half the time at a fifth


@dataclass(frozen=True)
class Source:
    """Whose vectors an index holds.

    Args:
        corpus: where they are.
        settings: the index's.
        fingerprint: of the embedder.
        name: of the embedder.
        dimension: of the vectors.
    """

    corpus: Corpus
    settings: IndexSettings
    fingerprint: str
    name: str
    dimension: int

    def rows(self) -> Int64:
        """Of all chunks, rising."""
        return self.corpus.rows(Where())

    def exact(self, ids_n: Int64) -> tuple[Int64, Float32]:
        """Exact vectors of rows, with the rows that have one."""
        found_n, vectors_nd = self.corpus.vectors(self.fingerprint, ids_n.tolist())
        return found_n, vectors_nd if len(found_n) else np.zeros((0, self.dimension), np.float32)

    def blocks(self, rows_n: Int64) -> Iterator[tuple[Int64, Float32]]:
        """Rows and their vectors, some thousands at a time."""
        for start in range(0, len(rows_n), _BLOCK):
            yield self.exact(rows_n[start : start + _BLOCK])

    def owns(self, manifest: Mapping[str, Any] | None) -> bool:
        """Whether files are this corpus's (not one that was removed and made again), this embedder's, and made by these settings."""
        if manifest is None or manifest.get("format") != FORMAT:
            return False
        found = [manifest[name] for name in ("corpus", "backend", "embedder", "dimension", "asked")]
        return found == [self.corpus.identity, self.settings.backend, self.fingerprint, self.dimension, self.asked()]

    def asked(self) -> dict[str, Any]:
        """The settings that decide the kind."""
        return self.settings.model_dump(mode="json", exclude={"backend"})

    def choice(self, vectors: int) -> Choice:
        """The kind for so many vectors."""
        index = self.settings
        if index.backend == "exact":
            return Choice("flat", "index.backend = exact compares with every vector", {})
        return choose(vectors, self.dimension, kind=index.kind, recall=index.recall, memory=index.memory)

    def otherwise(self, vectors: int) -> Iterator[str]:
        """What would have another kind chosen."""
        index, here = self.settings, self.choice(vectors)
        if index.backend == "exact" or index.kind != "auto":
            yield f"index.{'backend' if index.backend == 'exact' else 'kind'} decides; its default leaves the choice to number and memory"
            return
        for more in (CODES_FROM, EXACT_BELOW):
            if vectors < more and self.choice(more).kind != here.kind:
                yield f"from {more:,} vectors on: {self.choice(more).kind}"
        for each in KINDS:
            less = here.sizes[each] // 2**20
            if 0 < less < (index.memory or math.inf):
                kind = choose(vectors, self.dimension, recall=index.recall, memory=less).kind
                if kind != here.kind:
                    yield f"index.memory = {less}: {kind}"
        if index.recall < 1 and here.kind != "flat":
            yield "index.recall = 1: flat"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What describes the files of a folder; ``None`` where nothing whole does."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return manifest
    except (OSError, ValueError):
        return None


def load(source: Source, folder: Path, manifest: Mapping[str, Any], *, mapped: bool = True) -> VectorStore:
    """The store that a manifest describes.

    Raises:
        CorpusError: it is missing, torn or another kind.
    """
    if manifest["kind"] in CODED:
        source.corpus.map_file()
    return build.load_store(source.settings, folder, manifest["kind"], manifest["parameters"], source.exact, mapped=mapped)


def load_current(source: Source, folder: Path) -> VectorStore | None:
    """The store of the corpus as it is now; ``None`` where there is none. Another process may be putting a new one in place meanwhile."""
    for _ in range(_ATTEMPTS):
        manifest = read_manifest(folder)
        if manifest is not None and (not source.owns(manifest) or manifest["generation"] != source.corpus.generation):
            return None
        if manifest is not None:
            with contextlib.suppress(CorpusError):
                store = load(source, folder, manifest)
                if read_manifest(folder) == manifest:
                    return store
                continue
            if read_manifest(folder) == manifest:
                return None
        elif not any(folder.glob("*")):
            return None
        time.sleep(0.05)
    return None


def make(source: Source, progress: Progress) -> tuple[VectorStore, dict[str, Any]]:
    """Build an index of the kind that suits, tune it, and describe it; where it does not reach the wanted recall, exact search instead."""
    started = time.monotonic()
    generation = source.corpus.generation  # before the rows: what comes between is patched in later
    rows_n = source.rows()
    choice = source.choice(len(rows_n))
    kind, why = choice.kind, choice.why
    store: TunableStore | None = None
    found: dict[str, Any] = {"parameters": {}, "measured": None}
    if kind != "flat":
        store, found, failed = _approximate(source, kind, rows_n, progress)
        if store is None:
            kind, why = "flat", f"{why}; but {failed}, so every vector is compared"
    wear = None if store is None else store.wear
    held = store or flat(source, rows_n)
    return held, {
        "format": FORMAT,
        "corpus": source.corpus.identity,
        "generation": generation,
        "backend": source.settings.backend,
        "embedder": source.fingerprint,
        "name": source.name,
        "dimension": source.dimension,
        "vectors": len(held),
        "asked": source.asked(),
        "chosen": choice.kind,
        "kind": kind,
        "why": why,
        **found,
        "build": secrets.token_hex(8),
        "built": {
            "at": now(),
            "vectors": len(held),
            "seconds": round(time.monotonic() - started, 3),
            "wear": wear,
        },
        "changed": 0,
        "action": "built",
    }


def flat(source: Source, rows_n: Int64 | None = None) -> VectorStore:
    """An exact store of all vectors."""
    store = build.new_store(source.settings, source.dimension)
    for ids_n, vectors_nd in source.blocks(source.rows() if rows_n is None else rows_n):
        if len(ids_n) and vectors_nd.shape[1] != source.dimension:
            raise CorpusError(other_dimension(source.name, source.dimension, vectors_nd.shape[1]))
        store.add(ids_n, vectors_nd)
    return store


def _approximate(source: Source, kind: Kind, rows_n: Int64, progress: Progress) -> tuple[TunableStore | None, dict[str, Any], str]:
    """A tuned store with its parameters and figures; or ``None`` and why not."""
    progress.start("index", len(rows_n))
    rng = np.random.default_rng(0)
    lists = lists_for(len(rows_n))
    if kind in CODED:
        source.corpus.map_file()
    _, training_nd = source.exact(np.sort(rng.choice(rows_n, min(len(rows_n), _TRAINING * lists), replace=False)))
    store = build.train_store(kind, training_nd, lists, source.exact)
    own_q, vectors_qd = source.exact(np.sort(rng.choice(rows_n, min(len(rows_n), _SAMPLE), replace=False)))
    sample = Sample.aside(vectors_qd, own_q)
    done = 0
    for ids_n, vectors_nd in source.blocks(rows_n):
        store.add(ids_n, vectors_nd)
        sample.see(ids_n, vectors_nd)
        done += len(ids_n)
        progress.update("index", done, f"vectors in the index ({kind})")
    setting = tune(store, kind, lists, sample.half(0), source.settings.recall)
    if setting is None:
        reached = measure(store, sample.half(1))
        return None, {"parameters": {}, "measured": None}, f"at its most thorough it finds {reached.recall:.3f} of the ten nearest"
    if source.settings.kind == "auto" and kind == "ivf" and setting["probes"] > _MOST_READ * lists:
        return None, {"parameters": {}, "measured": None}, f"recall would take {setting['probes']} of {lists} lists, which saves no time"
    measured = measure(store, sample.half(1))
    return store, {"parameters": setting, "measured": asdict(measured)}, ""


def patch(source: Source, store: VectorStore, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Bring a store up to the corpus, and give its new manifest; ``None`` where it does not come out right."""
    generation = source.corpus.generation
    changes = source.corpus.changes(manifest["generation"])
    added_n = np.array([row for row, is_added in changes.items() if is_added], dtype=np.int64)
    store.remove(np.array(sorted(changes), dtype=np.int64))
    for ids_n, vectors_nd in source.blocks(added_n):
        store.add(ids_n, vectors_nd)
    if len(store) != source.corpus.stats().chunks:
        return None
    return {
        **manifest,
        "generation": generation,
        "vectors": len(store),
        "changed": manifest["changed"] + len(changes),
        "action": f"patched: {len(added_n)} added, {len(changes) - len(added_n)} removed",
    }


def why_rebuild(source: Source, manifest: Mapping[str, Any], vectors: int, changed: int, store: VectorStore | None = None) -> str | None:
    """Why an index should be built anew; ``None`` where it may stay.

    Args:
        source: whose it is.
        manifest: of the index.
        vectors: that it holds, or will.
        changed: vectors that came or went since it was built.
        store: as it is now, where it is at hand.
    """
    built = manifest["built"]
    share = changed / max(1, built["vectors"])
    chosen = source.choice(vectors).kind
    if chosen != manifest["chosen"] and share > _OTHER_KIND_SHARE:
        return f"for {vectors:,} vectors {chosen} is chosen, no longer {manifest['chosen']}"
    if manifest["kind"] == "flat":
        return None
    if share > REBUILD_SHARE:
        return f"{changed:,} vectors came or went since it was built of {built['vectors']:,}"
    wear = 0.0 if store is None else cast("TunableStore", store).wear
    if wear > _WORN * built["wear"]:
        return f"a search reads {wear / built['wear']:.2f} times what it did when it was built"
    return None


def put(folder: Path, store: VectorStore, manifest: Mapping[str, Any]) -> None:
    """Put a store in place. It is written whole beside the folder before, so that a reader misses the old one for a moment only."""
    staged = _part(folder)
    shutil.rmtree(staged, ignore_errors=True)  # a killed run's
    store.save(staged)
    move(staged, folder, manifest)


def move(staged: Path, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Put files in place that lie in another folder. Between, they belong to no generation: the manifest goes first and comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    (staged / MANIFEST).unlink(missing_ok=True)
    for path in folder.glob("*"):
        if not (staged / path.name).exists():
            path.unlink()
    for path in staged.iterdir():
        path.replace(folder / path.name)
    write_json(folder / MANIFEST, {**manifest, "bytes": sum(path.stat().st_size for path in folder.glob("*"))})
    shutil.rmtree(staged, ignore_errors=True)


def forget(workspace: Workspace) -> None:
    """Remove the index and whatever was to become one."""
    for folder in (workspace.index, workspace.next_index):
        for each in (folder, _part(folder)):
            shutil.rmtree(each, ignore_errors=True)


def _part(folder: Path) -> Path:
    """Where a folder's files are written before they are put in place."""
    return folder.with_name(folder.name + ".part")
