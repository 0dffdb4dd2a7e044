"""Other wordings of a question by a chat model: searched for too, asked once, and done without where the model fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults import FaultServer, openai_error, openai_reply
from ragtune import Project

pytest.importorskip("faiss", reason="faiss is not installed")
pytest.importorskip("openai", reason="openai is not installed")

QUESTION = "Who built the mill of Calder?"


@pytest.fixture
def ready(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPATIBLE_API_KEY", "sk-test")
    Project(project).ingest()
    Project(project).index()
    return project


def rewording(project: Path, faults: FaultServer) -> Project:
    address = f'chat.base_urls={{compatible = "{faults.url}"}}'
    return Project(project, overrides=["retrieve.rewrite=compatible:any", "retrieve.dense_weight=0", "chat.retries=0", address])


def test_the_other_wordings_are_searched_for_and_asked_for_once(ready: Path, faults: FaultServer) -> None:
    faults.script(openai_reply('1. "Eskvale"\n- Dunmere\n\n3) Eskvale, Dunmere\n4. one too many'))
    assert Project(ready, overrides=["retrieve.dense_weight=0"]).search(QUESTION, 1)[0].source == "calder.md"
    opened = rewording(ready, faults)
    found = [hit.source for hit in opened.search(QUESTION, 2)]
    assert set(found) <= {"eskvale.md", "dunmere.md"}, "three wordings against one"
    assert [hit.source for hit in opened.search(QUESTION, 2)] == found, "from the ledger: the server is not asked again"
    assert len(faults.requests) == 1
    assert QUESTION in str(faults.requests[0].body)


def test_a_model_that_fails_leaves_the_question_as_it_is(ready: Path, faults: FaultServer, caplog: pytest.LogCaptureFixture) -> None:
    faults.script(openai_error(500, "it broke"))
    assert rewording(ready, faults).search(QUESTION, 1)[0].source == "calder.md"
    assert "searched for the question as it is" in caplog.text
