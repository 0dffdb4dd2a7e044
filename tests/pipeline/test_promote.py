"""Which model serves: what is promoted, taken back and written down, whatever is killed in between."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ragtune.errors import ConfigError, ProjectError
from ragtune.evaluate.gate import Checked, GateResult
from ragtune.pipeline import ask as asking
from ragtune.pipeline import promote as promoting
from ragtune.pipeline.promote import audit, promote, promoted, rollback
from ragtune.prompts import PROMPT_VERSION
from ragtune.workspace import Manifest, Workspace, write_manifest

GATE = GateResult("e2", "e1", "b", "a", 10, 0, (), (Checked("retrieved.f1 < -0.02", "retrieved.f1", -0.5, True),), True)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """With the tuned models a and b, of which b is newer."""
    made = Workspace(tmp_path)
    for minute, name in enumerate("ab"):
        settings = {"prompt": PROMPT_VERSION, "k": 2}
        write_manifest(made.artifact("models", name), Manifest("models", name, name, {}, settings, created=f"2026-01-01T00:0{minute}"))
    return made


def serves(workspace: Workspace) -> str:
    """As ``ask`` without a name resolves it."""
    found = asking.find_meant(workspace, promoted(workspace))
    return "base" if found is None else found.name


def test_a_promoted_model_serves_until_it_is_taken_back(workspace: Workspace) -> None:
    assert (promoted(workspace), serves(workspace)) == (None, "b")
    assert promote(workspace, "a", who="ada", note="quicker").served == "a"
    assert serves(workspace) == "a"
    promote(workspace, "base", who="ada")
    assert serves(workspace) == "base"
    back = rollback(workspace, who="bob", note="worse")
    assert (back.served, back.previous, serves(workspace)) == ("a", "base", "a")
    assert rollback(workspace, who="bob").served == "b", "what served before anything was promoted"
    with pytest.raises(ProjectError, match="no promotion to take back"):
        rollback(workspace, who="bob")
    assert [(each.who, each.action, each.model, each.previous, each.note) for each in audit(workspace)] == [
        ("ada", "promote", "a", "b", "quicker"),
        ("ada", "promote", "base", "a", ""),
        ("bob", "rollback", "a", "base", "worse"),
        ("bob", "rollback", "b", "a", ""),
    ]


def test_taking_back_the_first_promotion_of_the_newest_model_serves_the_one_before(workspace: Workspace) -> None:
    """It served from the moment it was tuned, so what was wrong with it began then."""
    assert promote(workspace, "b", who="ada").previous == "a"
    assert rollback(workspace, who="ada").served == "a"


def test_promoting_again_what_serves_leaves_nothing_to_take_back_twice(workspace: Workspace) -> None:
    promote(workspace, "a", who="ada")
    promote(workspace, "a", who="ada")
    assert rollback(workspace, who="ada").served == "b"


def test_a_model_that_is_not_there_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ProjectError, match="named c"):
        promote(workspace, "c", who="ada")
    with pytest.raises(ConfigError, match="no provider"):
        promote(workspace, "nobody:c", who="ada")
    assert not workspace.served.exists()
    assert promote(workspace, "openai:gpt-5-mini", who="ada").served == "openai:gpt-5-mini"


def test_a_model_without_an_evaluation_is_promoted_with_a_warning(workspace: Workspace) -> None:
    (warning,) = promote(workspace, "a", who="ada").warnings
    assert "ragtune evaluate --model a" in warning
    assert promote(workspace, "base", who="ada").warnings == ()
    made = Manifest("evaluations", "e", "e", {"model_names": {"tuned": "b"}}, {})
    write_manifest(workspace.artifact("evaluations", "e"), made)
    assert promote(workspace, "b", who="ada").warnings == ()


def test_a_gate_that_fails_changes_nothing_and_is_written_down(workspace: Workspace) -> None:
    promote(workspace, "a", who="ada")
    done = promote(workspace, "b", who="ada", gate=GATE)
    assert (done.served, done.refused) == ("a", ("retrieved.f1 < -0.02",))
    assert promoted(workspace) == "a"
    last = audit(workspace)[-1]
    assert (last.action, last.model, last.previous) == ("refused", "b", "a")
    assert last.gate is not None
    assert last.gate["conditions"][0]["found"] == -0.5
    held = replace(GATE, failed=False, conditions=(replace(GATE.conditions[0], holds=False),), notes=("made by other rules",))
    done = promote(workspace, "b", who="ada", gate=held)
    assert done.served == "b"
    assert done.warnings[-1] == "made by other rules", "what must be known of the comparison"


def test_a_promotion_that_is_killed_before_it_is_logged_is_logged_later(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(workspace, "a", who="ada")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(promoting, "_write_log", killed)
        with pytest.raises(KeyboardInterrupt):
            promote(workspace, "b", who="ada")
    assert promoted(workspace) == "b"
    assert [each.model for each in audit(workspace)] == ["a", "b"]
    rollback(workspace, who="ada")
    assert [json.loads(line)["model"] for line in workspace.audit.read_text().splitlines()] == ["a", "b", "a"]


def test_a_model_can_be_taken_back_while_a_training_holds_the_project(workspace: Workspace) -> None:
    with workspace.lock("train"):
        promote(workspace, "a", who="ada")
        assert rollback(workspace, who="ada").served == "b"


def test_a_damaged_file_says_what_to_do(workspace: Workspace) -> None:
    workspace.served.write_text("{}", encoding="utf-8")
    with pytest.raises(ProjectError, match="promote a model again"):
        promoted(workspace)
