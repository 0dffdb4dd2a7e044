"""A tiny project that is served."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("torch", reason="torch is not installed")

from served_project import Served, running

from ragtune import Project
from tiny_project import write_project, write_sources


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, tiny_chat: Path, tiny_embedder: Path) -> Path:
    """A project with an index in ``project/`` beside its sources; to be copied."""
    folder = tmp_path_factory.mktemp("fresh")
    project = Project(write_project(folder / "project", write_sources(folder / "sources"), tiny_chat, tiny_embedder))
    project.ingest()
    project.index()
    return folder


@pytest.fixture(scope="session")
def indexed(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an index and a tuned model; not to be changed."""
    project = copied(fresh, tmp_path_factory.mktemp("served") / "handbook")
    project.dataset()
    project.train(name="first")
    return project.path


@pytest.fixture(scope="module")
def served(indexed: Path) -> Iterator[Served]:
    """The project behind HTTP, without keys."""
    with running(Project(indexed)) as server:
        yield server


@pytest.fixture
def own(fresh: Path, tmp_path: Path) -> Callable[..., Project]:
    """A project of the test's own, with an index."""

    def make(*overrides: str) -> Project:
        made = copied(fresh, tmp_path / "own", overrides)
        if any(override.startswith("prepare.") for override in overrides):
            made.ingest()
            made.index()
        return made

    return make


def copied(fresh: Path, folder: Path, overrides: Sequence[str] = ()) -> Project:
    """A copy with sources of its own; made once."""
    if not folder.exists():
        shutil.copytree(fresh, folder)
        settings = folder / "project" / "ragtune.toml"
        settings.write_text(settings.read_text(encoding="utf-8").replace(str(fresh), str(folder)), encoding="utf-8")
    return Project(folder / "project", overrides=overrides)
