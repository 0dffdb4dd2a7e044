"""A teacher beside a hosted embedder: planning asks neither, and what was paid for is written whatever the embedder's cap says."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="openai is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

from test_hosted_index import MODEL, write_hosted

from ragtune import Project
from ragtune.errors import ConsentError, CorpusError
from ragtune.hosted.ledger import Ledger
from teacher_server import TeacherServer

EMBEDDER = f'chat.prices={{"{MODEL}" = [1000, 0]}}'
"""A dollar for a thousand tokens. The teacher is free."""


@pytest.fixture
def teacher() -> Iterator[TeacherServer]:
    server = TeacherServer()
    yield server
    server.close()


@pytest.fixture
def hosted(tmp_path, sources, tiny_chat, tiny_embedder, embeddings, teacher) -> Path:
    """An ingested project, not indexed, whose embedder and teacher are servers."""
    own = sources.questions.read_text(encoding="utf-8").splitlines()[8:14]
    sources.questions.write_text("\n".join(own) + "\n", encoding="utf-8")
    project = write_hosted(tmp_path / "hosted", sources, tiny_chat, tiny_embedder, embeddings.openai, MODEL)
    with (project / ".env").open("a", encoding="utf-8") as file:
        file.write(f"COMPATIBLE_BASE_URL={teacher.url}\nCOMPATIBLE_API_KEY=sk-test-0123456789\n")
    Project(project).ingest()
    return project


def opened(project: Path, *overrides: str) -> Project:
    return Project(
        project, overrides=["teacher.model=compatible:teacher", "chat.concurrency=1", EMBEDDER, "chat.max_cost=1000", *overrides]
    )


def test_a_dry_run_asks_neither_teacher_nor_embedder_and_wants_an_index(hosted, teacher, embeddings):
    with pytest.raises(CorpusError, match="run 'ragtune index'"):
        opened(hosted).synthesise(6, dry_run=True)
    assert embeddings.requests == []
    opened(hosted).index(yes=True)
    embeddings.requests.clear()
    plan = opened(hosted).synthesise(6, dry_run=True).plan
    assert plan.kinds["multi"]
    assert plan.dollars == plan.embedding_dollars > 0, "the teacher is free"
    assert (embeddings.requests, sum(teacher.requests.values())) == ([], 0)


def test_the_embedders_part_is_agreed_to_and_nobody_is_asked_before(hosted, teacher, embeddings):
    told: list[str] = []
    with pytest.raises(ConsentError, match=r"about \$\d+\.\d\d, embedding included.*--yes"):
        opened(hosted).synthesise(6)
    with pytest.raises(ConsentError, match="nothing was spent"):
        opened(hosted).synthesise(6, confirm=lambda plan: bool(told.append(plan)))
    assert (embeddings.requests, sum(teacher.requests.values())) == ([], 0)
    result = opened(hosted).synthesise(6, yes=True)
    spent = Ledger(hosted / ".ragtune" / "chat.db").spent
    assert 0 < spent <= 2 * result.plan.dollars
    assert result.accepted == 6
    embeddings.requests.clear()
    assert opened(hosted).synthesise(6).written == 0, "where nothing is left to do, nobody is asked"
    assert embeddings.requests == []


def test_questions_that_came_through_are_written_where_the_embedders_cap_is_reached(hosted, embeddings):
    opened(hosted).synthesise(14, yes=True)
    whole = _written(hosted)
    (hosted / "questions" / "synthesised.jsonl").unlink()
    next((hosted / ".ragtune" / "synthesis").glob("*/manifest.json")).unlink()
    with closing(sqlite3.connect(hosted / ".ragtune" / "embeddings.db")) as db, db:
        db.execute("DELETE FROM vectors")  # as if the run had been killed before questions were compared
    embeddings.requests.clear()
    result = opened(hosted, "chat.max_cost=0.0001").synthesise(14, yes=True)
    assert "chat.max_cost" in (result.stopped or "")
    assert embeddings.requests == []
    assert _written(hosted) == whole[: result.accepted]
    assert 0 < result.accepted < 14
    assert opened(hosted).synthesise(14, yes=True).accepted == 14
    assert _written(hosted) == whole


def _written(project: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project / "questions" / "synthesised.jsonl").read_text(encoding="utf-8").splitlines()]
