"""LangChain's own standard tests, on a project's retriever, vector store, embeddings and chat model."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragtune import Project

pytest.importorskip("langchain_tests", reason="langchain-tests is not installed")

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import (
    ChatModelIntegrationTests,
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import ChatModelUnitTests, EmbeddingsUnitTests

from ragtune.integrations.langchain import ChatRagtune, RagtuneEmbeddings, RagtuneRetriever, RagtuneVectorStore
from tiny_project import Sources, write_project, write_sources


@pytest.fixture(scope="module")
def sources_of_all(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, sources_of_all: Sources, tiny_chat: Path, tiny_embedder: Path) -> Project:
    project = Project(write_project(tmp_path_factory.mktemp("standard") / "project", sources_of_all, tiny_chat, tiny_embedder))
    project.ingest()
    project.index()
    return project


class OfProject:
    """The standard tests take parameters from properties, which see no fixtures."""

    @pytest.fixture(autouse=True)
    def _of_project(self, indexed: Project, tiny: Path) -> None:
        self.project = indexed
        self.other = f"local:{tiny}"


class OfChat(OfProject):
    """What the suite skips, and why.

    - Tools, tool choice, structured output and JSON mode: ragtune's models are taught to answer from passages, and a model of their size
      calls no tools. A project's own records are asked for by ``ragtune.chat.structured``.
    - Images, sound, PDF and Anthropic's form of content: they read text.
    - Cassettes: nothing goes over a network, so there is nothing to record.
    - Being made from the environment, and being serialised: a model is of a project, which is a folder with its own settings and keys.
    """

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatRagtune

    @property
    def chat_model_params(self) -> dict[str, object]:
        return {"project": self.project}

    @property
    def model_override_value(self) -> str:
        return self.other


class TestChatUnit(OfChat, ChatModelUnitTests):
    @property
    def standard_chat_model_params(self) -> dict[str, object]:
        """All but a key, which a project reads from .env: one that is given is refused, not passed over."""
        return {name: value for name, value in super().standard_chat_model_params.items() if name != "api_key"}


class TestChat(OfChat, ChatModelIntegrationTests):
    pass


class OfEmbeddings(OfProject):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return RagtuneEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, object]:
        return {"embedder": RagtuneEmbeddings.from_project(self.project).embedder}


class TestEmbeddingsUnit(OfEmbeddings, EmbeddingsUnitTests):
    pass


class TestEmbeddings(OfEmbeddings, EmbeddingsIntegrationTests):
    pass


class TestRetriever(OfProject, RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return RagtuneRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, object]:
        return {"project": self.project}

    @property
    def retriever_query_example(self) -> str:
        return "Who built the mill of Calder?"


class TestVectorStore(VectorStoreIntegrationTests):
    """Over the project's own embedder, which is part of a project: ``get_embeddings`` of the suite is not used."""

    @pytest.fixture
    def vectorstore(self, tmp_path: Path, tiny_embedder: Path) -> VectorStore:
        return RagtuneVectorStore(Project(tmp_path / "project", overrides=[f"embed.model={tiny_embedder}"], create=True))
