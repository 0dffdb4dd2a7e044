"""Evaluate a model and compare it with an earlier evaluation, for CI."""

from __future__ import annotations

from collections.abc import Sequence

from ragtune.errors import EvaluationError
from ragtune.evaluate.gate import Condition, GateResult, compare_models
from ragtune.evaluate.predictions import read_predictions
from ragtune.workspace import Manifest, Workspace


def find_against(workspace: Workspace, name: str, split: str) -> Manifest:
    """The evaluation to compare with: by its name, or the newest of the model of that name on the same split.

    Raises:
        EvaluationError: there is none, or it is of another split.
    """
    made = workspace.manifests("evaluations")
    found = next((each for each in made if each.name == name), None)
    if found is not None:
        if found.settings["split"] != split:
            raise EvaluationError(
                f"evaluation {name} asked {found.settings['split']} questions: compare with --split {found.settings['split']}"
            )
        return found
    of_model = [each for each in made if each.inputs["model_names"].get("tuned") == name and each.settings["split"] == split]
    if of_model:
        return of_model[-1]
    if any(each.name == name for each in workspace.manifests("models")):
        raise EvaluationError(
            f"model {name} was not evaluated on {split} questions: run 'ragtune evaluate --model {name} --split {split}', then compare"
        )
    known = ", ".join(each.name for each in made) or "none"
    raise EvaluationError(f"there is no evaluation or model named {name} to compare with (evaluations: {known})")


def compare_with(workspace: Workspace, evaluation: str, against: Manifest, conditions: Sequence[Condition], seed: int) -> GateResult:
    """The tuned models of two evaluations on the same questions, and which conditions hold."""
    this, other = (read_predictions(workspace.artifact("evaluations", name) / "predictions.jsonl") for name in (evaluation, against.name))
    return compare_models(this, other, conditions, names=(evaluation, against.name), seed=seed)
