"""The corpus and its vector store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ragtune.backends.local import extra
from ragtune.config import Settings
from ragtune.errors import CorpusError
from ragtune.workspace import Workspace

if TYPE_CHECKING:
    from ragtune.corpus import Corpus
    from ragtune.protocols import VectorStore


def new_store(settings: Settings, dimension: int) -> VectorStore:
    """An empty vector store."""
    match settings.index.backend:
        case "faiss":
            with extra("faiss"):
                from ragtune.index.faiss import FaissStore
            return FaissStore(dimension)
        case "exact":
            from ragtune.index.exact import ExactStore

            return ExactStore(dimension)


def load_store(settings: Settings, folder: Path) -> VectorStore:
    """A store as it was saved.

    Raises:
        CorpusError: it is missing or torn; it can be made again from the corpus.
    """
    match settings.index.backend:
        case "faiss":
            with extra("faiss"):
                from ragtune.index.faiss import FaissStore
            return FaissStore.load(folder)
        case "exact":
            from ragtune.index.exact import ExactStore

            return ExactStore.load(folder)


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
