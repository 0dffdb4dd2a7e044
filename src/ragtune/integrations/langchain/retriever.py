"""The retriever that serves a project as LangChain's, and chunks as LangChain's documents."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field

from ragtune.corpus import embedding_text
from ragtune.pipeline.index import open_retriever
from ragtune.project import Project
from ragtune.types import Chunk


class RagtuneRetriever(BaseRetriever):
    """Hybrid search over a project's index as it stands at each call: what ``ragtune search`` finds.

    Args:
        project: with an index.
        k: documents found; ``None`` is the setting ``retrieve.k``. A call may say otherwise: ``invoke(question, k=5)``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    project: Project = Field(repr=False)
    k: int | None = Field(None, ge=1)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - LangChain's signature
        k: int | None = None,
        **_: Any,
    ) -> list[Document]:
        settings = self.project.settings
        with open_retriever(self.project.workspace, settings) as retriever:
            hits = retriever.retrieve([query], k or self.k or settings.retrieve.k)[0]
        return [to_document(hit.chunk, hit.score) for hit in hits]


def to_document(chunk: Chunk, score: float) -> Document:
    """A chunk under its heading line, as the model is shown it; ``start`` and ``end`` are its own text's place in its document."""
    metadata = {
        "source": chunk.document,
        "title": chunk.title,
        "headings": list(chunk.headings),
        "start": chunk.start,
        "end": chunk.end,
        "chunk": chunk.id,
        "score": score,
    }
    return Document(id=chunk.id, page_content=embedding_text(chunk), metadata=metadata)
