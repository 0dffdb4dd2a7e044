"""What all tests share: one thread, no network, tiny models and a tiny project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is imported anywhere: a tiny model gains nothing from threads, and loses much where other tests run beside it.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import HealthCheck, settings

import servers
from faults import FaultServer
from tiny_models import save_chat_model, save_embedder
from tiny_project import PLACES, Sources, document, write_project, write_sources

if TYPE_CHECKING:
    from embedding_server import EmbeddingServer

# A busy machine is no failure, neither where it tries an example nor where it draws one. What examples share, they are meant to share.
settings.register_profile("ragtune", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.load_profile("ragtune")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings and keys change no test."""
    for name in list(os.environ):
        if (name.startswith("RAGTUNE_") and "__" in name) or name.removesuffix("_FILE").endswith(("_API_KEY", "HF_TOKEN")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny chat model of 1,024 positions."""
    pytest.importorskip("torch", reason="torch is not installed")
    return save_chat_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny chat model with room for worked examples."""
    pytest.importorskip("torch", reason="torch is not installed")
    return save_chat_model(tmp_path_factory.mktemp("chat"), positions=4096)


@pytest.fixture(scope="session")
def tiny_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny embedder that knows the tiny project's words."""
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    return save_embedder(tmp_path_factory.mktemp("embedder"), [document(place, 8) for place in PLACES])


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Eight documents and 34 questions, a test's own to change."""
    return write_sources(tmp_path / "sources")


@pytest.fixture
def project(tmp_path: Path, sources: Sources, tiny_chat: Path, tiny_embedder: Path) -> Path:
    """A project over the sources in which nothing was run yet."""
    return write_project(tmp_path / "project", sources, tiny_chat, tiny_embedder)


@pytest.fixture(scope="session")
def llama_server() -> Iterator[servers.Server]:
    """A small chat model behind OpenAI's protocol."""
    yield from _started(servers.llama())


@pytest.fixture(scope="session")
def llama_embeddings() -> Iterator[servers.Server]:
    """Embeddings of dimension 576 behind OpenAI's protocol."""
    yield from _started(servers.llama(embeddings=True))


@pytest.fixture(scope="session")
def gemini_proxy(llama_server: servers.Server) -> Iterator[servers.Server]:
    """The small chat model behind Gemini's protocol."""
    yield from _started(servers.gemini(llama_server))


@pytest.fixture
def embeddings() -> Iterator[EmbeddingServer]:
    """Embeddings over OpenAI's and Gemini's protocols that can be made to fail; a test's own."""
    pytest.importorskip("openai", reason="openai is not installed")
    pytest.importorskip("google.genai", reason="google-genai is not installed")
    from embedding_server import serve_embeddings

    with serve_embeddings() as server:
        yield server


def _started(server: AbstractContextManager[servers.Server]) -> Iterator[servers.Server]:
    try:
        running = server.__enter__()
    except servers.MissingError as error:
        pytest.skip(str(error))
    try:
        yield running
    finally:
        server.__exit__(None, None, None)


@pytest.fixture
def faults() -> Iterator[FaultServer]:
    """A server that fails as its script says."""
    with FaultServer() as server:
        yield server
