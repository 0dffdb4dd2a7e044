"""Bring vectors and the vector index up to the corpus, and search them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from ragtune import build
from ragtune.config import Settings
from ragtune.corpus import Corpus
from ragtune.errors import CorpusError, ProjectError, SpendingCapError
from ragtune.hosted.failures import other_dimension
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.consent import Bill, Confirm, agree_to, estimate
from ragtune.pipeline.rebuild import bring_up, start_rebuild
from ragtune.pipeline.records import IndexResult, SearchHit
from ragtune.pipeline.serving import ServingRetriever
from ragtune.pipeline.stores import Source, flat, load_current, read_manifest
from ragtune.pipeline.threshold import load_threshold
from ragtune.progress import Progress
from ragtune.protocols import Embedder, Int64, VectorStore
from ragtune.types import Usage, Where
from ragtune.workspace import Workspace

_BATCH = 256
_WINDOW = 8192  # texts held at once


def build_index(
    workspace: Workspace,
    settings: Settings,
    progress: Progress,
    *,
    quiet: bool = False,
    yes: bool = False,
    confirm: Confirm | None = None,
    rebuild: bool = False,
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
        rebuild: build the index anew, whatever there is.

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
        manifest = read_manifest(workspace.index)
        if manifest is None or manifest.get("generation") != corpus.generation:
            corpus.collect_vectors()  # before the index is written, or a run that is killed in between would leave them for good
        source = _source(settings, corpus, embedder)
        made, due = bring_up(workspace, source, progress, rebuild=rebuild)
        if due is not None:
            start_rebuild(workspace, source, made["build"])
            progress.note(f"the index serves as it is; a new one is built in the background, since {due}")
    seconds = round(time.monotonic() - started, 3)
    result = IndexResult(embedded, made["vectors"], made["generation"], made["action"], seconds, made["kind"], due)
    if not quiet or embedded:
        progress.finish("index", f"{result.counts}: {result.action}")
    return result


def index_bill(workspace: Workspace, settings: Settings, corpus: Corpus) -> Bill:
    """What the embedder will be asked to bring the index up to the corpus; nobody is asked for it."""
    if not is_hosted(settings.embed.model):
        return Bill("embeds", settings.embed.model, 0, 0.0)
    embedder = build.embedder(workspace, settings, asks=False)
    rows_n = corpus.missing_rows(embedder.fingerprint)
    tokens = sum(sum(embedder.count_tokens([text for _, text in window])) for window in _windows(corpus, rows_n))
    return estimate(workspace, settings, embedder.name, f"embeds {len(rows_n)} chunks", len(rows_n), Usage(tokens))


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
    embedder = build.embedder(workspace, settings, asks=False)
    if corpus.lacks_vectors(embedder.fingerprint):
        raise _lacking(workspace, corpus, embedder)


def current_store(workspace: Workspace, settings: Settings, corpus: Corpus, embedder: Embedder) -> VectorStore:
    """The index as it lies on disk; where it cannot be read it is made again in memory, for it holds nothing that the corpus does not.

    Raises:
        CorpusError: chunks have no vectors yet.
    """
    source = _source(settings, corpus, embedder)
    store = load_current(source, workspace.index)
    if store is not None:
        return store
    if corpus.lacks_vectors(embedder.fingerprint):
        raise _lacking(workspace, corpus, embedder)
    return flat(source)


def _lacking(workspace: Workspace, corpus: Corpus, embedder: Embedder) -> CorpusError:
    if corpus.dimension(embedder.fingerprint) is None and read_manifest(workspace.index) is None:
        return CorpusError("there is no index yet: run 'ragtune index'")
    return CorpusError("the index is older than the corpus: run 'ragtune index'")


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
    """The ``k`` best chunks for a text.

    Raises:
        ProjectError: the text is empty.
    """
    if not text.strip():
        raise ProjectError('the text to look for is empty: write it in quotes, like ragtune search "how long is the crossing"')
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
    rows_n = corpus.missing_rows(embedder.fingerprint)
    if not len(rows_n):
        return 0
    progress.start("index", len(rows_n))
    known = corpus.dimension(embedder.fingerprint)
    done = 0
    for window in _windows(corpus, rows_n):
        # Texts of about one length are embedded together, as what fills up the shorter ones is computed for nothing.
        by_length = sorted(window, key=lambda item: (len(item[1]), item[0]))
        for at in range(0, len(by_length), _BATCH):
            batch = by_length[at : at + _BATCH]
            vectors_nd = embedder.embed_documents([text for _, text in batch])
            if known is not None and known != vectors_nd.shape[1]:
                raise CorpusError(other_dimension(embedder.name, vectors_nd.shape[1], known))
            corpus.put_vectors(embedder.fingerprint, [key for key, _ in batch], vectors_nd)
            done += len(batch)
            progress.update("index", done, "chunks embedded")
    return len(rows_n)


def _windows(corpus: Corpus, rows_n: Int64) -> Iterator[list[tuple[str, str]]]:
    """Keys and texts of chunks, as many as are held at once."""
    for start in range(0, len(rows_n), _WINDOW):
        yield corpus.embedding_texts(rows_n[start : start + _WINDOW])


def _source(settings: Settings, corpus: Corpus, embedder: Embedder) -> Source:
    return Source(corpus, settings.index, embedder.fingerprint, embedder.name, embedder.dimension)
