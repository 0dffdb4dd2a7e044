"""A project's vector index as LangChain's vector store."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np
from filelock import FileLock
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from ragtune import build
from ragtune.corpus import Corpus
from ragtune.errors import ConfigError, CorpusError, ReadError
from ragtune.integrations.langchain.documents import documents_file, read_documents, source_of, write_documents
from ragtune.integrations.langchain.embeddings import RagtuneEmbeddings
from ragtune.integrations.langchain.retriever import to_document
from ragtune.pipeline.index import current_store
from ragtune.project import Project


class RagtuneVectorStore(VectorStore):
    """Dense search over all that a project holds, and texts of its own, which become documents of the project.

    What is added is kept in the project under the store's name and comes in through ``ragtune ingest``, like every document: the project
    is brought up to date with all its sources, long texts are cut into chunks, and a text that the project has already is not indexed
    twice. A text that was added is found by its best chunk and comes back whole, as LangChain has it; of the project's other documents
    the chunks are found. Each call ingests and indexes, so give many texts at once.

    Scores are cosines: higher is nearer.

    Args:
        project: its embedder and its index are used.
        name: of the texts that are added; stores of other names do not change them.
    """

    def __init__(self, project: Project, name: str = "texts") -> None:
        self._project = project
        self._name = name
        self._file = documents_file(project, name)
        self._lock = FileLock(self._file.with_name(f".{name}.lock"), thread_local=False)

    @property
    def embeddings(self) -> Embeddings:
        """The project's embedder."""
        return RagtuneEmbeddings.from_project(self._project)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts, or replace those of the same ids; gives the ids.

        Raises:
            ReadError: a text is empty.
        """
        _refuse(kwargs)
        given = list(texts)
        if not all(text.strip() for text in given):
            raise ReadError("one of the texts is empty: leave it out")
        named = [id_ or str(uuid.uuid4()) for id_ in ids or [None] * len(given)]
        about = metadatas or [{}] * len(given)
        added = {
            id_: Document(id=id_, page_content=text, metadata=metadata) for id_, text, metadata in zip(named, given, about, strict=True)
        }
        self._change(lambda documents: {**documents, **added})
        return named

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Remove texts that were added; ``None`` removes all of them. Unknown ids are passed over.

        The project's other documents leave when their sources do.
        """
        _refuse(kwargs)
        self._change(lambda documents: {id_: document for id_, document in documents.items() if ids is not None and id_ not in ids})
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Texts that were added, by id; those that are unknown are left out."""
        with self._corpus() as corpus:
            return [] if corpus is None else [document for id_ in ids if (document := self._added(corpus, id_)) is not None]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The ``k`` documents nearest to a text."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
        """The ``k`` documents nearest to a text, each with its cosine."""
        _refuse(kwargs)
        return [(document, score) for document, score, _ in self._search(self.embeddings.embed_query(query), k)]

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """The ``k`` documents nearest to a vector of the project's embedder."""
        _refuse(kwargs)
        return [document for document, _, _ in self._search(embedding, k)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """``k`` of the ``fetch_k`` nearest documents that are near the text and far from each other."""
        return self.max_marginal_relevance_search_by_vector(self.embeddings.embed_query(query), k, fetch_k, lambda_mult, **kwargs)

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """As :meth:`max_marginal_relevance_search`, for a vector."""
        _refuse(kwargs)
        found = self._search(embedding, fetch_k)
        chosen = maximal_marginal_relevance(np.array(embedding, np.float32), [vector for _, _, vector in found], lambda_mult, k)
        return [found[index][0] for index in chosen]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """A store with texts; takes ``project`` and ``name`` by name.

        Raises:
            ConfigError: the embeddings are not the project's own.
        """
        store = cls(**kwargs)
        own = build.embedder(store._project.workspace, store._project.settings)
        if not isinstance(embedding, RagtuneEmbeddings) or embedding.embedder.fingerprint != own.fingerprint:
            raise ConfigError("a project's texts are embedded by its own embedder: give RagtuneEmbeddings.from_project(project)")
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def _change(self, change: Callable[[dict[str, Document]], dict[str, Document]]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._lock:
            before = read_documents(self._project, self._name)
            after = change(before)
            if after != before:
                write_documents(self._project, self._name, after)
                self._project.ingest()
                self._project.index(yes=True)

    def _search(self, embedding: Sequence[float], k: int) -> list[tuple[Document, float, list[float]]]:
        """The nearest documents, each with its cosine and its vector."""
        with self._corpus() as corpus:
            if corpus is None:
                return []
            embedder = build.embedder(self._project.workspace, self._project.settings)
            store = current_store(self._project.workspace, self._project.settings, corpus, embedder)
            if not len(store):
                return []
            depth = k
            while True:  # several chunks may be of one text: look deeper until there are enough
                depth = min(depth, len(store))
                scores_qk, ids_qk = store.search(np.array([embedding], np.float32), depth)
                found = self._documents(corpus, dict(zip(ids_qk[0].tolist(), scores_qk[0].tolist(), strict=True)))
                if len(found) >= k or depth == len(store):
                    break
                depth *= 4
            rows = [row for row, _, _ in found[:k]]
            ids_n, vectors_nd = corpus.vectors(embedder.fingerprint, rows)
            vectors = dict(zip(ids_n.tolist(), vectors_nd.tolist(), strict=True))
            return [(document, score, vectors[row]) for row, document, score in found[:k]]

    def _documents(self, corpus: Corpus, scores: dict[int, float]) -> list[tuple[int, Document, float]]:
        """Chunks found as documents, the best chunk of each text alone."""
        found: dict[str | None, tuple[int, Document, float]] = {}
        own = source_of(self._name, "")
        for chunk in corpus.chunks(list(scores)):
            score = scores[chunk.row]
            document = self._added(corpus, chunk.document.removeprefix(own)) if chunk.document.startswith(own) else None
            document = document or to_document(chunk, score)
            found.setdefault(document.id, (chunk.row, document, score))
        return list(found.values())

    def _added(self, corpus: Corpus, id_: str) -> Document | None:
        """A text as it was added."""
        try:
            document = corpus.document(source_of(self._name, id_))
        except CorpusError:
            return None
        metadata: Any = document.metadata["metadata"]
        return Document(id=id_, page_content=document.text, metadata=metadata)

    @contextlib.contextmanager
    def _corpus(self) -> Any:
        """The project's corpus, or ``None`` where nothing was ever ingested: then nothing is found."""
        if not self._project.workspace.corpus.is_file():
            yield None
            return
        with contextlib.closing(build.open_corpus(self._project.workspace)) as corpus:
            yield corpus

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: min(1.0, max(0.0, cosine))


def _refuse(options: dict[str, Any]) -> None:
    """A filter that is passed over would give what was to be left out."""
    if options:
        raise TypeError(f"RagtuneVectorStore knows no {', '.join(sorted(options))}")
