"""A ragtune embedder as LangChain's embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings

from ragtune import build
from ragtune.protocols import Embedder

if TYPE_CHECKING:
    from ragtune.project import Project


class RagtuneEmbeddings(Embeddings):
    """L2-normalised vectors of any ragtune embedder.

    Args:
        embedder: fulfils :class:`ragtune.protocols.Embedder`.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    @classmethod
    def from_project(cls, project: Project) -> RagtuneEmbeddings:
        """The embedder that made the project's index."""
        return cls(build.embedder(project.workspace, project.settings))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text that is searched."""
        vectors: list[list[float]] = self.embedder.embed_documents(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of what is asked."""
        vector: list[float] = self.embedder.embed_queries([text])[0].tolist()
        return vector
