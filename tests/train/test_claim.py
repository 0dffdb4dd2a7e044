"""A run's claim on the name of its model."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragtune.errors import ProjectError
from ragtune.pipeline.train import claim
from ragtune.workspace import Workspace


def test_a_run_that_was_refused_before_it_began_does_not_keep_its_name(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    folder = claim(workspace, "low", "one")
    assert claim(workspace, "low", "other") == folder
    (folder / "metrics.jsonl").write_text("{}\n")
    assert claim(workspace, "low", "other") == folder, "the same inputs go on"
    with pytest.raises(ProjectError, match="holds an unfinished run of other inputs"):
        claim(workspace, "low", "one")
