"""Bring the index up to the corpus: patched in place, or built anew, which for a large one is left to a process of its own.

That process needs no lock while it builds, for it only reads the corpus. What it made waits in a folder of its own until it, or the next
command that holds the lock, puts it in the index's place and patches in what changed meanwhile. Killed, it leaves nothing that is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ragtune import build
from ragtune.config import IndexSettings
from ragtune.errors import CorpusError, LockedError
from ragtune.pipeline import stores
from ragtune.pipeline.records import IndexExplanation
from ragtune.pipeline.stores import Source, load, make, move, patch, put, read_manifest, why_rebuild
from ragtune.progress import Progress, Silent
from ragtune.workspace import Workspace

_LOCK = "index.next.lock"
_LOG = "index.next.log"
_WAIT = 60.0  # seconds for the writers' lock; after that the next command that has it puts the index in place
_started: list[subprocess.Popen[bytes]] = []  # kept, since Python complains of a child that it forgot


def bring_up(workspace: Workspace, source: Source, progress: Progress, *, rebuild: bool = False) -> tuple[dict[str, Any], str | None]:
    """Make the index equal to the corpus; the writers' lock is held.

    Args:
        workspace: of the project.
        source: whose index it is.
        progress: told what goes on.
        rebuild: build it anew, whatever there is.

    Returns:
        Its manifest, and why it should be built anew in the background, where it should.
    """
    _adopt(workspace, source)
    if not rebuild:
        with contextlib.suppress(CorpusError):  # torn or gone: it is made again below
            kept = _keep(workspace, source)
            if kept is not None:
                return kept
    store, manifest = make(source, progress)
    put(workspace.index, store, manifest)
    return manifest, None


def start_rebuild(workspace: Workspace, source: Source, parent: str) -> subprocess.Popen[bytes]:
    """Build an index in a process of its own that outlives this one; where one is at it already, that one ends at once.

    ``-P``: what lies in the folder that this one was started in is not taken for a module.

    Args:
        workspace: of the project.
        source: whose index it is.
        parent: the ``build`` of the index whose place it takes. No other's: one that was purged meanwhile must not come back.
    """
    order = {
        "project": str(workspace.project),
        "index": source.settings.model_dump(mode="json"),
        "embedder": [source.fingerprint, source.name, source.dimension],
        "parent": parent,
    }
    with (workspace.folder / _LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ragtune.pipeline.rebuild", json.dumps(order)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _started.append(process)
    return process


def rebuild_apart(workspace: Workspace, settings: IndexSettings, embedder: tuple[str, str, int], parent: str) -> None:
    """What the process of :func:`start_rebuild` does."""
    lock = FileLock(str(workspace.folder / _LOCK))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return
    with lock, contextlib.closing(build.open_corpus(workspace)) as corpus:
        source = Source(corpus, settings, *embedder)
        store, manifest = make(source, Silent())
        put(workspace.next_index, store, {**manifest, "parent": parent, "action": "built in the background"})
        _put_in_place(workspace, source)


def explain(workspace: Workspace, settings: IndexSettings, fingerprint: str | None = None) -> IndexExplanation:
    """Why the index is as it is, from its manifest; nothing is loaded or built.

    Args:
        workspace: of the project.
        settings: of the index.
        fingerprint: of the embedder that serves; ``None`` takes it to be the index's.

    Raises:
        CorpusError: there is no index yet.
    """
    manifest = read_manifest(workspace.index)
    if manifest is None or manifest.get("format") != stores.FORMAT:
        raise CorpusError("there is no index yet: run 'ragtune index'")
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        source = Source(corpus, settings, fingerprint or manifest["embedder"], manifest["name"], manifest["dimension"])
        vectors = manifest["vectors"]
        return IndexExplanation(
            vectors,
            manifest["dimension"],
            _embedder_name(workspace, manifest),
            manifest["kind"],
            manifest["why"],
            manifest["parameters"],
            manifest["measured"],
            source.choice(vectors).sizes,
            manifest["bytes"],
            manifest["action"],
            manifest["built"],
            manifest["changed"],
            source.owns(manifest) and manifest["generation"] == corpus.generation,
            why_rebuild(source, manifest, vectors, manifest["changed"]),
            tuple(source.otherwise(vectors)),
        )


def _embedder_name(workspace: Workspace, manifest: dict[str, Any]) -> str:
    """An embedder's own; of a tuned one, all of which are named after the same folder, whose: the serving one's, else the newest's."""
    tuned = [each.name for each in workspace.manifests("retrievers") if manifest["embedder"] in each.figures["embedders"]]
    if not tuned:
        return str(manifest["name"])
    serves = (build.read_adoption(workspace) or {}).get("name")
    return f"the embedder of {serves if serves in tuned else tuned[-1]}"


def _keep(workspace: Workspace, source: Source) -> tuple[dict[str, Any], str | None] | None:
    """The index that there is, patched where that is needed; ``None`` where it is built anew at once."""
    manifest = read_manifest(workspace.index)
    if manifest is None or not source.owns(manifest):
        return None
    vectors, changed = source.corpus.stats().chunks, manifest["changed"]
    current = manifest["generation"] == source.corpus.generation
    if not current:
        changed += len(source.corpus.changes(manifest["generation"]))
    due = why_rebuild(source, manifest, vectors, changed)
    if due is not None and vectors < stores.BACKGROUND_FROM:
        return None
    store = load(source, workspace.index, manifest, mapped=current)
    if current:
        return {**manifest, "action": "unchanged"}, due
    patched = patch(source, store, manifest)
    if patched is None:
        return None
    put(workspace.index, store, patched)
    return patched, due or why_rebuild(source, patched, vectors, changed, store)


def _adopt(workspace: Workspace, source: Source) -> bool:
    """Put an index in place that was built in the background, if it was built for the one that is there."""
    made, there = read_manifest(workspace.next_index), read_manifest(workspace.index)
    if made is None:
        return False
    if there is None or not source.owns(made) or made["parent"] != there.get("build"):
        shutil.rmtree(workspace.next_index, ignore_errors=True)
        return False
    move(workspace.next_index, workspace.index, made)
    return True


def _put_in_place(workspace: Workspace, source: Source) -> None:
    until = time.monotonic() + _WAIT
    while time.monotonic() < until:
        try:
            with workspace.lock("index"):
                if _adopt(workspace, source):  # else another index was made meanwhile, of another embedder perhaps, and stays
                    bring_up(workspace, source, Silent())
                return
        except LockedError:
            time.sleep(0.2)


if __name__ == "__main__":
    os.nice(10)  # nobody waits for it
    _order = json.loads(sys.argv[1])
    rebuild_apart(Workspace(Path(_order["project"])), IndexSettings(**_order["index"]), tuple(_order["embedder"]), _order["parent"])
