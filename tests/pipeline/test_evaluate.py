"""Evaluations beyond a run's: against an earlier one, of other adapters, in other contexts, and cross-fitted."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from ragtune import Project, cli
from tiny_project import write_project, write_sources

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

QUICK = ["train.epochs=1", "train.max_answers=8"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_chat, tiny_embedder) -> Path:
    """A project with a dataset, two tuned models and an evaluation of each."""
    root = tmp_path_factory.mktemp("evaluate")
    folder = write_project(root / "project", write_sources(root / "sources"), tiny_chat, tiny_embedder)
    project = Project(folder, overrides=QUICK)
    project.ingest()
    project.dataset()
    project.train(name="one")
    project.evaluate(name="of-one")
    other = Project(folder, overrides=[*QUICK, "train.seed=7", "train.learning_rate=0.1"])
    other.train(name="two")
    other.evaluate(name="of-two")
    return folder


@pytest.fixture
def project(trained, tmp_path) -> Path:
    """A copy, a test's own."""
    return shutil.copytree(trained, tmp_path / "copy")


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command in this process: exit code, stdout, stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ragtune", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return command


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_gate_exits_1_where_its_condition_holds_and_prints_the_difference(project, run):
    arguments = ("evaluate", "--project", project, "--model", "two", "--against", "one")
    code, out, _ = run(*arguments, "--fail-if", "retrieved.f1 < -1", "--json")
    compared = json.loads(out)
    assert code == 0
    assert (compared["evaluation"], compared["against"]) == ("of-two", "of-one")
    assert (compared["model"], compared["model_against"]) == ("two", "one")
    change = next(row for row in compared["rows"] if (row["context"], row["metric"]) == ("retrieved", "completion_tokens"))["difference"]
    limit = change["value"] + 0.001
    code, out, _ = run(*arguments, "--fail-if", "retrieved.f1 < -1", "--fail-if", f"retrieved.completion_tokens < {limit}")
    assert code == 1
    assert "retrieved.f1 < -1: does not hold" in out
    assert f"retrieved.completion_tokens < {limit}: holds" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fail-if", "retrieved.f1 < 0"], "say --against NAME too"),
        (["--against", "one", "--fail-if", "retrieved.F3 < 0"], "there is no metric 'F3'"),
        (["--against", "three"], "no evaluation or model named three to compare with (evaluations: of-one, of-two)"),
        (["--against", "of-one", "--split", "validation"], "of-one asked test questions: compare with --split test"),
        (["--against", "one", "--split", "validation"], "run 'ragtune evaluate --model one --split validation'"),
    ],
)
def test_a_gate_that_cannot_compare_exits_2_before_anything_is_asked(project, run, arguments, message):
    before = sorted((project / ".ragtune" / "evaluations").iterdir())
    code, out, err = run("evaluate", "--project", project, *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert sorted((project / ".ragtune" / "evaluations").iterdir()) == before
