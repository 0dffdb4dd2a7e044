"""kill -9 at any point, run again: the end is that of a run that nobody disturbed."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest
from killing import STAGES, difference, done_so_far, kill_copy, run, stages_before, state

from tiny_project import write_project, write_sources

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

KILLS = 3


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_chat, tiny_embedder) -> dict[str, Path]:
    """A project as it is before each stage, and after the last."""
    root = tmp_path_factory.mktemp("undisturbed")
    sources = write_sources(root / "sources", places=12, facts=4, filler=110)
    project = write_project(root / "empty", sources, tiny_chat, tiny_embedder)
    after = {"": project}
    for stage in (*stages_before("evaluate"), "evaluate"):
        copy = shutil.copytree(project, root / stage)
        run(copy, stage)
        after[stage] = project = copy
    return after


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_command_run_again_ends_as_if_nobody_had_killed_it(undisturbed, tmp_path, stage, number):
    before = ["", *stages_before(stage)][-1]
    whole = done_so_far(undisturbed[stage], stage)
    draw = random.Random(f"{stage} {number}")
    target = draw.randrange(1, int(whole * 0.7))
    project = tmp_path / "project"
    killed = kill_copy(undisturbed[before], project, stage, [target], draw.uniform(0, 0.003))
    assert target <= killed.done <= whole
    run(project, stage)
    assert difference(state(project, stage), state(undisturbed[stage], stage)) == []


def test_training_killed_twice_goes_on_twice_and_ends_at_the_same_weights(undisturbed, tmp_path):
    whole = done_so_far(undisturbed["train"], "train")
    project = tmp_path / "project"
    kill_copy(undisturbed["dataset"], project, "train", [whole // 3, 2 * whole // 3])
    assert list(project.glob(".ragtune/models/*/checkpoint.safetensors")), "nothing to go on from: the test would prove less"
    run(project, "train")
    assert difference(state(project, "train"), state(undisturbed["train"], "train")) == []
