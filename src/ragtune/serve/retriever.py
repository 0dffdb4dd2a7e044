"""The retriever of a running server: opened once for each index, and exchanged when a whole new one lies on disk.

Whoever looks something up holds the retriever that was there when it began; the files of an older one go when the last has let go of it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ragtune import build
from ragtune.compute import Compute, Computing, at_once
from ragtune.config import Settings
from ragtune.corpus import Corpus
from ragtune.errors import CorpusError, RagtuneError
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.index import current_store
from ragtune.pipeline.serving import ServingRetriever
from ragtune.pipeline.stores import read_manifest
from ragtune.pipeline.threshold import load_threshold
from ragtune.protocols import Embedder, VectorStore
from ragtune.types import Threshold, Where
from ragtune.workspace import Workspace

_log = logging.getLogger(__name__)


@dataclass
class _Opened:
    """One index with what it was opened for."""

    state: Any
    corpus: Corpus  # that the store reads from
    embedder: Embedder
    store: VectorStore
    reranking: build.Reranking | None
    idle: list[Corpus] = field(default_factory=list)  # connections of their own for who searches at the same time
    held: int = 0


@dataclass(frozen=True)
class Lease:
    """What a question is looked up with.

    Args:
        corpus: read by nobody else meanwhile.
        embedder: of the index.
        retriever: over both.
    """

    corpus: Corpus
    embedder: Embedder
    retriever: ServingRetriever


class HotRetriever:
    """The index as it stands, for many threads.

    Args:
        workspace: of the project.
        settings: embed, index and retrieve are read.
    """

    def __init__(self, workspace: Workspace, settings: Settings) -> None:
        self._workspace = workspace
        self._settings = settings
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._now: _Opened | None = None
        self._threshold: tuple[Any, Threshold | None] | None = None
        hosted = is_hosted(settings.embed.model) and not settings.retrieve.reranker
        self.compute: Compute = at_once if hosted else Computing()
        """Runs what the embedder or the reranker does."""

    @contextlib.contextmanager
    def lease(self, where: Where | None = None) -> Iterator[Lease]:
        """The retriever as it is now, which stays what it is for who holds it.

        Raises:
            CorpusError: there is no index yet, or it is older than the corpus and no other was opened before.
        """
        opened = self._take()
        corpus = None
        try:
            corpus = self._connection(opened)
            made = ServingRetriever(
                self._workspace, self._settings, corpus, opened.embedder, opened.store, where, reranking=opened.reranking
            )
            yield Lease(corpus, opened.embedder, made)
        finally:
            self._give_back(opened, corpus)

    def threshold(self) -> Threshold | None:
        """The score from which on something counts as found, if one was chosen."""
        path = self._workspace.folder / "threshold.json"
        stamp = path.stat().st_mtime_ns if path.is_file() else None
        known = self._threshold
        if known is None or known[0] != stamp:
            known = self._threshold = (stamp, None if stamp is None else load_threshold(self._workspace, self._settings))
        return known[1]

    def close(self) -> None:
        """Let go of the files; who holds them keeps them to the end."""
        with self._lock:
            retired, self._now = self._now, None
            if retired is not None and not retired.held:
                _close(retired)

    def _take(self) -> _Opened:
        state = self._state()
        with self._lock:
            now = self._now
            if now is not None:
                now.held += 1
        if now is not None and now.state == state:
            return now
        try:
            changed = self._open(state, wait=now is None)
        except RagtuneError as error:
            if now is None:
                raise
            if not isinstance(error, CorpusError):  # which is said while a new index is made: the old one serves until it is whole
                _log.warning("the new index cannot be opened, the old one serves: %s", error)
            return now
        except BaseException:
            if now is not None:
                self._give_back(now, None)
            raise
        if changed is None:
            assert now is not None  # noqa: S101 - only who has none waits
            return now
        if now is not None:
            self._give_back(now, None)
        return changed

    def _open(self, state: Any, *, wait: bool) -> _Opened | None:
        """A newer index, held; ``None`` where another thread is opening it already."""
        if not self._opening.acquire(blocking=wait):
            return None
        try:
            with self._lock:
                if self._now is not None and self._now.state == state:
                    self._now.held += 1
                    return self._now
            opened = self._load(state)
            opened.held = 1
            with self._lock:
                retired, self._now = self._now, opened
                if retired is not None and not retired.held:
                    _close(retired)
            return opened
        finally:
            self._opening.release()

    def _load(self, state: Any) -> _Opened:
        if self._now is not None and not state[0]:
            raise CorpusError("the index is being made")
        corpus = build.open_corpus(self._workspace)
        try:
            embedder = build.embedder(self._workspace, self._settings)
            if self._now is not None and (state[0] or {}).get("generation") != corpus.generation:
                raise CorpusError("the index is older than the corpus")
            store = current_store(self._workspace, self._settings, corpus, embedder)
            reranking = build.reranking(self._settings, build.adopted(self._workspace, self._settings))
        except BaseException:
            corpus.close()
            raise
        return _Opened(state, corpus, embedder, store, reranking)

    def _state(self) -> Any:
        """Whatever decides which index is to serve, as it lies on disk now."""
        try:
            found = self._workspace.corpus.stat()
            file = (found.st_dev, found.st_ino)
        except FileNotFoundError:
            file = None
        return read_manifest(self._workspace.index), file, build.read_adoption(self._workspace)

    def _connection(self, opened: _Opened) -> Corpus:
        with self._lock:
            if opened.idle:
                return opened.idle.pop()
        return build.open_corpus(self._workspace)

    def _give_back(self, opened: _Opened, corpus: Corpus | None) -> None:
        with self._lock:
            if corpus is not None:
                opened.idle.append(corpus)
            opened.held -= 1
            if not opened.held and opened is not self._now:
                _close(opened)


def _close(opened: _Opened) -> None:
    for corpus in (opened.corpus, *opened.idle):
        corpus.close()
