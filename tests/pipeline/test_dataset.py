"""Datasets: what goes in, what is left out and why, and that both are told the same way whenever they are asked for."""

from __future__ import annotations

import json
import shutil
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
