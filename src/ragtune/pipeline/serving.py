"""What stands between a question and the passages that a model is shown: hybrid search, then what ``retrieve`` switches on, in one order.

Other wordings of the question, the reranker, novelty, and leaving out what a better passage shows already.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ragtune import build
from ragtune.config import Settings
from ragtune.corpus import Corpus
from ragtune.passages import to_passage
from ragtune.protocols import ChatModel, Embedder, Float32, Retriever, VectorStore
from ragtune.retrieve.expand import ExpandingRetriever, Expansion
from ragtune.retrieve.hybrid import HybridRetriever
from ragtune.retrieve.rerank import DiverseRetriever, RerankingRetriever
from ragtune.retrieve.rewrite import MultiQueryRetriever
from ragtune.types import Chunk, Hit, Message, Passage, Where
from ragtune.workspace import Workspace

_FIRST = {"k", "candidates", "fusion", "dense_weight"}
"""The settings of a project that switches nothing on; the others count in a key only where they are set."""


WORDINGS = 3
_REWORD = """Write the question below in {count} other ways that somebody might use who looks for its answer in documents: other words, \
names written out, what is meant said plainly. Change nothing of what is asked. One a line, and nothing else.

Question: {question}"""
_MARK = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")


class ServingRetriever:
    """Fulfils the retriever's contract as the settings say, and knows what is shown of a chunk.

    Args:
        workspace: of the project.
        settings: retrieve and model.device are read, and chat where a model writes other wordings.
        corpus: open for as long as this is used.
        embedder: of the store's vectors.
        store: over the corpus's rows.
        where: which documents may be found.
        reranking: the cross-encoder that ranks the first chunks anew.
    """

    def __init__(
        self,
        workspace: Workspace,
        settings: Settings,
        corpus: Corpus,
        embedder: Embedder,
        store: VectorStore,
        where: Where | None = None,
        *,
        reranking: build.Reranking | None,
    ) -> None:
        retrieve = settings.retrieve
        candidates = retrieve.candidates
        made: Retriever = HybridRetriever(
            corpus,
            embedder,
            store,
            candidates=candidates,
            fusion=retrieve.fusion,
            dense_weight=retrieve.dense_weight,
            where=where,
        )
        if retrieve.rewrite is not None:
            chat = build.chat_model(workspace, settings, retrieve.rewrite)
            made = MultiQueryRetriever(made, lambda question: reword(chat, question), candidates)
        if reranking is not None:
            reranker = build.reranker(reranking.name, settings.model.device)
            made = RerankingRetriever(made, reranker, retrieve.rerank_candidates, reranking.weight)
        if retrieve.mmr is not None:

            def vectors_of(rows: Sequence[int]) -> dict[int, Float32]:
                ids_n, vectors_nd = corpus.vectors(embedder.fingerprint, rows)
                return dict(zip(ids_n.tolist(), vectors_nd, strict=True))

            made = DiverseRetriever(made, vectors_of, relevance=retrieve.mmr, candidates=candidates)
        self._show = to_passage if retrieve.expand == "none" else Expansion(corpus, retrieve.expand)
        if retrieve.expand != "none":
            made = ExpandingRetriever(made, self._show, candidates)
        self._retriever = made

    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """For each question its ``k`` best chunks."""
        return self._retriever.retrieve(questions, k)

    def to_passage(self, chunk: Chunk) -> Passage:
        """What is shown of a chunk."""
        return self._show(chunk)


def reword(chat: ChatModel, question: str) -> list[str]:
    """Other wordings of a question, as a chat model writes them.

    Raises:
        ChatError: there is no answer.
    """
    reply = chat.complete([Message("user", _REWORD.format(count=WORDINGS, question=question))], max_tokens=200)
    lines = (_MARK.sub("", line).strip().strip('"') for line in reply.text.splitlines())
    return [line for line in lines if line][:WORDINGS]


def retrieve_key(workspace: Workspace, settings: Settings) -> dict[str, Any]:
    """What decides a ranking, for a stage's key; the reranker counts by its weights."""
    own = settings.retrieve
    read = own.model_dump(mode="json", include=_FIRST) | own.model_dump(mode="json", exclude=_FIRST, exclude_defaults=True)
    reranking = build.reranking(settings, build.adopted(workspace, settings))
    for name in ("rerank_candidates", "rerank_weight"):
        read.pop(name, None)
    if reranking is None:
        return read
    read |= {"reranker": build.reranker_fingerprint(reranking.name), "rerank_candidates": own.rerank_candidates}
    return read if reranking.weight == 1 else read | {"rerank_weight": reranking.weight}
