"""A dataset in the formats of other trainers, and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragtune import Project
from ragtune.dataset.anchor import anchor
from ragtune.dataset.questions import load_questions
from ragtune.dataset.store import read_dataset
from ragtune.errors import ProjectError
from ragtune.pipeline.dataset import question_files
from ragtune.pipeline.export import FORMATS
from ragtune.pipeline.train import training_groups
from ragtune.prompts import build_messages, parse_answer
from ragtune.types import Document

pytest.importorskip("faiss", reason="faiss is not installed")


@pytest.fixture
def built(project: Path) -> Project:
    """A project with a dataset of which some training contexts lack the evidence."""
    opened = Project(project, overrides=["dataset.p_oracle=0.8"])
    opened.ingest()
    opened.dataset(name="one")
    return Project(project)


@pytest.mark.parametrize("name", [each for each in FORMATS if each != "huggingface"])
def test_what_is_exported_is_what_is_trained_on_and_can_be_imported_again(built, sources, tmp_path, name):
    made = built.dataset_export(tmp_path / "out.jsonl", name)
    data = read_dataset(built.path / ".ragtune" / "datasets" / "one")
    source = built.workspace.find("datasets", "one")
    trained = [
        (branch, build_messages(branch.question, group.passages), group)
        for group in training_groups(data, data.train, built.settings, source)(0)
        for branch in group.branches
    ]
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert made.questions == {"train": len(trained)} == {"train": len(lines)}
    for line, (branch, messages, group) in zip(lines, trained, strict=True):
        if name == "raft":
            assert (line["id"], line["question"]) == (branch.id, branch.question)
            assert line["context"]["sentences"][0] == [f"{each.prefix}\n{each.text}" for each in group.passages]
            assert line["instruction"].endswith(f"</DOCUMENT>\n{branch.question}")
        else:
            assert all(json.dumps(message.content, ensure_ascii=False) in json.dumps(line, ensure_ascii=False) for message in messages)
            assert json.dumps(branch.completion, ensure_ascii=False) in json.dumps(line, ensure_ascii=False)
    answered = [branch for branch, *_ in trained if not parse_answer(branch.completion).abstained]
    assert 0 < len(answered) < len(trained)
    questions = load_questions([tmp_path / "out.jsonl"])
    documents = {path.name: Document(path.name, path.stem, path.read_text(encoding="utf-8")) for path in sources.documents.iterdir()}
    report = anchor(questions, documents)
    assert report.stale == []
    by_text = {example.question: example for example in data.train}
    assert sorted(each.question for each in report.questions) == sorted(branch.question for branch in answered)
    for question in report.questions:
        example = by_text[question.question]
        (evidence,), (gold,) = question.evidence, example.evidence
        assert question.answers == example.answers
        assert (evidence.document, gold.start <= evidence.start, evidence.end <= gold.end) == (gold.document, True, True)


def test_a_folder_for_hugging_face_has_all_splits_and_loses_nothing_of_the_questions(built, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    folder = tmp_path / "hub"
    made = built.dataset_export(folder, "huggingface")
    data = read_dataset(built.path / ".ragtune" / "datasets" / "one")
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    assert made.questions == {split: len(own) for split, own in splits.items()}
    imported = {each.id: each for each in load_questions(question_files(built.workspace, built.settings, [folder]))}
    for example in (*data.train, *data.validation, *data.test):
        question = imported[example.id]
        assert (question.question, question.answers, question.split, question.kind) == (
            example.question,
            example.answers,
            example.split,
            None,
        )
        assert [(e.document, e.start, e.text) for e in question.evidence] == [(e.document, e.start, e.text) for e in example.evidence]
    opened = Project(built.path)
    again = opened.dataset([folder], name="again")
    assert again.left_out == ()
    for split in ("train", "validation", "test"):
        assert {e.id: e for e in getattr(read_dataset(Path(again.folder)), split)}.keys() == {e.id for e in splits[split]}


def test_fields_that_examples_lack_come_back_from_a_folder_for_hugging_face(project, sources, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    entries = [json.loads(line) for line in sources.questions.read_text(encoding="utf-8").split("\n") if line]
    entries[0] |= {"synthesised_by": "a model", "needs": "ocr", "author": {"name": "Ann", "years": [1, None]}}
    entries[1] |= {"reviewed": "2026-01-01T00:00:00Z", "question": "Whose hands, one asks, have raised that old thing there?"}
    entries[-1] |= {"document": "calder.md", "extra": "kept", "context": "kept"}
    sources.questions.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    opened = Project(project)
    opened.ingest()
    asked = load_questions([sources.questions])
    for name, given in (("first", sources.questions), ("second", tmp_path / "first")):
        assert opened.dataset([given], name=name).left_out == ()
        opened.dataset_export(tmp_path / name, "huggingface", name=name)
        imported = {each.id: each for each in load_questions(question_files(opened.workspace, opened.settings, [tmp_path / name]))}
        assert imported.keys() == {each.id for each in asked}
        for question in asked:
            again = imported[question.id]
            assert (again.needs, again.reviewed, again.synthesised_by) == (question.needs, question.reviewed, question.synthesised_by)
            assert again.extra == question.extra
            assert again.evidence or again.document == question.document


def test_the_folder_is_loaded_by_hugging_face_s_library(built, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    built.dataset_export(tmp_path / "hub", "huggingface")
    loaded = datasets.load_dataset(str(tmp_path / "hub"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "validation", "test"}
    row = loaded["train"][0]
    assert [turn["role"] for turn in [*row["prompt"], *row["completion"]]] == ["system", "user", "assistant"]
    loaded.save_to_disk(str(tmp_path / "saved"))
    files = question_files(built.workspace, built.settings, [tmp_path / "saved"])
    assert len(load_questions(files)) == sum(len(split) for split in loaded.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format_": "csv"}, "there is no format 'csv' to export: choose one of trl, openai"),
        ({"split": "test"}, "'test' is no split to train on"),
        ({"format_": "trl", "output": "."}, "a file is written: choose another path"),
    ],
)
def test_what_cannot_be_exported_is_said(built, tmp_path, arguments, message):
    output = tmp_path / arguments.pop("output", "out.jsonl")
    with pytest.raises(ProjectError, match=message):
        built.dataset_export(output, **arguments)


@pytest.mark.parametrize(("name", "file"), [("trl", "out"), ("raft", "out"), ("huggingface", "out/train.parquet")])
def test_an_export_replaces_no_other_file(built, tmp_path, name, file):
    if name == "huggingface":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    built.dataset_export(tmp_path / "out", name)
    written = (tmp_path / file).read_bytes()
    built.dataset_export(tmp_path / "out", name)
    assert (tmp_path / file).read_bytes() == written
    with pytest.raises(ProjectError, match=r"is there already, with other contents: choose another path"):
        built.dataset_export(tmp_path / "out", name, epoch=1)
    assert (tmp_path / file).read_bytes() == written


def test_a_folder_of_which_one_file_is_refused_gets_none(built, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "test.parquet").write_bytes(b"another's")
    with pytest.raises(ProjectError, match=r"test\.parquet is there already"):
        built.dataset_export(tmp_path / "out", "huggingface")
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["test.parquet"]


def test_a_page_of_examples_and_the_figures_of_a_dataset(built, tmp_path):
    made = built.dataset_view(limit=3)
    page = Path(made.path).read_text(encoding="utf-8")
    assert (made.contexts, Path(made.path).name) == (3, "view.html")
    assert page.count('<details class="group"') == 3
    data = read_dataset(built.path / ".ragtune" / "datasets" / "one")
    one = built.dataset_view(question=data.test[0].id, output=tmp_path / "one.html")
    assert (one.contexts, one.questions) == (1, 1)
    assert f"1 of {len(data.test)} test contexts" in (tmp_path / "one.html").read_text(encoding="utf-8")
    figures = built.dataset_statistics(epoch=1)
    assert figures.questions == {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}
    assert sum(figures.answers.values()) == len(data.train)
    assert figures.p_realised == pytest.approx(0.8, abs=1 / len(data.train))
    with pytest.raises(ProjectError, match="has no example 'none'; some that it has"):
        built.dataset_view(question="none")
    with pytest.raises(ProjectError, match="there is no split 'all': use train"):
        built.dataset_view(split="all")
