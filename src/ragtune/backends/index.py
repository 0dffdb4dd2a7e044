"""The corpus and its vector store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ragtune.backends.local import extra
from ragtune.config import IndexSettings
from ragtune.errors import CorpusError
from ragtune.workspace import Workspace

if TYPE_CHECKING:
    from ragtune.corpus import Corpus
    from ragtune.index.choose import Kind
    from ragtune.index.ivf import Codes, Exact
    from ragtune.index.tune import TunableStore
    from ragtune.protocols import Float32, VectorStore


def new_store(settings: IndexSettings, dimension: int) -> VectorStore:
    """An empty vector store."""
    match settings.backend:
        case "faiss":
            with extra("faiss"):
                from ragtune.index.faiss import FaissStore
            return FaissStore(dimension)
        case "exact":
            from ragtune.index.exact import ExactStore

            return ExactStore(dimension)


def train_store(kind: Kind, sample_nd: Float32, lists: int, exact: Exact) -> TunableStore:
    """An empty store of a kind that is not exact.

    Args:
        kind: other than ``flat``.
        sample_nd: some of the vectors, to which lists and codes are fitted.
        lists: how many, where the kind has any.
        exact: where exact vectors are read; this store, which is to be tuned, reads each once.
    """
    with extra("faiss"):
        from ragtune.index.hnsw import HnswStore
        from ragtune.index.ivf import IvfStore, remembering
    if kind == "hnsw":
        return HnswStore(sample_nd.shape[1])
    return IvfStore.train(cast("Codes", kind), sample_nd, lists, remembering(exact))


def load_store(
    settings: IndexSettings,
    folder: Path,
    kind: Kind = "flat",
    parameters: Mapping[str, int] | None = None,
    exact: Exact | None = None,
    *,
    mapped: bool = True,
) -> VectorStore:
    """A store as it was saved.

    Args:
        settings: backend is read.
        folder: that it was saved into.
        kind: that it is.
        parameters: that it was tuned to, of kinds that are not exact.
        exact: where exact vectors are read, for kinds that hold codes.
        mapped: read the file when a search wants it; otherwise all of it now, to be changed.

    Raises:
        CorpusError: it is missing or torn; it can be made again from the corpus.
    """
    if settings.backend == "exact":
        from ragtune.index.exact import ExactStore

        return ExactStore.load(folder)
    with extra("faiss"):
        from ragtune.index.faiss import FaissStore
        from ragtune.index.hnsw import HnswStore
        from ragtune.index.ivf import IvfStore
    store: VectorStore
    if kind == "flat":
        store = FaissStore.load(folder, mapped=mapped)
    elif kind == "hnsw":
        store = HnswStore.load(folder, **(parameters or {}), mapped=mapped)
    else:
        store = IvfStore.load(folder, **(parameters or {}), exact=exact, mapped=mapped)
    return store


def open_corpus(workspace: Workspace, *, create: bool = False) -> Corpus:
    """The project's corpus.

    Raises:
        CorpusError: nothing was ingested yet.
    """
    from ragtune.corpus import Corpus

    if not create and not workspace.corpus.is_file():
        raise CorpusError("no documents have been ingested here: run 'ragtune ingest PATH'")
    workspace.folder.mkdir(parents=True, exist_ok=True)
    return Corpus(workspace.corpus)
