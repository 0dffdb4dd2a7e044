"""Tuning the retriever end to end, with a tiny embedder that is real in every part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragtune import Project
from tiny_project import write_project, write_sources

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

QUICK = ["retriever.passages=4", "retriever.learning_rate=0.002", "retriever.reranker_learning_rate=0.002", "retrieve.candidates=10"]


@pytest.fixture(scope="module")
def ready(tmp_path_factory, tiny_chat, tiny_embedder) -> Path:
    """A project with 60 questions, ingested, indexed and with a dataset."""
    folder = tmp_path_factory.mktemp("retriever")
    sources = write_sources(folder / "sources", places=12, facts=5)
    project = write_project(folder / "project", sources, tiny_chat, tiny_embedder)
    opened = Project(project)
    opened.ingest()
    opened.index()
    opened.dataset()
    return project


def test_smoke(ready):
    made = Project(ready, overrides=QUICK).train_retriever()
    print(json.dumps(made.figures, indent=1, default=str))
    print(made.adopted)
