"""Two commands at once: one writes, the other waits for nothing and sees whole states only."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ragtune import Project
from ragtune.errors import CorpusError, LockedError
from ragtune.pipeline import ingest as ingesting
from tiny_project import PLACES, document
from waiting import PATIENCE_S

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")


def test_of_two_ingests_at_once_the_second_is_refused_and_the_first_is_whole(project, sources, monkeypatch) -> None:
    reading, go_on = threading.Event(), threading.Event()
    read = ingesting.read_sources

    def slow(*arguments: Any, **named: Any) -> Any:
        reading.set()
        assert go_on.wait(PATIENCE_S)
        return read(*arguments, **named)

    monkeypatch.setattr(ingesting, "read_sources", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(Project(project).ingest)
        assert reading.wait(PATIENCE_S)
        for command in (Project(project).ingest, Project(project).index):
            with pytest.raises(LockedError, match="'ragtune ingest'"):
                command()
        go_on.set()
        assert first.result().documents == 8
    assert Project(project).index().action == "built"
    assert Project(project).ingest().unchanged == 8


def test_searches_while_documents_change_find_whole_states_or_say_that_the_index_is_older(project: Path, sources) -> None:
    Project(project).ingest()
    Project(project).index()
    place = sources.documents / "calder.md"
    versions = [document(PLACES[2], facts) for facts in (8, 3, 6, 1)]
    texts = {each.name: [each.read_text(encoding="utf-8")] for each in sources.documents.iterdir()}
    texts["calder.md"] += versions
    stop, begun = threading.Event(), threading.Barrier(3)

    def search_on() -> int:
        answered = 0
        while not stop.is_set():
            try:
                hits = Project(project).search("Who built the mill of Calder?", 5)
            except CorpusError as error:
                if "the index is older than the corpus: run 'ragtune index'" not in str(error):
                    raise
                continue
            answered += 1
            if answered == 1:
                begun.wait(PATIENCE_S)
            assert len({(hit.source, hit.start, hit.end) for hit in hits}) == 5
            for hit in hits:
                assert any(text[hit.start : hit.end] == hit.text for text in texts[hit.source]), hit
        return answered

    with ThreadPoolExecutor(2) as pool:
        searches = [pool.submit(search_on) for _ in range(2)]
        try:
            begun.wait(PATIENCE_S)  # nothing changes before both have searched once
            for text in versions:
                place.write_text(text, encoding="utf-8")
                assert [each.source for each in Project(project).ingest().read] == ["calder.md"]
                Project(project).index()
        finally:
            stop.set()
        assert all(search.result() for search in searches)
    assert Project(project).index().action == "unchanged"
