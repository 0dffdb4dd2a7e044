"""A project whose embedder is a server: what is asked for once is never asked for again, whatever happens in between."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="openai is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

from killing import difference, done_so_far, kill_copy, run, state

from embedding_server import KEY, serve_embeddings
from ragtune import Project
from ragtune.errors import ChatError, ConfigError, ConsentError, CorpusError, KeyRefusedError, SpendingCapError
from ragtune.models.hosted import HOSTED
from tiny_project import write_project, write_sources

MODEL = "openai:text-embedding-3-small"
FREE = "compatible:m"


class Notes:
    """Keeps what a stage tells."""

    def __init__(self):
        self.said = []

    def note(self, message):
        self.said.append(message)

    def start(self, stage, total=None):
        pass

    def update(self, stage, done, detail=""):
        pass

    def finish(self, stage, message):
        pass


def write_hosted(folder: Path, sources, tiny_chat, tiny_embedder, url: str, model: str = FREE) -> Path:
    """A project whose embedder is behind a URL; its tokens are counted as the tiny embedder does."""
    project = write_project(folder, sources, tiny_chat, tiny_embedder)
    settings = (project / "ragtune.toml").read_text(encoding="utf-8")
    settings = settings.replace(f"model = {json.dumps(str(tiny_embedder))}", f"model = {json.dumps(model)}\nbatch_size = 4")
    settings = settings.replace("chunk_size = 40", f"chunk_size = 40\ntokenizer = {json.dumps(str(tiny_embedder))}")
    (project / "ragtune.toml").write_text(settings, encoding="utf-8")
    variable = model.partition(":")[0].upper()
    (project / ".env").write_text(f"{variable}_API_KEY={KEY}\n{variable}_BASE_URL={url}\n", encoding="utf-8")
    return project


@pytest.fixture
def hosted(tmp_path, sources, tiny_chat, tiny_embedder, embeddings) -> Path:
    """A project whose embedder is the loopback server; nothing was run yet."""
    return write_hosted(tmp_path / "hosted", sources, tiny_chat, tiny_embedder, embeddings.openai)


@pytest.fixture
def indexed(hosted) -> Path:
    project = Project(hosted)
    project.ingest()
    project.index()
    return hosted


def test_every_chunk_is_embedded_once_and_a_second_run_asks_nobody(indexed, embeddings):
    chunks = Project(indexed).index().vectors
    assert len(embeddings.texts) == len(set(embeddings.texts)) == chunks > 0
    embeddings.requests.clear()
    again = Project(indexed)
    again.ingest()
    assert again.index().embedded == 0
    assert embeddings.requests == []


def test_a_search_repeated_in_another_process_asks_nobody(indexed, embeddings):
    first = Project(indexed).search("Who built the mill of Calder?", 3)
    embeddings.requests.clear()
    assert Project(indexed).search("Who built the mill of Calder?", 3) == first
    assert embeddings.requests == []
    assert first[0].source == "calder.md"


def test_a_dataset_asks_for_its_questions_once(indexed, embeddings):
    Project(indexed).dataset()
    asked = [text for text in embeddings.texts if text.endswith("?")]
    assert len(asked) == len(set(asked)) == 34
    embeddings.requests.clear()
    Project(indexed, overrides=["dataset.seed=1"]).dataset()
    assert embeddings.requests == []


def test_the_dimension_is_recorded_and_the_key_is_nowhere(indexed):
    manifest = json.loads((indexed / ".ragtune" / "index" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["name"], manifest["dimension"]) == (FREE, 24)
    files = [path for path in (indexed / ".ragtune").rglob("*") if path.is_file()]
    assert (indexed / ".ragtune" / "embeddings.db") in files
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_another_dimension_is_another_embedder(indexed, embeddings):
    short = Project(indexed, overrides=["embed.dimensions=8"])
    made = short.index()
    assert made.embedded == made.vectors > 0
    assert embeddings.requests[-1]["dimensions"] == 8
    assert short.search("mill", 1)
    with pytest.raises(CorpusError, match="run 'ragtune index'"):
        Project(indexed, overrides=["embed.dimensions=9"]).search("mill", 1)


def test_a_server_that_has_another_model_now_is_found_out(indexed, embeddings):
    embeddings.dimension = 12
    with pytest.raises(ChatError, match=r"embed\.dimensions = 12"):
        Project(indexed).search("mill", 1)
    (indexed / ".ragtune" / "embeddings.db").unlink()  # even where nothing but the index remembers
    with pytest.raises(CorpusError, match=r"of 12 dimensions came, and of 24 before"):
        Project(indexed).search("mill", 1)
    assert Project(indexed, overrides=["embed.dimensions=12"]).index().embedded > 0


def test_a_new_chunk_of_another_dimension_is_not_stored(indexed, sources, embeddings):
    embeddings.dimension = 12
    (indexed / ".ragtune" / "embeddings.db").unlink()
    (sources.documents / "new.md").write_text("# New\n\nSomething that was not there before.\n", encoding="utf-8")
    project = Project(indexed)
    project.ingest()
    with pytest.raises(CorpusError, match=r"of 12 dimensions came, and of 24 before"):
        project.index()
    assert done_so_far(indexed, "index") == len(set(embeddings.texts)) - 1


def test_the_cap_stops_an_index_that_goes_on_where_it_was(hosted, embeddings):
    # A request of four chunks costs about 0.2 dollars, and could cost five times as much.
    priced = [f'chat.prices={{"{FREE}" = [1000, 0]}}', "chat.concurrency=1"]
    Project(hosted).ingest()
    notes = Notes()
    with pytest.raises(SpendingCapError, match=r"chat\.max_cost"):
        Project(hosted, overrides=[*priced, "chat.max_cost=1.5"], progress=notes).index(yes=True)
    assert any(f"{FREE} embeds" in note and "chat.max_cost ($1.5)" in note for note in notes.said)
    before = len(embeddings.texts)
    assert before > 0
    project = Project(hosted, overrides=[*priced, "chat.max_cost=100"])
    project.index(yes=True)
    assert len(embeddings.texts) == len(set(embeddings.texts)) > before


def test_an_index_and_a_datasets_questions_are_paid_for_where_somebody_agreed(hosted, embeddings):
    paid = Project(hosted, overrides=[f'chat.prices={{"{FREE}" = [1000, 0]}}', "chat.max_cost=100"])
    paid.ingest()
    told = []
    with pytest.raises(ConsentError, match=r"compatible:m embeds \d+ chunks, about [\d,]+ tokens, for about \$\d.*--yes"):
        paid.index()
    with pytest.raises(ConsentError, match="nothing was spent"):
        paid.index(confirm=lambda plan: bool(told.append(plan)))
    assert "$" in told[0]
    assert embeddings.requests == []
    paid.index(confirm=lambda _: True)
    assert paid.index().embedded == 0, "where nothing is left to do, nobody is asked"
    before = len(embeddings.requests)
    with pytest.raises(ConsentError, match="questions"):
        paid.dataset()
    assert len(embeddings.requests) == before
    paid.dataset(yes=True)
    paid.dataset(name="again")


def test_an_embedder_that_will_be_gone_is_said(hosted, monkeypatch):
    gone = replace(HOSTED[MODEL], id=FREE, retires=date(2026, 1, 2))
    monkeypatch.setitem(HOSTED, FREE, gone)
    notes = Notes()
    project = Project(hosted, progress=notes)
    project.ingest()
    project.index()
    assert [note for note in notes.said if "shut down on 2026-01-02" in note] == [f"{FREE} was shut down on 2026-01-02"]


def test_a_free_server_is_not_said_to_cost(hosted):
    notes = Notes()
    project = Project(hosted, progress=notes)
    project.ingest()
    project.index()
    assert [note for note in notes.said if "cost" in note or "embeds" in note] == []


def test_a_server_without_a_known_price_is_refused_under_a_cap(hosted, monkeypatch):
    Project(hosted).ingest()
    monkeypatch.setenv("COMPATIBLE_BASE_URL", "http://example.invalid/v1")
    with pytest.raises(ConfigError, match=r"chat\.prices"):
        Project(hosted).index()


def test_a_missing_key_is_said_before_anything_is_read(hosted):
    with pytest.raises(KeyRefusedError, match="MISTRAL_API_KEY"):
        Project(hosted, overrides=["embed.model=mistral:mistral-embed"]).ingest()


def test_a_chunk_larger_than_the_servers_window_is_refused(hosted):
    with pytest.raises(ConfigError, match=r"compatible:m reads 512 tokens"):
        Project(hosted, overrides=["prepare.chunk_size=600"]).ingest()
    Project(hosted, overrides=["prepare.chunk_size=600", "embed.max_tokens=1000"]).ingest()


def test_changing_between_hosted_embedders_cuts_no_document_anew(indexed, embeddings):
    assert Project(indexed, overrides=["embed.model=compatible:other"]).ingest().read == ()


def test_a_real_server_serves_a_project(tmp_path, tiny_chat, tiny_embedder, llama_embeddings):
    sources = write_sources(tmp_path / "sources", places=2, facts=2)
    project = write_hosted(tmp_path / "real", sources, tiny_chat, tiny_embedder, llama_embeddings.url)
    (project / ".env").write_text(f"COMPATIBLE_API_KEY={llama_embeddings.key}\nCOMPATIBLE_BASE_URL={llama_embeddings.url}\n")
    opened = Project(project)
    opened.ingest()
    assert opened.index().embedded > 0
    manifest = json.loads((project / ".ragtune" / "index" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["dimension"] == 576
    assert opened.search("Who built the mill of Ardmoor?", 1)[0].source == "ardmoor.md"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_index_goes_on_and_asks_for_nothing_that_was_stored(tmp_path, tiny_chat, tiny_embedder):
    sources = write_sources(tmp_path / "sources", places=12, facts=4, filler=110)
    with serve_embeddings() as server:
        server.delay_s = 0.01
        before = write_hosted(tmp_path / "before", sources, tiny_chat, tiny_embedder, server.openai)
        run(before, "ingest")
        whole = shutil.copytree(before, tmp_path / "whole")
        run(whole, "index")
        server.texts.clear()
        killed = kill_copy(before, tmp_path / "killed", "index", [40])
        stored, asked = killed.done, len(server.texts)
        run(tmp_path / "killed", "index")
        assert difference(state(tmp_path / "killed", "index"), state(whole, "index")) == []
        total = done_so_far(whole, "index")
        assert 0 < stored < total
        assert len(server.texts) - asked <= total - stored  # what was on its way when it was killed is lost, and nothing else
