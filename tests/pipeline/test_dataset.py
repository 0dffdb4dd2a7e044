"""Datasets: what goes in, what is left out and why, and that both are told the same way whenever they are asked for."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragtune import Project
from ragtune.dataset.raft import assemble, draw_present
from ragtune.dataset.store import read_dataset
from ragtune.errors import ProjectError, TrainError
from ragtune.pipeline.readings import count_reading
from ragtune.pipeline.records import ExampleView
from ragtune.pipeline.train import model_key, sample_training, training_groups
from ragtune.progress import Silent
from ragtune.prompts import build_messages
from ragtune.types import Example
from ragtune.workspace import Workspace
from tiny_project import Sources

pytest.importorskip("faiss", reason="faiss is not installed")


def figures(project: Path, name: str) -> dict[str, Any]:
    return dict(Workspace(project).find("datasets", name).figures)


def add_questions(path: Path, *questions: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(question) + "\n" for question in questions)


def test_questions_about_a_copy_that_was_left_out_are_used(project, sources):
    Project(project).ingest()
    before = Project(project).dataset()
    shutil.copy(sources.documents / "calder.md", sources.documents / "zz-copy.md")
    text = sources.questions.read_text(encoding="utf-8").replace("calder.md", "zz-copy.md")
    sources.questions.write_text(text, encoding="utf-8")
    assert len(Project(project).dataset().left_out) == 4, "the copy is not ingested yet"
    Project(project).ingest()
    made = Project(project).dataset()
    assert made.made, "what was left out counts among a dataset's inputs"
    assert made.left_out == ()
    assert made.figures["questions"] == before.figures["questions"]


def test_a_change_in_any_of_two_question_files_of_one_name_makes_another_dataset(project, sources, tmp_path):
    other = tmp_path / "more" / "questions.jsonl"
    other.parent.mkdir()
    add_questions(other, {"id": "more", "question": "Who painted ship 9?", "answers": []})
    Project(project).ingest()
    made = Project(project).dataset([sources.questions, other])
    assert set(Workspace(project).find("datasets", made.name).inputs["questions"]) == {"questions.jsonl", "questions.jsonl 2"}
    assert not Project(project).dataset([other, sources.questions]).made
    add_questions(sources.questions, {"id": "new", "question": "Who painted ship 10?", "answers": []})
    assert Project(project).dataset([sources.questions, other]).made
    add_questions(other, {"id": "newer", "question": "Who painted ship 11?", "answers": []})
    assert Project(project).dataset([sources.questions, other]).made


def test_an_unchanged_dataset_is_told_as_it_was_when_it_was_made(project, sources):
    add_questions(sources.questions, {"id": "a: b", "question": "Who?", "answers": ["Ann"], "document": "gone.md", "evidence": "Ann did."})
    Project(project).ingest()
    made = Project(project).dataset()
    again = Project(project).dataset()
    assert (made.made, again.made) == (True, False)
    assert replace(again, made=True) == made
    assert [reason.source for reason in again.left_out] == ["a: b"]
    assert "audit" not in again.figures


@pytest.fixture
def built(project: Path, sources: Sources) -> Path:
    """A project with questions whose evidence retrieval misses, and a dataset that leaves it out of half of the training contexts."""
    text = sources.questions.read_text(encoding="utf-8")
    sources.questions.write_text(re.sub(r"Who built the (mill|tower) of \w+\?", "Who built it?", text), encoding="utf-8")
    Project(project).ingest()
    Project(project, overrides=["dataset.p_oracle=0.5", "retrieve.k=1"]).dataset(name="half")
    return project


def shows_evidence(view: ExampleView, example: Example) -> bool:
    return all(evidence.text in view.messages[-1].content for evidence in example.evidence)


def test_an_example_is_said_to_show_its_evidence_only_where_it_does(built):
    data = read_dataset(built / ".ragtune" / "datasets" / "half")
    held = [example for example in (*data.validation, *data.test) if example.oracles]
    views = {example.id: Project(built).dataset_show(example.id) for example in held}
    assert {view.oracle_present for view in views.values()} == {True, False}, "the test proves nothing otherwise"
    for example in held:
        assert views[example.id].oracle_present == shows_evidence(views[example.id], example)


def test_training_examples_are_shown_as_the_sample_that_is_trained_on_draws_them(built):
    data = read_dataset(built / ".ragtune" / "datasets" / "half")
    limited = Project(built, overrides=["train.max_answers=4"])
    sample = sample_training(data.train, limited.settings)
    present = draw_present(sample, epoch=0, seed=0, p=0.5)
    assert limited.dataset_show().id == sample[0].id
    assert {example.id for example in sample if limited.dataset_show(example.id).oracle_present} == present
    assert len(present) == round(sum(bool(example.oracles) for example in sample) / 2)


def test_a_training_example_is_shown_in_the_context_that_it_is_trained_in(project):
    Project(project).ingest()
    made = Project(project, overrides=["dataset.p_oracle=0.8"]).dataset()
    opened = Project(project)
    data = read_dataset(Path(made.folder))
    groups = training_groups(data, data.train, opened.settings, opened.workspace.find("datasets", None))
    for epoch in (0, 1):
        present = draw_present(data.train, epoch=epoch, seed=0, p=0.8)
        own = {each.id: assemble(each, present=each.id in present, epoch=epoch, seed=0, k=2).passages for each in data.train}
        trained = [(branch, group.passages) for group in groups(epoch) for branch in group.branches]
        if epoch == 0:
            assert any(tuple(each.id for each in passages) != own[branch.id] for branch, passages in trained), "all have their own context"
        for branch, passages in trained:
            view = opened.dataset_show(branch.id, epoch=epoch)
            assert list(view.messages) == build_messages(branch.question, passages)
            assert view.completion.removesuffix("<|im_end|>") == branch.completion


def test_a_held_out_example_is_shown_as_it_is_retrieved(project):
    Project(project).ingest()
    data = read_dataset(Path(Project(project).dataset().folder))
    for example in (data.validation[0], data.test[0]):
        served = [data.passages[candidate.passage] for candidate in example.candidates[:2]]
        assert list(Project(project).dataset_show(example.id).messages) == build_messages(example.question, served)


def test_the_audit_keeps_the_nearest_training_question_of_every_test_question(project):
    Project(project).ingest()
    made = Project(project, overrides=["dataset.test_share=0.8"]).dataset()
    data = read_dataset(Path(made.folder))
    nearest = figures(project, made.name)["audit"]["nearest"]
    assert len(data.test) > 20
    assert {test for test, _, _ in nearest} == {example.id for example in data.test}
    assert {train for _, train, _ in nearest} <= {example.id for example in data.train}


def test_building_a_dataset_measures_nothing_on_the_locked_test_split(project):
    Project(project).ingest()
    made = Project(project).dataset()
    assert set(made.figures["recall"]) == set(figures(project, made.name)["recall"]) == {"train", "validation"}


def test_near_duplicates_that_stay_in_the_index_are_one_group(project, sources):
    text = (sources.documents / "calder.md").read_text(encoding="utf-8")
    (sources.documents / "farrow.md").write_text(f"{text}\n\nFarrow is elsewhere.\n", encoding="utf-8")
    asked = sources.questions.read_text(encoding="utf-8")
    kept = [line for line in asked.splitlines(keepends=True) if '"farrow.md"' not in line]
    copied = [line.replace('"calder-', '"farrow-').replace('"calder.md"', '"farrow.md"') for line in kept if '"calder.md"' in line]
    sources.questions.write_text("".join([*kept, *copied]), encoding="utf-8")
    overrides = ["prepare.near_duplicates=1"]
    Project(project, overrides=overrides).ingest()
    made = Project(project, overrides=overrides).dataset()
    assert made.left_out == ()
    data = read_dataset(Path(made.folder))
    pair = [each for each in (*data.train, *data.validation, *data.test) if each.id.startswith(("calder-", "farrow-"))]
    assert len(pair) == 8
    assert len({each.group for each in pair}) == 1


def test_a_recipe_is_a_choice_of_training_and_needs_no_new_dataset(project):
    Project(project).ingest()
    made = Project(project, overrides=["dataset.p_oracle=0.5"]).dataset(name="half")
    random = Project(project, overrides=["dataset.p_oracle=0.5", "train.distractors=random", "train.answer=plain", "train.absent=drop"])
    again = random.dataset()
    assert (again.name, again.made) == (made.name, False)
    data = read_dataset(Path(made.folder))
    present = draw_present(data.train, epoch=0, seed=0, p=0.5)
    views = {example.id: random.dataset_show(example.id) for example in data.train if example.id in present}
    assert {view.completion for view in views.values()} == {f"Answer: {e.answers[0]}<|im_end|>" for e in data.train if e.id in present}
    absent = next(example.id for example in data.train if example.oracles and example.id not in present)
    with pytest.raises(ProjectError, match=f"{absent} is left out of epoch 0"):
        random.dataset_show(absent)


def test_a_served_recipe_leaves_a_model_s_key_as_it_is_and_another_changes_it(project):
    Project(project).ingest()
    Project(project).dataset(name="one")
    source = Project(project).workspace.find("datasets", "one")
    folder = project / ".ragtune" / "datasets" / "one"

    def key(*overrides: str) -> str:
        return model_key(Project(project, overrides=overrides).settings, source, folder, without_context=False)[0]

    assert key() == key("train.distractors=retrieved", "train.absent=abstain")
    others = ["train.distractors=random", "train.distractor_count=2", "train.distractor_ranks=[2, 5]", "train.order=shuffled",
              "train.false_negatives=keep", "train.absent=answer", "train.answer=plain"]  # fmt: skip
    assert len({key(), *map(key, others)}) == 1 + len(others)


def test_a_recipe_that_leaves_no_question_is_refused(project):
    Project(project).ingest()
    opened = Project(project, overrides=["dataset.p_oracle=0", "train.absent=drop", "train.max_answers=3"])
    opened.dataset()
    with pytest.raises(TrainError, match="leaves no question to train on: raise"):
        opened.train()


@pytest.mark.parametrize(("recall", "expected"), [(0.6, 0.9), (0.97, 0.97)])
def test_evidence_is_shown_as_often_as_it_is_found_but_not_too_seldom(
    project: Path, monkeypatch: pytest.MonkeyPatch, recall: float, expected: float
):
    monkeypatch.setattr("ragtune.pipeline.dataset.recall_at_k", lambda *_: recall)
    opened = Project(project)
    opened.ingest()
    assert opened.dataset(name=f"recall-{recall}").figures["p_oracle"] == expected
    asked = Project(project, overrides=["dataset.p_oracle=0.5"])
    assert asked.dataset(name=f"asked-{recall}").figures["p_oracle"] == 0.5


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_questions_that_were_tested_are_not_trained_on_without_a_word(project, sources):
    Project(project).ingest()
    workspace = Workspace(project)
    first = read_dataset(workspace.artifact("datasets", Project(project).dataset().name))
    assert count_reading(workspace, first.test, "once") == 1
    add_questions(sources.questions, {"id": "fixed", "question": "Who painted ship 9?", "answers": [], "split": "test"})
    progress = Notes()
    Project(project, progress=progress).dataset()
    (note,) = [each for each in progress.notes if "that an evaluation asked" in each]
    assert note.startswith(f"{len(first.test)} questions that an evaluation asked as test questions are no longer in the test split")


def test_evidence_that_holds_no_answer_is_named_where_most_does(project, sources):
    lines = sources.questions.read_text(encoding="utf-8").splitlines()
    at = next(number for number, line in enumerate(lines) if json.loads(line).get("evidence"))
    slip = json.loads(lines[at]) | {"answers": ["forty otters"]}
    sources.questions.write_text("\n".join([*lines[:at], json.dumps(slip), *lines[at + 1 :]]) + "\n", encoding="utf-8")
    Project(project).ingest()
    progress = Notes()
    Project(project, progress=progress).dataset()
    assert f"1 question with evidence in which no answer of theirs stands ({slip['id']}): " in "\n".join(progress.notes)
