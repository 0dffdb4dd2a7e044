"""Datasets: what goes in, what is left out and why, and that both are told the same way whenever they are asked for."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragtune import Project
from ragtune.workspace import Workspace

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
