"""Benchmarks run, or say how: each is a process, as ``make bench`` starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ragtune import Project

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


SKIPPED = [
    "highlights.py",
    "index_kinds.py",
    "lexical.py",
    "lexical_common.py",
    "retrieval_fusion.py",
    "retrieval_public.py",
    "serve_load.py",
    "squadshifts.py",
    "tune_retriever.py",
    "serve_engine.py",
    "training_speed.py",
    "quality/ablations.py squadshifts",
    "quality/guards.py squadshifts",
    "quality/ordering.py squadshifts",
]


def start(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAGTUNE_DATA"}
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SKIPPED)
def test_a_benchmark_without_its_data_is_skipped_and_says_what_it_takes(script):
    pytest.importorskip("faiss", reason="faiss is not installed")
    if script == "training_speed.py" and not find_spec("datasets"):
        pytest.skip("the bench extra is not installed")
    results = {path: path.read_bytes() for path in (BENCHMARKS / "results").iterdir()}
    done = start(*script.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("skipped: ")
    assert {path: path.read_bytes() for path in (BENCHMARKS / "results").iterdir()} == results


def test_the_order_of_arms_is_drawn(tmp_path):
    results = BENCHMARKS / "quality" / "results" / "ordering-squadshifts-raft-dsf.json"
    drawn = tmp_path / "ordering.svg"
    assert start("quality/picture.py", results, "--output", drawn).returncode == 0
    found = json.loads(results.read_text(encoding="utf-8"))["contexts"]["retrieved"]
    picture = drawn.read_text(encoding="utf-8")
    assert f"retrieved, {found['questions']} questions, 3 seeds" in picture
    assert all(f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" in picture for row in found["f1"].values())
    twice = start("quality/picture.py", results, results, "--output", drawn)
    assert (twice.returncode, "named twice" in twice.stderr) == (2, True)


def test_highlights_are_measured_and_written(project, tmp_path):
    pytest.importorskip("faiss", reason="faiss is not installed")
    Project(project).ingest()
    made = Project(project).dataset()
    done = start("highlights.py", made.folder, "--output", str(tmp_path / "highlights.json"))
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "highlights.json").read_text(encoding="utf-8"))["rows"]
    assert [row["split"] for row in rows] == ["train", "validation"]
    assert all(row["questions"] and row["within_first"] == sorted(row["within_first"]) for row in rows)


def test_goodput_is_measured_beside_the_bare_engine(project, tmp_path):
    pytest.importorskip("faiss", reason="faiss is not installed")
    Project(project).ingest()
    Project(project).dataset()
    found = tmp_path / "serve.json"
    done = start("serve_engine.py", "--project", str(project), "--streams", "1", "2", "--prompts", "3", "--output", str(found))
    assert done.returncode == 0, done.stderr
    rows = json.loads(found.read_text(encoding="utf-8"))["rows"]
    assert [row["streams"] for row in rows] == [1, 1, 2, 2, 2, 2]
    assert len({row["tokens"] for row in rows}) == 1
    assert all(row["same_texts"] == 3 for row in rows)
