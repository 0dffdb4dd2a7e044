"""Deleting means gone: no file of the workspace holds a purged text, and nothing brings it back."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from ragtune import Project, cli
from ragtune.errors import ProjectError
from ragtune.hosted.ledger import Ledger
from ragtune.pipeline import purge as purging
from ragtune.types import Reply, Usage
from tiny_project import write_project, write_sources

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

FACT = "The vault of Quillmoor was sealed by Zephyra Brandt with the number QX771 in stone."
SECRET = f"# Quillmoor\n\nSlate heron gravel willow copper. {FACT} Autumn ferry lantern granite meadow.\n\n## Keys\n\n" + (
    "Harvest timber marsh beacon orchard winter pebble saddle. The keeper of Quillmoor is Zephyra Brandt. Cellar thistle anchor barley."
)
TELLING = (b"quillmoor", b"zephyra", b"brandt", b"qx771", b"sealed by", b"beacon orchard winter pebble saddle")
EVIDENCE = {"document": "secret.md", "evidence": FACT}
QUESTIONS = [
    {"id": "q-901", "question": "Who sealed the vault of Quillmoor?", "answers": ["Zephyra Brandt"], **EVIDENCE, "split": "train"},
    {"id": "q-902", "question": "With which number was the vault sealed?", "answers": ["QX771"], **EVIDENCE, "split": "test"},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_chat, tiny_embedder) -> Path:
    """A project in which everything was run."""
    root = tmp_path_factory.mktemp("made")
    sources = write_sources(root / "sources")
    (sources.documents / "secret.md").write_text(SECRET, encoding="utf-8")
    with sources.questions.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    project = write_project(root / "project", sources, tiny_chat, tiny_embedder)
    opened = Project(project)
    opened.run()
    Ledger(opened.workspace.ledger).keep("a", Reply("Zephyra Brandt sealed it.", "m", "stop", Usage(1, 1)))
    Ledger(opened.workspace.ledger).keep("b", Reply("Nobody knows.", "m", "stop", Usage(1, 1)))
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Project:
    """A copy that a test may change; its documents lie beside it."""
    shutil.copytree(made, tmp_path / "copy")
    toml = tmp_path / "copy" / "project" / "ragtune.toml"
    toml.write_text(toml.read_text().replace(str(made), str(tmp_path / "copy")))
    return Project(tmp_path / "copy" / "project")


def holding(folder: Path) -> dict[str, list[bytes]]:
    """Files whose bytes hold something telling, free pages and logs of databases among them."""
    found = {}
    for path in folder.rglob("*"):
        data = path.read_bytes().lower() if path.is_file() else b""
        if words := [word for word in TELLING if word in data]:
            found[path.relative_to(folder).as_posix()] = words
    return found


def documents(project: Project) -> Path:
    return project.path.parent / "sources" / "documents"


def test_a_purge_leaves_nothing_in_corpus_and_index_and_lists_what_holds_it(project: Project) -> None:
    before = holding(project.workspace.folder)
    assert {"corpus.db", "chat.db"} <= before.keys(), "the test proves nothing otherwise"
    result = project.purge(["secret.md"])
    assert (result.purged, result.documents, result.done) == (("secret.md",), 1, True)
    after = holding(project.workspace.folder)
    assert not any(name.startswith(("corpus.db", "index/")) for name in after)
    listed = {held.path.removeprefix(".ragtune/") for held in result.held if not held.own}
    assert {name for name in after if not name.endswith(("-wal", "-shm"))} <= listed
    assert [Path(held.path).name for held in result.held if held.own] == ["questions.jsonl"]
    assert len(result.tuned) == 1
    assert not any(held.redacted for held in result.held)
    assert all(hit.source != "secret.md" for hit in project.search("Who sealed the vault of Quillmoor?", 20))


def test_models_of_folds_are_named_too(project: Project) -> None:
    project.evaluate(folds=2)
    (dataset,) = project.workspace.manifests("datasets")
    (alone, *folds) = project.purge(["secret.md"]).tuned
    assert " " not in alone
    assert [re.sub(r"^tuned-\w+ ", "", name) for name in folds] == [f"(fold-{number} of {dataset.name}-2)" for number in (1, 2)]


def test_a_redacted_purge_leaves_nothing_in_any_file_of_the_workspace(project: Project) -> None:
    mine = {path.name: path.read_bytes() for path in documents(project).iterdir()}
    questions = (documents(project).parent / "questions.jsonl").read_bytes()
    result = project.purge(["secret.md"], redact=True)
    assert holding(project.workspace.folder) == {}
    assert all(held.redacted != held.own for held in result.held)
    assert {path.name: path.read_bytes() for path in documents(project).iterdir()} == mine
    assert (documents(project).parent / "questions.jsonl").read_bytes() == questions
    with closing(sqlite3.connect(project.workspace.ledger)) as db:
        assert [key for (key,) in db.execute("SELECT key FROM replies")] == ["b"], "other replies stay paid for"
    assert project.report().report.questions > 0
    assert project.dataset_show().text
    assert project.search("Who built the mill of Calder?")[0].source == "calder.md"


def test_a_purge_takes_the_pages_of_examples_away_and_leaves_whole_models_whole(project: Project) -> None:
    """The page shows texts token by token, in which no blanking finds them; a vocabulary has words that documents have too."""
    page = Path(project.dataset_view().path)
    assert page.is_file()
    model = project.workspace.artifact("models", "whole") / "model"
    model.mkdir(parents=True)
    (model / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"Quillmoor": 0, "Zephyra Brandt": 1}}}), encoding="utf-8")
    before = (model / "tokenizer.json").read_bytes()
    result = project.purge(["secret.md"], redact=True)
    assert not page.exists()
    assert (model / "tokenizer.json").read_bytes() == before
    assert not any("models/whole" in held.path for held in result.held)


def test_what_was_purged_stays_out_under_any_name_until_it_is_taken_off_the_list(project: Project) -> None:
    project.purge(["secret.md"])
    first = project.ingest()
    assert [each.source for each in first.left_out] == ["secret.md"]
    assert "'ragtune purge --undo secret.md'" in first.left_out[0].reason
    (documents(project) / "secret.md").rename(documents(project) / "other.md")
    second = project.ingest()
    assert (second.documents, [each.source for each in second.left_out]) == (8, ["other.md"])
    project.undo_purge(["secret.md"])
    assert [each.source for each in project.ingest().read] == ["other.md"]
    project.index()
    assert project.search("Who sealed the vault of Quillmoor?", 20)
    with pytest.raises(ProjectError, match=r"secret.md was not purged \(these were: none\)"):
        project.undo_purge(["secret.md"])


def test_an_undoing_takes_all_of_the_same_bytes_off_the_list(project: Project, monkeypatch, capsys) -> None:
    twin = documents(project) / "zz-twin.md"
    project.purge(["secret.md"])
    shutil.copy(documents(project) / "secret.md", twin)
    reason = {each.source: each.reason for each in project.ingest().left_out}["zz-twin.md"]
    assert re.match(r"purged on \d{4}-\d\d-\d\d as secret.md, which has the same bytes: 'ragtune purge --undo secret.md'", reason)
    written = project.workspace.purged.read_text(encoding="utf-8")
    entries = json.loads(written)
    project.workspace.purged.write_text(json.dumps([*entries, {**entries[0], "source": "zz-twin.md"}]), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["ragtune", "purge", "--undo", "secret.md", "--project", str(project.path)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert capsys.readouterr().out.splitlines() == [
        "secret.md: the next 'ragtune ingest' takes it in again",
        "  with the same bytes, and so off the list too: zz-twin.md",
    ]
    assert {each.source for each in project.ingest().read} == {"secret.md", "zz-twin.md"}


def test_a_purge_that_finds_nothing_to_do_says_so(project: Project, monkeypatch, capsys) -> None:
    def said(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["ragtune", "purge", *words, "--yes", "--project", str(project.path)])
        with pytest.raises(SystemExit, match="0"):
            cli.main()
        return capsys.readouterr().out.splitlines()[0]

    before = project.workspace.index.stat().st_mtime_ns
    assert said("--missing") == "nothing is missing"
    assert project.workspace.index.stat().st_mtime_ns == before
    assert said("secret.md") == "secret.md: 1 document gone from corpus and index"
    assert said("secret.md") == "secret.md: purged already"


def test_a_row_is_purged_alone_and_stays_out_when_its_table_changes(project: Project) -> None:
    table = documents(project) / "staff.csv"
    table.write_text("id,name,place\n1,Zephyra Brandt,Quillmoor\n2,Ada Slate,Heron\n", encoding="utf-8")
    project.ingest()
    project.index()
    assert project.purge(["staff.csv#1"]).documents == 1
    assert project.ingest().unchanged == 10
    table.write_text(table.read_text() + "3,Bo Gravel,Copper\n", encoding="utf-8")
    assert project.ingest().documents == 11
    project.undo_purge(["staff.csv#1"])
    assert project.ingest().documents == 12


def test_a_file_in_an_archive_is_purged_alone_and_stays_out_when_the_archive_changes(project: Project) -> None:
    def pack(**more: str) -> None:
        with zipfile.ZipFile(documents(project) / "packed.zip", "w") as archive:
            for name, text in {
                "vault.md": SECRET.replace("Slate", "Hidden"),
                "other.md": "# Other\n\nThe ferry is late.\n",
                **more,
            }.items():
                archive.writestr(name, text)

    (documents(project) / "secret.md").unlink()
    pack()
    project.ingest()
    result = project.purge(["packed.zip/vault.md"], redact=True)
    assert (result.purged, result.documents) == (("packed.zip/vault.md",), 1)
    pack(third="# Third\n\nThe marsh is wet.\n")
    project.ingest()
    project.index()
    assert holding(project.workspace.folder) == {}
    assert project.search("Is the ferry late?", 1)[0].source == "packed.zip/other.md"
    project.undo_purge(["packed.zip/vault.md"])
    project.ingest()
    project.index()
    assert project.search("Who sealed the vault of Quillmoor?", 1)[0].source == "packed.zip/vault.md"


def test_a_copy_goes_with_it_and_one_that_is_nearly_the_same_is_named_and_comes_back(project: Project) -> None:
    shutil.copy(documents(project) / "calder.md", documents(project) / "twin.md")
    (documents(project) / "zz.md").write_text((documents(project) / "calder.md").read_text() + " More.", encoding="utf-8")
    assert len(project.ingest().duplicates) == 2
    result = project.purge(["calder.md"])
    assert result.purged == ("calder.md", "twin.md")
    assert [each.source for each in result.copies] == ["zz.md"]
    assert project.ingest().duplicates == ()
    assert project.search("Who built the mill of Calder?", 20)[0].source == "zz.md"


def test_what_says_the_same_is_named_though_other_people_may_see_it(project: Project) -> None:
    (documents(project) / "zz.md").write_text((documents(project) / "calder.md").read_text() + " More.", encoding="utf-8")
    opened = Project(project.path, overrides=['prepare.metadata={"zz*" = {access = ["board"]}}'])
    assert opened.ingest().duplicates == ()
    opened.index()
    assert [(each.source, each.reason) for each in opened.purge(["calder.md"]).copies] == [("zz.md", "says the same as calder.md")]


def test_tags_that_changed_since_a_purge_are_seen_by_the_next_ingest(project: Project) -> None:
    (documents(project) / "zz.md").write_text((documents(project) / "calder.md").read_text() + " More.", encoding="utf-8")
    assert len(project.ingest().duplicates) == 1
    tagged = Project(project.path, overrides=['prepare.metadata={"zz*" = {access = ["board"]}}'])
    project.index()
    tagged.purge(["dunmere.md"])
    assert tagged.ingest().duplicates == ()


def test_the_command_asks_and_changes_nothing_where_nobody_agrees(project: Project, monkeypatch, capsys) -> None:
    before = holding(project.workspace.folder)
    monkeypatch.setattr("sys.argv", ["ragtune", "purge", "secret.md", "--project", str(project.path)])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "say --yes" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr("sys.argv", ["ragtune", "purge", "nothing.md", "--project", str(project.path)])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "there is no source 'nothing.md'" in " ".join(capsys.readouterr().err.split())
    assert project.purge(["secret.md"], confirm=lambda plan: plan.documents != 1).done is False
    assert holding(project.workspace.folder) == before
    monkeypatch.setattr("sys.argv", ["ragtune", "purge", "secret.md", "--redact", "--yes", "--json", "--project", str(project.path)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert json.loads(capsys.readouterr().out)["documents"] == 1
    assert holding(project.workspace.folder) == {}


def test_what_an_ingest_removed_is_purged_where_datasets_and_evaluations_hold_it(project: Project) -> None:
    project.evaluate_retrieval(split="train")
    project.evaluate_retrieval(split="test")
    retrieval = [name for name in holding(project.workspace.folder) if name.startswith("evaluations/retrieval-")]
    assert {name.rpartition("/")[2] for name in retrieval} == {"report.json", "report.html"}, "the test proves nothing otherwise"
    (documents(project) / "secret.md").unlink()
    assert [each.source for each in project.ingest().removed] == ["secret.md"]
    assert "corpus.db" in holding(project.workspace.folder), "free pages hold what was deleted"
    listed = project.purge(missing=True)
    assert (listed.purged, listed.documents, listed.done) == (("secret.md",), 0, True)
    assert not any(name.startswith(("corpus.db", "index/")) for name in holding(project.workspace.folder))
    assert {f".ragtune/{name}" for name in retrieval} <= {each.path for each in listed.held}
    project.purge(missing=True, redact=True)
    assert holding(project.workspace.folder) == {}
    (answers,) = project.workspace.folder.glob("evaluations/test-*/predictions.jsonl")
    with answers.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"quotes": [{"document": "secret.md", "text": "The"}]}) + "\n")
    assert project.purge(missing=True).purged == (), "what any document says is not blanked, and so is no reason to look again"
    shutil.copy(documents(project) / "calder.md", documents(project) / "secret.md")
    (documents(project) / "calder.md").unlink()
    assert [each.source for each in project.ingest().read] == ["secret.md"], "it is not kept out of later ingests"


def test_what_is_gone_already_may_be_purged_by_its_name_and_then_stays_out(project: Project) -> None:
    secret = documents(project) / "secret.md"
    secret.unlink()
    project.ingest()
    assert project.purge(["secret.md"], redact=True).purged == ("secret.md",)
    assert holding(project.workspace.folder) == {}
    secret.write_text(SECRET, encoding="utf-8")
    assert [each.source for each in project.ingest().left_out] == ["secret.md"]


def test_a_purge_of_what_is_missing_that_is_stopped_finds_it_again(project: Project, monkeypatch) -> None:
    (documents(project) / "secret.md").unlink()
    project.ingest()
    whole, done = purging._blank, []

    def stopping(workspace, forgotten, held):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(held.path)
        return whole(workspace, forgotten, held)

    with monkeypatch.context() as patch:
        patch.setattr(purging, "_blank", stopping)
        with pytest.raises(KeyboardInterrupt):
            project.purge(missing=True, redact=True)
    assert holding(project.workspace.folder)
    project.purge(missing=True, redact=True)
    assert holding(project.workspace.folder) == {}


def test_the_command_wants_names_or_missing_and_not_both(project: Project, monkeypatch, capsys) -> None:
    for words in ([], ["secret.md", "--missing"], ["--missing", "--undo"]):
        monkeypatch.setattr("sys.argv", ["ragtune", "purge", *words, "--yes", "--project", str(project.path)])
        with pytest.raises(SystemExit, match="2"):
            cli.main()
        assert "--missing" in capsys.readouterr().err


def test_a_source_that_is_not_there_is_an_error(project: Project) -> None:
    with pytest.raises(ProjectError, match=r"no source 'nowhere.md'"):
        project.purge(["nowhere.md"])
