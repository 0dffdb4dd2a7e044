"""The index beside a corpus that changes: patched, built anew, built anew in the background, torn, killed, and read meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragtune.config import IndexSettings
from ragtune.corpus import Corpus
from ragtune.index.exact import ExactStore
from ragtune.pipeline import stores
from ragtune.pipeline.rebuild import bring_up, explain, start_rebuild
from ragtune.pipeline.stores import Source, flat, load_current, read_manifest
from ragtune.progress import Silent
from ragtune.protocols import Float32, VectorStore
from ragtune.types import Chunk, Document
from ragtune.workspace import Workspace
from waiting import PATIENCE_S, until

pytest.importorskip("faiss", reason="faiss is not installed")

DIMENSION = 32
EMBEDDER = "fingerprint"
COUNT = 1500
KINDS = ("hnsw", "ivf", "ivf-sq8", "ivf-pq")


def vector(number: int) -> Float32:
    drawn = np.random.default_rng(number).standard_normal(DIMENSION)
    towards = np.random.default_rng(10**6 + number % 20).standard_normal(DIMENSION)
    found: Float32 = ((drawn + towards) / np.linalg.norm(drawn + towards)).astype(np.float32)
    return found


def add(corpus: Corpus, numbers: Sequence[int]) -> None:
    """A document of one chunk for each number, with its vector."""
    with corpus.batch():
        for number in numbers:
            text = f"text {number}"
            chunk = Chunk(f"c{number}", text, 0, len(text), text, "")
            corpus.put_file(text, "", "", [(Document(text, "", text, "text/plain"), [chunk])])
    missing = list(corpus.embedding_texts(corpus.missing_rows(EMBEDDER)))
    corpus.put_vectors(EMBEDDER, [key for key, _ in missing], np.array([vector(int(text.split()[1])) for _, text in missing]))


def remove(corpus: Corpus, numbers: Sequence[int]) -> None:
    corpus.remove_files([f"text {number}" for number in numbers])
    corpus.collect_vectors()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.folder.mkdir()
    return made


@pytest.fixture
def corpus(workspace: Workspace) -> Iterator[Corpus]:
    with contextlib.closing(Corpus(workspace.corpus)) as made:
        add(made, range(COUNT))
        yield made


def source_of(corpus: Corpus, **settings: Any) -> Source:
    return Source(corpus, IndexSettings(**settings), EMBEDDER, "embedder", DIMENSION)


def recall(store: VectorStore, source: Source) -> float:
    queries_qd = np.array([vector(number) for number in range(5000, 5080)])
    found, true = store.search(queries_qd, 10)[1], flat(source).search(queries_qd, 10)[1]
    return float(np.mean([np.isin(t, f).mean() for f, t in zip(found, true, strict=True)]))


def current(source: Source, workspace: Workspace) -> VectorStore:
    store = load_current(source, workspace.index)
    assert store is not None
    return store


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_tuned_patched_and_read_back(kind: Any, corpus: Corpus, workspace: Workspace) -> None:
    source = source_of(corpus, kind=kind, recall=0.9)
    made, due = bring_up(workspace, source, Silent())
    assert (made["kind"], made["action"], due) == (kind, "built", None)
    assert made["measured"]["recall"] > 0.87
    assert made["measured"]["n"] == 400
    assert recall(current(source, workspace), source) > 0.8
    remove(corpus, range(40))
    add(corpus, range(2000, 2060))
    assert load_current(source, workspace.index) is None
    made, due = bring_up(workspace, source, Silent())
    assert (made["action"], made["changed"], due) == ("patched: 60 added, 40 removed", 100, None)
    patched = current(source, workspace)
    assert len(patched) == COUNT + 20
    fresh, _ = stores.make(source, Silent())
    assert recall(patched, source) >= recall(fresh, source) - 0.05
    assert bring_up(workspace, source, Silent())[0]["action"] == "unchanged"


def test_a_large_change_has_a_small_index_built_anew_at_once(corpus: Corpus, workspace: Workspace) -> None:
    source = source_of(corpus, kind="ivf", recall=0.9)
    bring_up(workspace, source, Silent())
    add(corpus, range(2000, 2000 + COUNT // 2))
    made, due = bring_up(workspace, source, Silent())
    assert (made["action"], made["changed"], due) == ("built", 0, None)


def test_a_large_index_is_patched_first_and_its_rebuilding_is_due(
    corpus: Corpus, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "BACKGROUND_FROM", 1000)
    source = source_of(corpus, kind="ivf", recall=0.9)
    bring_up(workspace, source, Silent())
    add(corpus, range(2000, 2000 + COUNT // 2))
    made, due = bring_up(workspace, source, Silent())
    assert made["action"] == "patched: 750 added, 0 removed"
    assert due == "750 vectors came or went since it was built of 1,500"
    again, due = bring_up(workspace, source, Silent())
    assert (again["action"], due is None) == ("unchanged", False)
    assert explain(workspace, source.settings).due == due


def test_an_index_that_is_built_in_the_background_takes_the_others_place(
    corpus: Corpus, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "BACKGROUND_FROM", 1000)
    source = source_of(corpus, kind="ivf", recall=0.9)
    made, _ = bring_up(workspace, source, Silent())
    reader = current(source, workspace)
    queries_qd = np.array([vector(number) for number in range(5000, 5020)])
    before = reader.search(queries_qd, 10)[1]
    process = start_rebuild(workspace, source, made["build"])
    add(corpus, range(2000, 2010))  # while it builds
    assert process.wait(timeout=PATIENCE_S) == 0, (workspace.folder / "index.next.log").read_text()
    manifest = read_manifest(workspace.index)
    assert manifest is not None
    assert manifest["build"] != made["build"]
    assert not workspace.next_index.exists()
    bring_up(workspace, source, Silent())
    store = current(source, workspace)
    assert len(store) == COUNT + 10
    assert recall(store, source) > 0.8
    np.testing.assert_array_equal(reader.search(queries_qd, 10)[1], before)


def test_it_waits_while_another_command_writes_and_the_next_one_puts_it_in_place(corpus: Corpus, workspace: Workspace) -> None:
    source = source_of(corpus, kind="ivf", recall=0.9)
    made, _ = bring_up(workspace, source, Silent())
    with workspace.lock("ingest"):
        process = start_rebuild(workspace, source, made["build"])
        until(lambda: read_manifest(workspace.next_index))
        process.send_signal(signal.SIGKILL)
        process.wait()
        waiting = read_manifest(workspace.next_index)
        assert waiting is not None
        add(corpus, [2000])
        there, _ = bring_up(workspace, source, Silent())
    assert there["build"] == waiting["build"] != made["build"]
    assert len(current(source, workspace)) == COUNT + 1


def test_two_rebuildings_do_not_collide(corpus: Corpus, workspace: Workspace) -> None:
    source = source_of(corpus, kind="ivf", recall=0.9)
    made, _ = bring_up(workspace, source, Silent())
    processes = [start_rebuild(workspace, source, made["build"]) for _ in range(2)]
    assert [process.wait(timeout=PATIENCE_S) for process in processes] == [0, 0]
    assert len(current(source, workspace)) == COUNT
    assert not list(workspace.folder.glob("*.part"))


def test_an_index_of_another_embedder_that_was_made_meanwhile_stays(corpus: Corpus, workspace: Workspace) -> None:
    source = source_of(corpus, kind="ivf", recall=0.9)
    made, _ = bring_up(workspace, source, Silent())
    with workspace.lock("train"):
        process = start_rebuild(workspace, source, made["build"])
        corpus.put_vectors(
            "other", [key for key, _ in corpus.embedding_texts(corpus.missing_rows("other"))], np.array([vector(n) for n in range(COUNT)])
        )
        there, _ = bring_up(workspace, Source(corpus, source.settings, "other", "other", DIMENSION), Silent())
    assert process.wait(timeout=PATIENCE_S) == 0, (workspace.folder / "index.next.log").read_text()
    assert read_manifest(workspace.index) == {**there, "bytes": explain(workspace, source.settings).bytes}
    assert not workspace.next_index.exists()
    assert not explain(workspace, source.settings, EMBEDDER).current
    assert explain(workspace, source.settings, "other").current


def test_what_was_built_for_an_index_that_is_gone_is_thrown_away(corpus: Corpus, workspace: Workspace) -> None:
    source = source_of(corpus, kind="ivf", recall=0.9)
    bring_up(workspace, source, Silent())
    store, manifest = stores.make(source, Silent())
    stores.put(workspace.next_index, store, {**manifest, "parent": "another"})
    there, _ = bring_up(workspace, source, Silent())
    assert there["build"] != manifest["build"]
    assert not workspace.next_index.exists()


@pytest.mark.parametrize(
    "moment", ["no manifest", "half a manifest", "old format", "torn file", "file gone", "of another kind", "leftovers"]
)
def test_whatever_a_kill_or_an_older_ragtune_left_is_made_again(moment: str, corpus: Corpus, workspace: Workspace) -> None:
    source = source_of(corpus, kind="ivf", recall=0.9)
    bring_up(workspace, source, Silent())
    file, manifest = workspace.index / "vectors.faiss", workspace.index / "manifest.json"
    told = json.loads(manifest.read_text())
    if moment == "no manifest":
        manifest.unlink()
    elif moment == "half a manifest":
        manifest.write_text(manifest.read_text()[:50])
    elif moment == "old format":
        manifest.write_text(
            json.dumps({name: told[name] for name in ("corpus", "generation", "backend", "embedder", "dimension", "vectors")})
        )
    elif moment == "torn file":
        os.truncate(file, file.stat().st_size // 2)
    elif moment == "file gone":
        file.unlink()
    elif moment == "of another kind":
        manifest.write_text(json.dumps({**told, "kind": "hnsw", "parameters": {"visits": 64}}))
    else:
        shutil.copytree(workspace.index, workspace.folder / "index.part")
        (workspace.folder / "index.part" / "other").write_text("x")
        manifest.unlink()
    assert load_current(source, workspace.index) is None or moment == "leftovers"
    made, _ = bring_up(workspace, source, Silent())
    assert made["action"] == "built" or (moment in ("torn file", "file gone", "of another kind") and made["action"] == "unchanged")
    assert len(current(source, workspace)) == COUNT
    assert sorted(path.name for path in workspace.index.iterdir()) == ["manifest.json", "vectors.faiss"]


def test_a_reader_finds_an_index_all_the_while_that_others_take_its_place(corpus: Corpus, workspace: Workspace) -> None:
    import threading

    source = source_of(corpus, kind="ivf", recall=0.9)
    made = stores.make(source, Silent())
    stores.put(workspace.index, *made)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            stores.put(workspace.index, *made)

    writer = threading.Thread(target=swap)
    writer.start()
    try:
        with contextlib.closing(Corpus(workspace.corpus)) as reading:
            reader = source_of(reading, kind="ivf", recall=0.9)
            for _ in range(30):
                assert recall(current(reader, workspace), reader) > 0.8
    finally:
        stop.set()
        writer.join()


def test_too_little_memory_and_number_choose_and_growth_chooses_again(
    corpus: Corpus, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragtune.index import choose

    monkeypatch.setattr(choose, "CODES_FROM", 500)
    monkeypatch.setattr(choose, "EXACT_BELOW", COUNT + 10)
    source = source_of(corpus, recall=0.9)
    assert bring_up(workspace, source, Silent())[0]["kind"] == "flat"
    add(corpus, range(2000, 2011))
    made, _ = bring_up(workspace, source, Silent())
    assert (made["kind"], made["action"]) == ("flat", "patched: 11 added, 0 removed")  # a few more are no reason to build anew
    add(corpus, range(3000, 3200))
    made, _ = bring_up(workspace, source, Silent())
    assert (made["kind"], made["action"]) == ("ivf", "built")


def test_where_nothing_reaches_the_recall_all_are_compared_and_it_is_said(
    corpus: Corpus, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "tune", lambda *_: None)
    source = source_of(corpus, kind="ivf-pq", recall=0.9)
    made, _ = bring_up(workspace, source, Silent())
    assert made["kind"] == "flat"
    assert "ten nearest, so every vector is compared" in made["why"]
    assert bring_up(workspace, source, Silent()) == (
        {**made, "action": "unchanged", "bytes": explain(workspace, source.settings).bytes},
        None,
    )


def test_lists_that_would_nearly_all_be_read_are_not_chosen_but_may_be_asked_for(
    corpus: Corpus, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragtune.index import choose

    monkeypatch.setattr(choose, "CODES_FROM", 500)
    monkeypatch.setattr(choose, "EXACT_BELOW", 1000)
    monkeypatch.setattr(stores, "_MOST_READ", 0.0)
    made, _ = bring_up(workspace, source_of(corpus, recall=0.9), Silent())
    assert made["kind"] == "flat"
    assert "lists, which saves no time, so every vector is compared" in made["why"]
    assert bring_up(workspace, source_of(corpus, recall=0.9), Silent())[0]["action"] == "unchanged"
    assert bring_up(workspace, source_of(corpus, kind="ivf", recall=0.9), Silent())[0]["kind"] == "ivf"


def test_the_index_explains_itself(corpus: Corpus, workspace: Workspace) -> None:
    source = source_of(corpus, recall=0.9)
    bring_up(workspace, source, Silent())
    told = explain(workspace, source.settings)
    assert (told.vectors, told.dimension, told.kind, told.current, told.due) == (COUNT, DIMENSION, "flat", True, None)
    assert "1,500 vectors are fewer than" in told.why
    assert any("from 50,000 vectors on: ivf" in change for change in told.otherwise)
    assert told.sizes["ivf-pq"] < told.sizes["ivf-sq8"] < told.sizes["flat"]
    assert not explain(workspace, IndexSettings(kind="hnsw")).current
    add(corpus, [9000])
    assert not explain(workspace, source.settings).current


def test_the_reference_backend_has_no_kinds(corpus: Corpus, workspace: Workspace) -> None:
    source = source_of(corpus, backend="exact", kind="hnsw")
    made, _ = bring_up(workspace, source, Silent())
    assert made["kind"] == "flat"
    assert isinstance(current(source, workspace), ExactStore)
    assert explain(workspace, source.settings).otherwise
