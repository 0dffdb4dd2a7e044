"""Why the few-shot base scores as it does: does it find the answer, say it shortly, or repeat a worked example?

Run:     RAGTUNE_DATA=/path/to/data .venv/bin/python benchmarks/quality/few_shot.py squadshifts
Results: benchmarks/quality/results/few-shot-NAME.json, printed as a table

The base with two and with four worked examples on the validation questions; with two, without passages, and beside models that
``ordering.py`` has trained already, on the test questions. Answers that it has asked for before are found again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from cells import Experiment, machine
from ordering import Ordering, compare, scored
from projects import BENCHMARKS

from ragtune.evaluate.answers import containment
from ragtune.pipeline.cells import choose_shots
from ragtune.prompts import Shot, parse_answer
from ragtune.types import Prediction
from ragtune.workspace import library_versions, write_json

HERE = Path(__file__).parent


def figures(predictions: Sequence[Prediction], shots: Sequence[Shot] = ()) -> dict[str, Any]:
    """F1, and of how many answers what can be said."""
    own = {parse_answer(shot.completion).answer for shot in shots}
    return {
        "questions": len(predictions),
        "f1": round(mean(scored(predictions)["f1"].values()), 3),
        "answer_holds_reference": sum(containment(each.answer, each.references) > 0 for each in predictions),
        "text_holds_reference": sum(containment(each.raw, each.references) > 0 for each in predictions),
        "answer_of_a_worked_example": sum(each.answer in own for each in predictions),
        "without_answer_line": sum("Answer:" not in each.raw for each in predictions),
        "words": round(sum(len(each.answer.split()) for each in predictions) / len(predictions), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--folder", type=Path, default=Path("build/quality"))
    parser.add_argument("--answers", type=int, default=600, help="answers that the tuned arms were trained on")
    parser.add_argument("--seed", type=int, default=0, help="of the tuned arms")
    options = parser.parse_args()
    data = os.environ.get("RAGTUNE_DATA")
    if not data:
        print("skipped: set RAGTUNE_DATA to the folder that holds the public data sets")
        return 0
    ordering = Ordering(Experiment(options.name, options.folder, Path(data)), options.answers)
    answer, context = ordering.experiment.answer, ordering.context
    found: dict[str, Any] = {}
    tested: dict[str, Sequence[Prediction]] = {}
    for count in (2, 4):
        shots = choose_shots(ordering.experiment.data, 0, count)
        label = f"base-fewshot of {count}"
        made = answer("base-fewshot", context, ordering.validation, shots=shots, constrained=False, label=label)
        found[f"{label}, validation"] = figures(made, shots)
    tested["base-fewshot"] = answer("base-fewshot", context, ordering.test, shots=ordering.shots, constrained=False, label="base-fewshot")
    found["base-fewshot of 2, test"] = figures(tested["base-fewshot"], ordering.shots)
    tested["closed-book"] = answer("base", "closed-book", ordering.test, label="closed-book")
    found["closed-book, test"] = figures(tested["closed-book"])
    for arm in ("raft", "dsf"):
        name, settings = f"{arm}-0.001-{options.seed}", ordering.trained(arm, 1e-3, options.seed)
        model = ordering.experiment.train(name, *settings, without_context=arm != "raft")
        tested[arm] = answer("tuned", context, ordering.test, model=model, seed=options.seed)
        found[f"{name}, test"] = figures(tested[arm])
    for name, row in found.items():
        print(name, row)
    held = {arm: {each.id: containment(each.answer, each.references) for each in made} for arm, made in tested.items()}
    order = compare(held, {example.id: example.group for example in ordering.test})["steps"]
    for step, row in order.items():
        print(f"{step:26} answers that hold the reference {row['value']:+.3f} [{row['low']}, {row['high']}]")
    results = {"machine": machine(), "versions": library_versions(), "arms": found, "steps_by_containment": order}
    write_json(HERE / "results" / f"few-shot-{options.name}.json", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
