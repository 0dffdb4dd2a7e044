"""Evaluate a model and compare it with an earlier evaluation, for CI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias, cast, get_args

from ragtune.config import Settings
from ragtune.errors import EvaluationError
from ragtune.evaluate.gate import Condition, GateResult, Gold, compare_models
from ragtune.evaluate.predictions import read_predictions
from ragtune.pipeline.evaluation_page import asked
from ragtune.pipeline.rules import other_rules
from ragtune.progress import listed
from ragtune.workspace import Manifest, Workspace

BaseArm: TypeAlias = Literal["base", "base-fewshot"]


BASES = get_args(BaseArm)
"""What a model is compared with by these names are arms of its own evaluation."""


def find_against(workspace: Workspace, name: str, split: str) -> Manifest | BaseArm:
    """What to compare with: an evaluation by its name, the newest of the model of that name on the same split, or the base by its arm.

    Raises:
        EvaluationError: there is none, or it is of another split.
    """
    if name in BASES:
        return cast("BaseArm", name)
    made = workspace.manifests("evaluations")
    found = next((each for each in made if each.name == name), None)
    if found is not None:
        if found.settings["split"] != split:
            raise EvaluationError(
                f"evaluation {name} asked {found.settings['split']} questions: compare with --split {found.settings['split']}"
            )
        return found
    if any(each.inputs["model_names"].get("tuned") == name for each in made) or any(m.name == name for m in workspace.manifests("models")):
        return find_evaluated(workspace, name, split)
    known = ", ".join(each.name for each in made) or "none"
    raise EvaluationError(f"there is no evaluation or model named {name} to compare with (evaluations: {known})")


def check_asked(settings: Settings, against: Manifest | BaseArm) -> None:
    """Before an evaluation is made for it: both sides of the comparison must be asked, or have been.

    Raises:
        EvaluationError: one is not.
    """
    lacking = [arm for arm in ("tuned", against) if isinstance(arm, str) and arm not in settings.evaluate.arms]
    if lacking:
        raise EvaluationError(f"{listed(lacking)} must answer to be compared: add {listed(lacking)} to evaluate.arms")
    if isinstance(against, Manifest) and "tuned" not in against.settings["evaluate"]["arms"]:
        raise EvaluationError(f"evaluation {against.name} asked no tuned model, so that there is none to compare with: name another")


def find_evaluated(workspace: Workspace, model: str, split: str) -> Manifest:
    """The newest evaluation of a tuned model on a split.

    Raises:
        EvaluationError: there is none.
    """
    made = [each for each in workspace.manifests("evaluations") if each.settings["split"] == split]
    of_model = [each for each in made if each.inputs["model_names"].get("tuned") == model]
    if not of_model:
        raise EvaluationError(
            f"model {model} was not evaluated on {split} questions: run 'ragtune evaluate --model {model} --split {split}', then compare"
        )
    return of_model[-1]


def compare_with(
    workspace: Workspace, evaluation: str, against: Manifest | BaseArm, conditions: Sequence[Condition], seed: int
) -> GateResult:
    """The tuned models of two evaluations on the same questions, or that of one with its base, and which conditions hold."""
    mine = workspace.find("evaluations", evaluation)
    other = mine if isinstance(against, str) else against
    this, those = (read_predictions(workspace.artifact("evaluations", each.name) / "predictions.jsonl") for each in (mine, other))
    gold = _evidence(workspace, mine)
    compared = compare_models(
        this,
        those,
        conditions,
        names=(mine.name, other.name),
        arm=against if isinstance(against, str) else "tuned",
        evidence=(gold, gold if other is mine else _evidence(workspace, other)),
        seed=seed,
    )
    return replace(compared, notes=tuple(other_rules(workspace, (mine, other))))


def _evidence(workspace: Workspace, manifest: Manifest) -> Gold:
    """Of an evaluation's questions; none where their dataset is gone."""
    return {example.id: example.evidence for example in asked(workspace, manifest)}
