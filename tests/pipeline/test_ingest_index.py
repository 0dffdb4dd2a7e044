"""Sync, not append: the corpus and the index follow the sources, and what is unchanged costs a hash."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragtune import Project
from ragtune.corpus import Corpus
from ragtune.errors import ConfigError
from ragtune.index.exact import ExactStore
from ragtune.pipeline.records import IngestResult
from ragtune.workspace import hash_file
from tiny_project import PLACES, document

pytest.importorskip("faiss", reason="faiss is not installed")


def forbidden(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("this must not be called")


class Notes:
    """What an ingest says on the way."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def start(self, stage: str, total: float | None = None) -> None: ...
    def update(self, stage: str, done: float, detail: str = "", left: float | None = None) -> None: ...
    def finish(self, stage: str, message: str) -> None: ...
    def note(self, message: str) -> None:
        self.notes.append(message)


def names(reasons: Any) -> set[str]:
    return {reason.source for reason in reasons}


def corpus_state(project: Path) -> tuple[Any, ...]:
    corpus = Corpus(project / ".ragtune" / "corpus.db")
    try:
        chunks = {(chunk.id, chunk.document, chunk.start, chunk.end, chunk.text, chunk.prefix) for chunk in corpus.all_chunks()}
        return corpus.files(), [(each.source, each.text) for each in corpus.all_documents()], chunks, corpus.duplicates()
    finally:
        corpus.close()


def search(project: Path, question: str) -> list[tuple[str, float, str]]:
    return [(hit.source, hit.score, hit.text) for hit in Project(project).search(question, 5)]


@pytest.fixture
def ingested(project: Path) -> Path:
    Project(project).ingest()
    Project(project).index()
    return project


def test_chunks_that_the_embedder_cannot_read_whole_are_refused(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"chunk_size = 300: .* reads 256 tokens"):
        Project(project, overrides=["prepare.chunk_size=300"]).ingest()


def test_the_first_run_reads_and_embeds_everything(project, sources):
    made = Project(project).ingest()
    assert {each.reason for each in made.read} == {"new"}
    assert names(made.read) == {path.name for path in sources.documents.iterdir()}
    assert (made.documents, made.unchanged, made.skipped, made.duplicates, made.removed) == (8, 0, (), (), ())
    indexed = Project(project).index()
    assert (indexed.embedded, indexed.vectors, indexed.action) == (made.chunks, made.chunks, "built")
    assert search(project, "Who built the tower of Dunmere?")[0][0] == "dunmere.md"


def test_what_is_unchanged_is_neither_read_nor_chunked_nor_embedded(ingested, monkeypatch):
    before = corpus_state(ingested)
    monkeypatch.setattr("ragtune.pipeline.ingest.read_sources", forbidden)
    monkeypatch.setattr("ragtune.pipeline.dedupe.chunk_document", forbidden)
    monkeypatch.setattr("ragtune.pipeline.dedupe.duplicates_among", forbidden)
    monkeypatch.setattr("ragtune.embed.sentence_transformers.SentenceTransformersEmbedder.embed_documents", forbidden)
    monkeypatch.setattr("ragtune.index.faiss.FaissStore.save", forbidden)
    again = Project(ingested).ingest()
    assert (again.read, again.removed, again.unchanged, again.documents) == ((), (), 8, 8)
    indexed = Project(ingested).index()
    assert (indexed.embedded, indexed.action) == (0, "unchanged")
    assert corpus_state(ingested) == before


def test_touching_a_file_without_changing_it_changes_nothing(ingested, sources):
    for path in sources.documents.iterdir():
        path.touch()
    assert Project(ingested).ingest().unchanged == 8


def test_a_changed_file_replaces_its_document_and_embeds_only_what_is_new(ingested, sources):
    path = sources.documents / "calder.md"
    text = path.read_text()
    path.write_text(text.replace("The mill of Calder was built by", "The mill of Calder was quarried by"), encoding="utf-8")
    made = Project(ingested).ingest()
    assert [(each.source, each.reason) for each in made.read] == [("calder.md", "changed")]
    assert made.unchanged == 7
    indexed = Project(ingested).index()
    assert 1 <= indexed.embedded <= 3
    assert indexed.action.startswith(f"patched: {indexed.embedded} added")
    assert indexed.vectors == made.chunks
    found = search(ingested, "The mill of Calder was quarried by")
    assert "quarried" in found[0][2]
    assert not any("mill of Calder was built" in hit[2] for hit in found)


def test_a_vanished_file_leaves_corpus_and_index(ingested, sources):
    (sources.documents / "calder.md").unlink()
    made = Project(ingested).ingest()
    assert names(made.removed) == {"calder.md"}
    assert (made.documents, made.read) == (7, ())
    indexed = Project(ingested).index()
    assert indexed.embedded == 0
    assert indexed.vectors == made.chunks
    assert "calder.md" not in {hit[0] for hit in search(ingested, "Who built the mill of Calder?")}
    corpus = Corpus(ingested / ".ragtune" / "corpus.db")
    assert len(corpus._db.execute("SELECT * FROM vectors").fetchall()) == made.chunks
    corpus.close()


def test_a_patched_index_searches_like_one_that_is_built(ingested, sources, tmp_path):
    (sources.documents / "calder.md").unlink()
    (sources.documents / "new.md").write_text(document(PLACES[9], 4), encoding="utf-8")
    Project(ingested).ingest()
    patched = Project(ingested).index()
    assert patched.action.startswith("patched")
    found = search(ingested, "Who built the chapel?")
    shutil.rmtree(ingested / ".ragtune" / "index")
    assert search(ingested, "Who built the chapel?") == found, "made again in memory"
    assert Project(ingested).index().action == "built"
    assert search(ingested, "Who built the chapel?") == found


def test_a_moved_folder_is_unchanged(ingested, sources):
    moved = sources.documents.with_name("moved")
    sources.documents.rename(moved)
    made = Project(ingested).ingest([moved])
    assert (made.unchanged, made.read, made.removed) == (8, (), ())


def test_a_duplicate_is_left_out_and_restored_when_the_kept_one_vanishes(ingested, sources):
    shutil.copy(sources.documents / "calder.md", sources.documents / "zz-copy.md")
    made = Project(ingested).ingest()
    assert names(made.duplicates) == {"zz-copy.md"}
    assert "calder.md" in made.duplicates[0].reason
    assert made.documents == 8
    assert Project(ingested).index().embedded == 0
    (sources.documents / "calder.md").unlink()
    restored = Project(ingested).ingest()
    assert restored.duplicates == ()
    assert names(restored.removed) == {"calder.md"}
    assert restored.documents == 8
    indexed = Project(ingested).index()
    assert indexed.vectors == restored.chunks
    assert search(ingested, "Who built the mill of Calder?")[0][0] == "zz-copy.md"


def test_what_is_kept_does_not_depend_on_the_order_of_arrival(project, sources, tmp_path):
    shutil.copy(sources.documents / "calder.md", sources.documents / "aa-copy.md")
    late = Project(project).ingest()
    (sources.documents / "aa-copy.md").unlink()
    Project(project).ingest()
    shutil.copy(sources.documents / "calder.md", sources.documents / "aa-copy.md")
    again = Project(project).ingest()
    assert again.duplicates == late.duplicates


def test_changed_chunk_settings_read_again_and_say_so(ingested):
    notes = Notes()
    before = corpus_state(ingested)
    made = Project(ingested, overrides=["prepare.chunk_size=60"], progress=notes).ingest()
    assert {each.reason for each in made.read} == {"settings changed"}
    assert any("8 unchanged files are read again" in note for note in notes.notes)
    assert corpus_state(ingested)[2] != before[2]
    Project(ingested).ingest()
    assert corpus_state(ingested) == before


def test_a_changed_setting_remakes_only_what_it_touches(project, sources):
    (sources.documents / "short.md").write_text("# Short\n\nSlate heron.", encoding="utf-8")
    (sources.documents / "table.csv").write_text("key,name,note\n1,slate,heron\n2,gravel,willow\n", encoding="utf-8")
    Project(project).ingest()
    whole = Project(project).index().vectors
    notes = Notes()
    fields = ['prepare.text_fields=["note"]']
    made = Project(project, overrides=fields, progress=notes).ingest()
    assert (names(made.read), made.unchanged) == ({"table.csv"}, 9), "fields are of rows and records alone"
    assert any("1 unchanged file is read again" in note for note in notes.notes)
    assert Project(project, overrides=fields).index().embedded == 2
    for setting in ("near_duplicates=1.0", 'exclude=["z*"]', "timeout=50"):
        assert Project(project, overrides=[*fields, f"prepare.{setting}"]).ingest().read == (), setting
    larger = Project(project, overrides=[*fields, "prepare.chunk_size=60"])
    made = larger.ingest()
    assert {each.reason for each in made.read} == {"settings changed"}
    indexed = larger.index()
    assert 0 < indexed.embedded <= indexed.vectors - 3 < whole, "what is cut as before keeps its vectors: the short text and the rows"


def test_a_file_that_cannot_be_read_is_listed_and_not_tried_again(project, sources, monkeypatch):
    (sources.documents / "broken.pdf").write_bytes(b"%PDF-1.4 no more")
    (sources.documents / "empty.md").write_text(" \n", encoding="utf-8")
    made = Project(project).ingest()
    assert "broken.pdf" in names(made.skipped)
    assert made.documents == 8
    monkeypatch.setattr("ragtune.pipeline.ingest.read_sources", forbidden)
    again: IngestResult = Project(project).ingest()
    assert again.skipped == made.skipped
    assert again.unchanged == 10


@pytest.mark.parametrize("damage", ["half", "zeros", "gone", "empty", "manifest", "flipped"])
def test_a_torn_index_is_rebuilt_and_searched_meanwhile(ingested, damage):
    found = search(ingested, "Who built the well of Farrow?")
    file = ingested / ".ragtune" / "index" / "vectors.faiss"
    data = file.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    torn = {"half": data[: len(data) // 2], "zeros": bytes(len(data)), "empty": b"", "flipped": bytes(flipped)}
    if damage == "gone":
        file.unlink()
    elif damage == "manifest":
        file.with_name("manifest.json").write_text("{", encoding="utf-8")
    else:
        file.write_bytes(torn[damage])
    assert search(ingested, "Who built the well of Farrow?") == found
    indexed = Project(ingested).index()
    assert (indexed.embedded, indexed.action) == (0, "built")
    assert file.read_bytes() == data
    assert search(ingested, "Who built the well of Farrow?") == found


def test_an_index_of_a_corpus_that_was_made_anew_is_not_trusted(ingested, sources):
    generation = Project(ingested).index().generation
    for file in (ingested / ".ragtune").glob("corpus.db*"):
        file.unlink()
    for path in sources.documents.iterdir():
        path.write_text(path.read_text().replace("was built by", "was drawn by"), encoding="utf-8")
    Project(ingested).ingest()
    # How many generations an ingest makes depends on how long it takes.
    with contextlib.closing(sqlite3.connect(ingested / ".ragtune" / "corpus.db")) as db, db:
        db.execute("UPDATE meta SET value = ? WHERE name = 'generation'", (generation,))
    indexed = Project(ingested).index()
    assert indexed.generation == generation, "the test proves nothing otherwise"
    assert indexed.action == "built"


def test_an_index_older_than_the_corpus_is_an_error_that_says_what_to_do(ingested, sources):
    (sources.documents / "new.md").write_text(document(PLACES[9], 4), encoding="utf-8")
    Project(ingested).ingest()
    with pytest.raises(Exception, match="run 'ragtune index'"):
        search(ingested, "x")


def test_faiss_and_exact_search_give_the_same(ingested):
    found = search(ingested, "Who built the well of Farrow?")
    exact = Project(ingested, overrides=["index.backend=exact"])
    assert exact.index().action == "built"
    assert [(hit.source, hit.text) for hit in exact.search("Who built the well of Farrow?", 5)] == [(hit[0], hit[2]) for hit in found]
    store = ExactStore.load(ingested / ".ragtune" / "index")
    assert np.allclose(np.linalg.norm(store._vectors, axis=1), 1, atol=1e-5)


def test_another_embedder_embeds_again_and_the_first_ones_vectors_stay(ingested, tiny_embedder, tmp_path):
    from safetensors.numpy import load_file, save_file

    other = shutil.copytree(tiny_embedder, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: value + 0.1 for name, value in weights.items()}, other / "model.safetensors", metadata={"format": "pt"})
    changed = Project(ingested, overrides=[f"embed.model={other}"])
    changed.ingest()
    indexed = changed.index()
    assert (indexed.embedded, indexed.action) == (indexed.vectors, "built")
    Project(ingested).ingest()
    back = Project(ingested).index()
    assert (back.embedded, back.action) == (0, "built")


def test_question_files_among_the_documents_are_not_ingested(project, sources):
    inside = sources.documents / "questions.jsonl"
    shutil.copy(sources.questions, inside)
    shutil.copy(sources.questions, sources.documents / "squad.json")
    notes = Notes()
    asked = json.dumps([str(inside), str(sources.documents / "squad.json")])
    made = Project(project, overrides=[f"questions={asked}"], progress=notes).ingest()
    assert (made.documents, names(made.skipped)) == (8, set())
    assert "left out of the documents, as they hold the questions: questions.jsonl, squad.json" in notes.notes
    unnamed = Project(project).ingest()
    assert unnamed.documents == 8
    assert "holds questions, not documents" in {each.source: each.reason for each in unnamed.skipped}["questions.jsonl"]


def test_what_cannot_be_opened_is_listed_and_what_was_read_of_it_stays(project, sources, monkeypatch):
    (sources.documents / "deep").mkdir()
    shutil.move(sources.documents / "calder.md", sources.documents / "deep" / "calder.md")
    Project(project).ingest()
    before = corpus_state(project)
    scandir = os.scandir

    def deny_folder(path: Any) -> Any:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def deny_file(path: Path) -> str:
        if path.name == "farrow.md":
            raise PermissionError(13, "Permission denied")
        return hash_file(path)

    with monkeypatch.context() as patch:
        patch.setattr("os.scandir", deny_folder)
        patch.setattr("ragtune.pipeline.ingest.hash_file", deny_file)
        made = Project(project).ingest()
    assert {each.source: each.reason for each in made.skipped} == {
        "deep": "the folder cannot be read: Permission denied",
        "farrow.md": "it cannot be opened: Permission denied",
    }
    assert (made.removed, made.unchanged, made.documents) == ((), 6, 8)
    assert corpus_state(project) == before
    again = Project(project).ingest()
    assert (again.skipped, again.unchanged) == ((), 8)


def test_a_file_that_vanishes_while_it_is_ingested_ends_nothing(project, sources, monkeypatch):
    def lose(path: Path) -> str:
        if path.name == "farrow.md":
            path.unlink()
        return hash_file(path)

    monkeypatch.setattr("ragtune.pipeline.ingest.hash_file", lose)
    made = Project(project).ingest()
    assert [(each.source, each.reason) for each in made.skipped] == [("farrow.md", "it vanished before it was read")]
    assert made.documents == 7


def test_a_name_that_is_not_unicode_is_listed_as_skipped(project, sources):
    try:
        Path(os.fsdecode(os.fsencode(sources.documents) + b"/caf\xe9.md")).write_text("Text.")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    made = Project(project).ingest()
    assert names(made.skipped) == {"caf\ufffd.md"}
    assert made.documents == 8


def test_what_was_cleaned_is_counted_and_every_chunk_points_into_the_stored_text(project, sources):
    dirty = "\ufeff# Kelby\n\nSkip to content\n\nThe cafÃ© of Kel\u00ad\nby was built by slate heron in stone."
    (sources.documents / "kelby.md").write_text(dirty, encoding="utf-8")
    made = Project(project).ingest()
    assert made.repairs == {"boilerplate": 1, "hyphenation": 1, "mojibake": 1}
    counted = json.loads((project / ".ragtune" / "ingest.json").read_text(encoding="utf-8"))
    assert counted["figures"]["repairs"] == dict(made.repairs)
    assert counted["settings"]["mojibake"] is True
    for off in ("", "boilerplate", "hyphenation", "mojibake"):
        made = Project(project, overrides=[f"prepare.{off}=false"] if off else []).ingest()
        assert off not in made.repairs
        corpus = Corpus(project / ".ragtune" / "corpus.db")
        texts = {each.source: each.text for each in corpus.all_documents()}
        assert all(texts[chunk.document][chunk.start : chunk.end] == chunk.text for chunk in corpus.all_chunks())
        assert ("café of Kelby\nwas" in texts["kelby.md"]) == (off in ("", "boilerplate"))
        corpus.close()
        assert Project(project, overrides=[f"prepare.{off}=false"] if off else []).ingest().unchanged == 9


def test_what_a_filter_leaves_out_leaves_the_corpus_and_comes_back(ingested):
    filtered = Project(ingested, overrides=['prepare.exclude=["c*", "d*"]']).ingest()
    assert names(filtered.left_out) == names(filtered.removed) == {"calder.md", "dunmere.md"}
    assert filtered.documents == 6
    assert names(Project(ingested).ingest().read) == {"calder.md", "dunmere.md"}


def test_a_copy_that_no_longer_is_one_comes_back_though_no_chunk_changed(project, sources):
    for name in ("zz-1.md", "zz-2.md"):
        (sources.documents / name).write_text("Slate heron.\n\nWillow copper.", encoding="utf-8")
    Project(project).ingest()
    Project(project).index()
    (sources.documents / "zz-1.md").write_text("Slate heron.\n\n\nWillow copper.", encoding="utf-8")
    assert Project(project).ingest().duplicates == ()
