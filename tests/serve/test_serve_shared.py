"""What requests share: an index that is exchanged under them, and a baseline that is made once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from ragtune.compute import Computing, at_once
from ragtune.config import Settings
from ragtune.errors import ConfigError, CorpusError
from ragtune.pipeline import traces
from ragtune.serve.retriever import HotRetriever
from ragtune.workspace import Manifest, Workspace, write_json, write_manifest
from waiting import PATIENCE_S, until


@pytest.mark.parametrize(("error", "serves"), [(CorpusError("old"), True), (ConfigError("no model"), True), (MemoryError(), False)])
def test_the_old_index_serves_where_the_new_one_cannot_be_opened(tmp_path, monkeypatch, error, serves):
    retriever = HotRetriever(Workspace(tmp_path), Settings())
    old = SimpleNamespace(state=1, held=0, idle=[], corpus=SimpleNamespace(close=lambda: None))
    retriever._now = old

    def load(_state):
        raise error

    monkeypatch.setattr(retriever, "_state", lambda: 2)
    monkeypatch.setattr(retriever, "_load", load)
    if serves:
        assert retriever._take() is old
        assert old.held == 1
    else:
        with pytest.raises(MemoryError):
            retriever._take()
        assert old.held == 0, "a hold that nobody gives back keeps its files open for ever"


def test_a_baseline_is_made_once_and_the_others_are_answered_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    write_manifest(workspace.artifact("evaluations", "one"), Manifest("evaluations", "one", "one", {}, {}))
    made, go_on = [], threading.Event()

    def make(*given: object) -> None:
        made.append(given)
        assert go_on.wait(PATIENCE_S)
        write_json(workspace.folder / "drift.json", {"key": "k", "evaluation": "one", "questions": [], "scores": []})

    monkeypatch.setattr(traces, "_key", lambda *_: "k")
    monkeypatch.setattr(traces, "make_baseline", make)
    look = lambda: traces._baseline(workspace, Settings(), at_once)  # noqa: E731
    with ThreadPoolExecutor(1) as first:
        making = first.submit(look)
        try:
            until(lambda: made)
            assert [look(), look()] == [None, None], "nobody waits for it"
        finally:
            go_on.set()
        assert making.result() == look() == traces._Baseline("one", [], [])
    assert len(made) == 1


def test_a_baseline_is_looked_up_while_nobody_else_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    held: list[str] = []

    class Retriever:
        def __enter__(self) -> Retriever:
            return self

        def __exit__(self, *_: object) -> None: ...

        def retrieve(self, questions: list[str], _k: int) -> list[list[SimpleNamespace]]:
            held.append(threading.current_thread().name)
            return [[SimpleNamespace(score=0.5)] for _ in questions]

    asked = [SimpleNamespace(id=str(n), question="Who?", history=()) for n in range(2)]
    monkeypatch.setattr(traces, "read_predictions", lambda _: asked)
    monkeypatch.setattr(traces, "open_retriever", lambda *_: Retriever())
    monkeypatch.setattr(traces, "_key", lambda *_: "k")
    traces.make_baseline(workspace, Settings(), Manifest("evaluations", "one", "one", {}, {}), Computing())
    assert [name.startswith("ragtune-compute") for name in held] == [True, True]
