"""A ragtune project's retriever, vector store, embeddings and chat model as LangChain's, and LangChain's documents in a project."""

from __future__ import annotations

from ragtune.build import extra

with extra("langchain"):
    from ragtune.integrations.langchain.answer import answer_chain, check_citations, passages_prompt
    from ragtune.integrations.langchain.chat import ChatRagtune
    from ragtune.integrations.langchain.documents import ingest_documents
    from ragtune.integrations.langchain.embeddings import RagtuneEmbeddings
    from ragtune.integrations.langchain.retriever import RagtuneRetriever
    from ragtune.integrations.langchain.vectorstore import RagtuneVectorStore

__all__ = [
    "ChatRagtune",
    "RagtuneEmbeddings",
    "RagtuneRetriever",
    "RagtuneVectorStore",
    "answer_chain",
    "check_citations",
    "ingest_documents",
    "passages_prompt",
]
