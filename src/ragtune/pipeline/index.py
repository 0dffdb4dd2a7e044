"""Bring vectors and the vector index up to the corpus, and search them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ragtune import build
from ragtune.config import Settings
from ragtune.corpus import Corpus
from ragtune.errors import CorpusError, SpendingCapError
from ragtune.hosted.failures import other_dimension
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.consent import Bill, Confirm, agree_to, estimate
from ragtune.pipeline.records import IndexResult, SearchHit
from ragtune.pipeline.serving import ServingRetriever
from ragtune.pipeline.threshold import load_threshold
from ragtune.progress import Progress
from ragtune.protocols import Embedder, VectorStore
from ragtune.types import Usage, Where
from ragtune.workspace import Workspace, write_json

_BATCH = 256
_MANIFEST = "manifest.json"
_OLD = "the index is older than the corpus: run 'ragtune index'"


def build_index(
    workspace: Workspace,
    settings: Settings,
    progress: Progress,
    *,
    quiet: bool = False,
    yes: bool = False,
    confirm: Confirm | None = None,
) -> IndexResult:
    """Embed what has no vector yet, then patch the index, or build it anew where it is missing, torn or of another embedder.

    Vectors are stored batch by batch, so a killed run embeds nothing twice, and one that the spending cap stops has lost nothing.

    Args:
        workspace: with an ingested corpus.
        settings: embed and index are read.
        progress: told what goes on.
        quiet: where nothing is to be embedded, say nothing.
        yes: spend what a hosted embedder costs, up to ``chat.max_cost``.
        confirm: asked before money is spent, where ``yes`` was not said.

    Raises:
        CorpusError: nothing was ingested yet.
        ConsentError: it costs money and nobody agreed to it.
        ChatError: a hosted embedder does not answer, or the cap is reached.
    """
    started = time.monotonic()

    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        embedder = build.embedder(workspace, settings)
        if is_hosted(settings.embed.model):
            bill = index_bill(workspace, settings, corpus)
            agree_to([bill] if bill.tokens else [], settings, yes=yes, confirm=confirm, progress=progress)
        embedded = embed_missing(corpus, embedder, progress)
        manifest = _read_manifest(workspace)
        if manifest is None or manifest.get("generation") != corpus.generation:
            corpus.collect_vectors()  # before the index is written, or a run that is killed in between would leave them for good
        store, action = _bring_up(workspace, settings, corpus, embedder)
        generation = corpus.generation
    result = IndexResult(embedded, len(store), generation, action, round(time.monotonic() - started, 3))
    if not quiet or embedded:
        progress.finish("index", f"{embedded} chunks embedded, {len(store)} vectors ({action})")
    return result


def index_bill(workspace: Workspace, settings: Settings, corpus: Corpus) -> Bill:
    """What the embedder will be asked to bring the index up to the corpus; nobody is asked for it."""
    if not is_hosted(settings.embed.model):
        return Bill("embeds", settings.embed.model, 0, 0.0)
    embedder = build.embedder(workspace, settings, asks=False)
    texts = [text for _, text in corpus.missing_vectors(embedder.fingerprint)]
    tokens = sum(embedder.count_tokens(texts)) if texts else 0
    return estimate(workspace, settings, embedder.name, f"embeds {len(texts)} chunks", len(texts), Usage(tokens))


def questions_bill(workspace: Workspace, settings: Settings, texts: Sequence[str]) -> list[Bill]:
    """What a hosted embedder will be asked to look questions up; nothing where it was asked for all of them before."""
    if not is_hosted(settings.embed.model):
        return []
    embedder = build.embedder(workspace, settings, asks=False)
    try:
        embedder.embed_queries(texts)
    except SpendingCapError:
        usage = Usage(sum(embedder.count_tokens(texts)))
        return [estimate(workspace, settings, embedder.name, f"embeds up to {len(texts)} questions", len(texts), usage)]
    return []


def check_index(workspace: Workspace, settings: Settings, corpus: Corpus) -> None:
    """Nobody is asked for it.

    Raises:
        CorpusError: chunks have no vectors yet.
    """
    if corpus.missing_vectors(build.embedder(workspace, settings, asks=False).fingerprint):
        raise CorpusError(_OLD)


def current_store(workspace: Workspace, settings: Settings, corpus: Corpus, embedder: Embedder) -> VectorStore:
    """The index as it lies on disk; where it cannot be read it is made again in memory, for it holds nothing that the corpus does not.

    Raises:
        CorpusError: chunks have no vectors yet.
    """
    manifest = _read_manifest(workspace)
    if manifest and _of(manifest, settings, corpus, embedder) and manifest["generation"] == corpus.generation:
        try:
            return build.load_store(settings, workspace.index)
        except CorpusError:
            pass
    if corpus.missing_vectors(embedder.fingerprint):
        raise CorpusError(_OLD)
    return _from_corpus(settings, corpus, embedder)


@contextlib.contextmanager
def open_retriever(workspace: Workspace, settings: Settings, where: Where | None = None) -> Iterator[ServingRetriever]:
    """The retriever that serves: hybrid search over the index as it stands, with whatever ``retrieve`` puts after it.

    Args:
        workspace: of the project.
        settings: embed, index and retrieve are read.
        where: which documents may be found.

    Raises:
        CorpusError: there is no index yet, or it is older than the corpus.
    """
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        made = build.embedder(workspace, settings)
        store = current_store(workspace, settings, corpus, made)
        reranking = build.reranking(settings, build.adopted(workspace, settings))
        yield ServingRetriever(workspace, settings, corpus, made, store, where, reranking=reranking)


def search(workspace: Workspace, settings: Settings, text: str, k: int, where: Where | None = None) -> list[SearchHit]:
    """The ``k`` best chunks for a text."""
    with open_retriever(workspace, settings, where) as retriever:
        hits = retriever.retrieve([text], k)[0]
    threshold = load_threshold(workspace, settings)
    return [
        SearchHit(
            hit.rank,
            round(hit.score, 4),
            hit.chunk.document,
            " › ".join(hit.chunk.headings),
            hit.chunk.start,
            hit.chunk.end,
            hit.chunk.text,
            None if threshold is None else hit.score >= threshold.score,
        )
        for hit in hits
    ]


def embed_missing(corpus: Corpus, embedder: Embedder, progress: Progress) -> int:
    """Embed the chunks that have no vector of this embedder yet, batch by batch; how many there were."""
    missing = sorted(corpus.missing_vectors(embedder.fingerprint), key=lambda item: (len(item[1]), item[0]))
    if not missing:
        return 0
    progress.start("index", len(missing))
    known = corpus.dimension(embedder.fingerprint)
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        vectors_nd = embedder.embed_documents([text for _, text in batch])
        if known is not None and known != vectors_nd.shape[1]:
            raise CorpusError(other_dimension(embedder.name, vectors_nd.shape[1], known))
        corpus.put_vectors(embedder.fingerprint, [key for key, _ in batch], vectors_nd)
        progress.update("index", start + len(batch), "chunks embedded")
    return len(missing)


def _bring_up(workspace: Workspace, settings: Settings, corpus: Corpus, embedder: Embedder) -> tuple[VectorStore, str]:
    manifest = _read_manifest(workspace)
    generation = corpus.generation
    if manifest and _of(manifest, settings, corpus, embedder):
        try:
            store = build.load_store(settings, workspace.index)
            changes = corpus.changes(manifest["generation"])
            if manifest["generation"] == generation:
                return store, "unchanged"
            touched = np.array(sorted(changes), dtype=np.int64)
            added = [row for row, is_added in changes.items() if is_added]
            store.remove(touched)
            store.add(*corpus.vectors(embedder.fingerprint, added))
            if len(store) == corpus.stats().chunks:
                _save(workspace, settings, store, corpus, embedder, generation)
                return store, f"patched: {len(added)} added, {len(changes) - len(added)} removed"
        except CorpusError:
            pass  # torn or gone: it is made again below
    store = _from_corpus(settings, corpus, embedder)
    _save(workspace, settings, store, corpus, embedder, generation)
    return store, "built"


def _from_corpus(settings: Settings, corpus: Corpus, embedder: Embedder) -> VectorStore:
    store = build.new_store(settings, embedder.dimension)
    ids, vectors_nd = corpus.vectors(embedder.fingerprint)
    if len(ids):
        if vectors_nd.shape[1] != embedder.dimension:
            raise CorpusError(other_dimension(embedder.name, embedder.dimension, vectors_nd.shape[1]))
        store.add(ids, vectors_nd)
    return store


def _save(workspace: Workspace, settings: Settings, store: VectorStore, corpus: Corpus, embedder: Embedder, generation: int) -> None:
    # The manifest goes first and comes last: between, the files belong to no generation and are made again.
    (workspace.index / _MANIFEST).unlink(missing_ok=True)
    store.save(workspace.index)
    write_json(
        workspace.index / _MANIFEST,
        {
            "corpus": corpus.identity,
            "generation": generation,
            "backend": settings.index.backend,
            "embedder": embedder.fingerprint,
            "name": embedder.name,
            "dimension": embedder.dimension,
            "vectors": len(store),
        },
    )


def _read_manifest(workspace: Workspace) -> dict[str, Any] | None:
    try:
        manifest: dict[str, Any] = json.loads((workspace.index / _MANIFEST).read_text(encoding="utf-8"))
        return manifest
    except (OSError, ValueError):
        return None


def _of(manifest: dict[str, Any], settings: Settings, corpus: Corpus, embedder: Embedder) -> bool:
    """Whether the files are this corpus's (not one that was removed and made again), this embedder's and this backend's."""
    found = (manifest.get("corpus"), manifest.get("backend"), manifest.get("embedder"), manifest.get("dimension"))
    return found == (corpus.identity, settings.index.backend, embedder.fingerprint, embedder.dimension)
