"""Tuning the retriever end to end, with a tiny embedder that is real in every part."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ragtune import Project, build
from ragtune.cli import app
from ragtune.dataset.store import read_dataset
from ragtune.errors import ConfigError, ProjectError, TrainError
from ragtune.pipeline.crossfit import CrossFitted, open_cross_fitted
from ragtune.pipeline.train_retriever import _held_out
from ragtune.progress import Silent
from ragtune.workspace import Workspace
from tiny_project import write_project, write_sources

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

from ragtune.pipeline import adopt_retriever
from ragtune.train import rankers

QUICK = ["retriever.passages=4", "retrieve.dense_weight=1.0", "retrieve.candidates=20", "retriever.loss=infonce"]
BETTER = [*QUICK, "retriever.learning_rate=0.003", "retriever.epochs=8", "retriever.keep=0", "retriever.rerank=false"]
NO_BETTER = [*QUICK, "retriever.learning_rate=1e-9", "retriever.reranker_learning_rate=1e-9"]
QUESTION = "Who built the chapel of Kelby?"


class Told(Silent):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.updates: list[tuple[float, str]] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def update(self, stage: str, done: float, detail: str = "", left: float | None = None) -> None:
        self.updates.append((done, detail))


class Killed(BaseException):
    """As a kill would, it passes everything by."""


@pytest.fixture(scope="module")
def ready(tmp_path_factory, tiny_chat, tiny_embedder) -> Path:
    """A project with 96 questions, ingested, indexed and with a dataset."""
    folder = tmp_path_factory.mktemp("retriever")
    sources = write_sources(folder / "sources", places=12, facts=8)
    project = write_project(folder / "project", sources, tiny_chat, tiny_embedder)
    opened = Project(project, overrides=BETTER)
    opened.ingest()
    opened.index()
    opened.dataset()
    return project


@pytest.fixture(scope="module")
def adopted(ready, tmp_path_factory) -> Path:
    """The same with a tuned embedder in force."""
    project = tmp_path_factory.mktemp("adopted") / "project"
    shutil.copytree(ready, project)
    assert Project(project, overrides=BETTER).train_retriever().adopted == ("embedder",)
    return project


def copy(project: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(project, tmp_path / "copy"))


def found(project: Path, settings: list[str] = BETTER) -> list[tuple[float, str, int]]:
    return [(hit.score, hit.source, hit.start) for hit in Project(project, overrides=settings).search(QUESTION, 5)]


def say_better(project: Path, **better: bool) -> None:
    """Let the manifest say so, whatever was measured."""
    path = next(Workspace(project).folder.glob("retrievers/*/manifest.json"))
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["figures"]["better"] = better
    path.write_text(json.dumps(manifest), encoding="utf-8")


def test_what_is_better_on_questions_that_it_was_not_tuned_on_is_adopted(ready, adopted):
    (manifest,) = Workspace(adopted).manifests("retrievers")
    figures = manifest.figures
    assert figures["differences"]["tuned − untuned"]["ndcg@10"]["low"] > 0
    assert figures["decided_on"]["cross_fitted"] == figures["questions"] > 20
    assert figures["decided_on"]["validation"] > 0
    assert {"corpus", "base", "questions", "dataset"} <= manifest.inputs.keys()
    assert found(adopted) != found(ready)
    assert [check.found for check in Project(adopted).doctor() if check.name == "Retriever"] == [f"tuned: embedder of {manifest.name}"]


def test_a_tuned_embedder_shares_the_chunks_and_serves_from_an_index_of_its_own(adopted):
    opened = Project(adopted, overrides=BETTER)
    assert opened.ingest().read == ()
    assert opened.index().action == "unchanged"
    (manifest,) = opened.workspace.manifests("retrievers")
    assert opened.explain_index().embedder == f"the embedder of {manifest.name}"


def test_what_is_no_better_is_not_adopted_and_changes_nothing(ready, tmp_path):
    project = copy(ready, tmp_path)
    before = found(project)
    options = [option for setting in NO_BETTER for option in ("--set", setting)]
    done = CliRunner().invoke(app, ["train", "--retriever", "--project", str(project), "--json", *options])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["adopted"] == []
    assert result["figures"]["better"] == {"embedder": False, "reranker": False}
    assert not Workspace(project).adopted.exists()
    assert found(project) == before


def test_each_arm_is_said_once_and_training_counts_whole_questions(ready, tmp_path):
    told = Told()
    Project(copy(ready, tmp_path), overrides=NO_BETTER, progress=told).train_retriever()
    asking = [re.sub(r"\d+", "N", note) for note in told.notes if note.startswith("asking")]
    arms = ["untuned retriever", "tuned retriever", "untuned retriever, re-ranked"]
    assert asking == [f"asking N questions of the {arm} …" for arm in arms]
    trained = [(done, detail) for done, detail in told.updates if "loss" in detail]
    assert trained
    assert all(isinstance(done, int) and detail.startswith("questions; ") for done, detail in trained)


def test_vectors_of_what_does_not_serve_are_not_kept(ready, adopted, tmp_path):
    def sets(project: Path) -> int:
        with contextlib.closing(sqlite3.connect(Workspace(project).corpus)) as db:
            return int(db.execute("SELECT count(DISTINCT embedder) FROM vectors").fetchone()[0])

    project = copy(ready, tmp_path)
    Project(project, overrides=NO_BETTER).train_retriever()
    assert sets(project) == sets(ready) == 1
    assert sets(adopted) == 4  # the base's, the tuned one's, and those of two folds
    project = copy(adopted, tmp_path / "twins")
    (folder,) = Workspace(project).folder.glob("retrievers/*")
    twin = Path(shutil.copytree(folder, folder.with_name("twin"))) / "manifest.json"
    twin.write_text(json.dumps({**json.loads(twin.read_text()), "name": "twin", "key": "another"}), encoding="utf-8")
    assert Project(project, overrides=BETTER).train_retriever().adopted == ("embedder",)
    assert sets(project) == 4
    project = copy(adopted, tmp_path / "reranker alone")
    say_better(project, embedder=False, reranker=True)
    assert Project(project, overrides=[*BETTER, "retriever.rerank=true"]).train_retriever().adopted == ("reranker",)
    assert sets(project) == 1


def test_tuning_again_with_nothing_changed_trains_nothing_even_from_a_newer_dataset(adopted, tmp_path, monkeypatch):
    project = copy(adopted, tmp_path)
    opened = Project(project, overrides=BETTER)
    assert opened.dataset().made
    monkeypatch.setattr(rankers, "_fit", None)
    again = opened.train_retriever()
    assert (again.made, again.adopted) == (False, ("embedder",))
    assert not opened.dataset().made


def test_training_questions_get_the_passages_that_a_fold_without_them_finds(adopted, tmp_path):
    project = copy(adopted, tmp_path)
    opened = Project(project, overrides=BETTER)
    made = opened.dataset()
    manifest = opened.workspace.find("datasets", made.name)
    data = read_dataset(Path(made.folder))
    retrieved_by = manifest.figures["retrieved_by"]
    assert {example.id for example in data.train} == set(retrieved_by)
    assert len({example.group for example in data.train}) > 2
    for group in {example.group for example in data.train}:
        assert len({retrieved_by[example.id] for example in data.train if example.group == group}) == 1
    example = next(each for each in data.train if each.oracles)
    asked = [(each.question, each.group, each.split) for each in data.train]
    with open_cross_fitted(opened.workspace, opened.settings, asked, Silent()) as retriever:
        assert isinstance(retriever, CrossFitted)
        fold = retriever.folds[int(retrieved_by[example.id].removeprefix("fold "))]
        own = [hit.chunk.id for hit in fold.retrieve([example.question], 20)[0]]
        serving = [hit.chunk.id for hit in retriever.serving.retrieve([example.question], 20)[0]]
    kept = [candidate.passage for candidate in example.candidates]
    assert kept == own
    assert kept != serving


def test_a_question_that_was_tuned_on_is_asked_of_its_fold_in_whatever_split_it_is_now(adopted):
    opened = Project(adopted, overrides=BETTER)
    data = read_dataset(opened.workspace.artifact("datasets", opened.workspace.find("datasets", None).name))
    example = next(each for each in data.train if each.oracles)
    asked = [(example.question, example.group, "test"), ("Is this new?", "a.md", "test"), ("And this?", "a.md", "train")]
    with open_cross_fitted(opened.workspace, opened.settings, asked, Silent()) as retriever:
        assert set(retriever.fold_of) == {example.question, "And this?"}


def test_killed_before_the_swap_the_old_retriever_serves_and_the_next_run_goes_on(ready, tmp_path, monkeypatch):
    project = copy(ready, tmp_path)
    before = found(project)
    write = adopt_retriever.write_json

    def dies(path: Path, value: object) -> None:
        if path == Workspace(project).adopted:
            raise Killed
        write(path, value)

    with monkeypatch.context() as patched:
        patched.setattr(adopt_retriever, "write_json", dies)
        with pytest.raises(Killed):
            Project(project, overrides=BETTER).train_retriever()
    assert found(project) == before
    monkeypatch.setattr(rankers, "_fit", None)  # nothing is trained again
    assert Project(project, overrides=BETTER).train_retriever().adopted == ("embedder",)
    assert found(project) != before


def test_killed_right_after_the_swap_the_new_retriever_serves_whole(ready, adopted, tmp_path):
    project = copy(adopted, tmp_path)
    shutil.rmtree(Workspace(project).index)
    shutil.copytree(Workspace(ready).index, Workspace(project).index)  # the index of the old embedder is still there
    assert found(project) == found(adopted)
    assert not Project(project, overrides=BETTER).explain_index().current
    Project(project, overrides=BETTER).index()
    assert found(project) == found(adopted)
    assert Project(project, overrides=BETTER).explain_index().current


def test_killed_between_two_models_it_trains_only_what_is_missing(ready, tmp_path, monkeypatch):
    project = copy(ready, tmp_path)
    trained: list[str] = []
    fit = rankers._fit

    def counts(network, lists, loss_of, output, recipe, on_step):
        if len(trained) == 3:
            raise Killed
        trained.append(str(output.relative_to(project)))
        return fit(network, lists, loss_of, output, recipe, on_step)

    with monkeypatch.context() as patched:
        patched.setattr(rankers, "_fit", counts)
        with pytest.raises(Killed):
            Project(project, overrides=BETTER).train_retriever()
    first = list(trained)
    trained.clear()
    monkeypatch.setattr(rankers, "_fit", lambda *all_: trained.append(str(all_[3].relative_to(project))) or fit(*all_))
    assert Project(project, overrides=BETTER).train_retriever().adopted == ("embedder",)
    assert len(first) == len(trained) == 3
    assert not set(first) & set(trained)


def test_undoing_lets_the_old_retriever_serve_and_tuning_again_brings_the_new_one_back(ready, adopted, tmp_path):
    project = copy(adopted, tmp_path)
    Project(project, overrides=BETTER).undo_retriever()
    assert found(project) == found(ready)
    with pytest.raises(ProjectError, match="nothing to undo"):
        Project(project, overrides=BETTER).undo_retriever()
    assert Project(project, overrides=BETTER).train_retriever().adopted == ("embedder",)
    assert found(project) == found(adopted)


def test_another_embedder_in_the_settings_takes_the_tuned_one_out_of_force(adopted, tiny_embedder, tmp_path):
    other = shutil.copytree(tiny_embedder, tmp_path / "other")
    checks = Project(adopted, overrides=[f"embed.model={other}"]).doctor()
    (check,) = [check for check in checks if check.name == "Retriever"]
    assert check.state == "note"
    assert "does not serve" in check.found


def test_an_adopted_retriever_whose_folder_is_gone_is_an_error_that_says_what_to_do(adopted, tmp_path):
    project = copy(adopted, tmp_path)
    shutil.rmtree(Workspace(project).folder / "retrievers")
    with pytest.raises(ProjectError, match="--undo"):
        found(project)
    Project(project, overrides=BETTER).undo_retriever()
    assert found(project)


def test_an_adopted_retriever_whose_folder_is_gone_is_made_again(adopted, tmp_path):
    project = copy(adopted, tmp_path)
    shutil.rmtree(Workspace(project).folder / "retrievers")
    again = Project(project, overrides=BETTER).train_retriever()
    assert (again.made, again.adopted) == (True, ("embedder",))
    assert found(project) == found(adopted)


def test_a_retriever_that_lacks_a_fold_says_so_and_only_that_is_trained_again(adopted, tmp_path, monkeypatch):
    project = copy(adopted, tmp_path)
    opened = Project(project, overrides=BETTER)
    (folds,) = Workspace(project).folder.glob("retrievers/*/folds")
    shutil.rmtree(folds / "1")
    with pytest.raises(ProjectError, match="run 'ragtune train --retriever' again"):
        opened.dataset()
    trained: list[str] = []
    fit = rankers._fit
    monkeypatch.setattr(rankers, "_fit", lambda *all_: trained.append(str(all_[3].relative_to(folds))) or fit(*all_))
    assert opened.train_retriever().name == folds.parent.name
    assert trained == ["1/reranker", "1/embedder"]
    assert opened.dataset().made
    (folds.parent / "folds.json").unlink()
    with pytest.raises(ProjectError, match=r"lacks its folds\.json"):
        opened.evaluate_retrieval()


def test_weights_are_chosen_on_training_questions_as_folds_without_them_find(adopted, monkeypatch):
    from ragtune.pipeline import weigh

    monkeypatch.setattr(weigh, "_FEWEST", 2)
    opened = Project(adopted, overrides=BETTER)
    row = next(row for row in opened.weigh_retrieval().weights if row.weight == 1)
    report = opened.evaluate_retrieval(split="train").report
    assert row.training == pytest.approx(report.overall.metrics["ndcg@10"].value)
    monkeypatch.setattr(weigh, "folds_of", lambda *_: ({}, []))
    assert next(row for row in opened.weigh_retrieval().weights if row.weight == 1).training > row.training + 0.01


def test_other_test_questions_make_another_retriever_for_their_evidence_must_not_be_shown_as_wrong(adopted, tmp_path, monkeypatch):
    project = copy(adopted, tmp_path)
    path = next(Workspace(project).folder.glob("datasets/*/test.jsonl"))
    examples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    gold = next(gold for each in examples for gold in each["evidence"])
    gold |= {"start": gold["start"] + 1, "text": gold["text"][1:]}
    path.write_text("".join(json.dumps(each) + "\n" for each in examples), encoding="utf-8")

    def dies(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(rankers, "_fit", dies)
    with pytest.raises(Killed):
        Project(project, overrides=BETTER).train_retriever()


def test_of_a_question_held_out_whose_document_changed_the_whole_document_is_held_out(adopted, tmp_path):
    project = copy(adopted, tmp_path)
    opened = Project(project, overrides=BETTER)
    data = read_dataset(opened.workspace.artifact("datasets", opened.workspace.find("datasets", None).name))
    example = next(each for each in data.test if each.evidence)
    with contextlib.closing(build.open_corpus(opened.workspace)) as corpus:
        assert _held_out(corpus, example) == example.evidence
        changed = replace(example, evidence=tuple(replace(gold, text="something else") for gold in example.evidence))
        assert [(gold.document, gold.start) for gold in _held_out(corpus, changed)] == [(example.evidence[0].document, 0)]


def test_a_changed_document_is_found_by_the_tuned_retriever(adopted, tmp_path):
    project = copy(adopted, tmp_path)
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "new.md").write_text("# New\n\nThe chapel was painted by heron willow.\n", encoding="utf-8")
    opened = Project(project, overrides=BETTER)
    opened.ingest([documents])
    assert opened.index().embedded == 1
    assert opened.search("Who painted the chapel?", 1)[0].source == "new.md"


def test_a_purge_leaves_the_files_of_a_tuned_retriever_as_they_are(adopted, tmp_path):
    project = copy(adopted, tmp_path)
    tuned = next((project / ".ragtune" / "retrievers").iterdir())
    files = {path: path.read_bytes() for path in tuned.rglob("*") if path.is_file()}
    words = {word for path in tuned.glob("embedder/*.json") for word in re.findall("[a-z]{4,}", path.read_text(encoding="utf-8").lower())}
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "models.md").write_text(f"# Settings\n\n{' '.join(sorted(words))}.\n", encoding="utf-8")
    (documents / "stays.md").write_text("# Other\n\nThe ferry is late.\n", encoding="utf-8")
    opened = Project(project, overrides=BETTER)
    opened.ingest([documents])
    opened.purge(["models.md"], redact=True)
    assert {path: path.read_bytes() for path in files} == files
    assert [hit.source for hit in opened.search("When does it leave?", 1)] == ["stays.md"]


def test_a_cross_encoder_that_ranks_better_is_adopted_unless_that_is_switched_off(ready, tmp_path):
    project = copy(ready, tmp_path)
    settings = [*QUICK, "retriever.learning_rate=1e-9", "retriever.reranker_learning_rate=0.004", "retriever.epochs=20"]
    made = Project(project, overrides=settings).train_retriever()
    print(made.figures["differences"])
    assert made.adopted == ("reranker",)
    assert Project(project, overrides=[*settings, "retriever.rerank=false"]).train_retriever().adopted == ()
    assert not Workspace(project).adopted.exists()


def test_too_few_questions_are_an_error_that_says_how_many_are_needed(ready, tmp_path):
    with pytest.raises(TrainError, match="20 are needed"):
        Project(copy(ready, tmp_path), overrides=["retriever.max_questions=5"]).train_retriever()


def test_a_hosted_embedder_cannot_be_tuned(ready):
    with pytest.raises(ConfigError, match="name a local one"):
        Project(ready, overrides=["embed.model=openai:text-embedding-3-small"]).train_retriever()


@pytest.mark.parametrize("options", [["--undo"], ["--retriever", "--without-context"], ["--retriever", "--undo", "--name", "x"]])
def test_options_that_do_not_go_together_are_refused(ready, options):
    assert isinstance(CliRunner().invoke(app, ["train", "--project", str(ready), *options]).exception, ConfigError)
