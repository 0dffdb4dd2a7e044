"""What all tests share: one thread, no network, tiny models and a tiny project."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported anywhere: a tiny model gains nothing from threads, and loses much where other tests run beside it.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import settings

from tiny_models import save_chat_model, save_embedder
from tiny_project import PLACES, Sources, document, write_project, write_sources

# A busy machine is no failure.
settings.register_profile("ragtune", deadline=None)
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
