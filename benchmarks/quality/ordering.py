"""RAFT's ordering: RAFT > fine-tuned without context > few-shot base, all shown retrieved passages > closed-book.

Run:     RAGTUNE_DATA=/path/to/data .venv/bin/python benchmarks/quality/ordering.py squadshifts
Results: benchmarks/quality/results/ordering-NAME.json, printed as a table

All tuned arms answer the same training questions equally often, in as many updates, but for ``dsf-tokens``, which repeats them until it has
read as many tokens as RAFT. Rates are chosen on validation, by F1 in the context that decides, for each arm by itself; so is the few-shot
base's way to answer. A killed run goes on where it was: models, checkpoints and answers are kept.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cells import Experiment, Model
from projects import BENCHMARKS

from ragtune.evaluate.decide import question_f1
from ragtune.evaluate.intervals import bootstrap, paired_difference
from ragtune.pipeline.cells import choose_shots
from ragtune.prompts import Shot
from ragtune.types import Context, Example, Prediction
from ragtune.workspace import library_versions, write_json

HERE = Path(__file__).parent
RATES = (1e-3, 3e-4, 1e-4)
TUNED = ("raft", "dsf", "dsf-tokens")
ORDER = (("raft", "dsf"), ("raft", "dsf-tokens"), ("dsf", "base-fewshot"), ("base-fewshot", "closed-book"))


class Ordering:
    """The arms on one data set."""

    def __init__(self, experiment: Experiment, answers: int, context: Context) -> None:
        self.experiment, self.answers, self.context = experiment, answers, context
        self.validation: list[Example] = [e for e in experiment.data.validation if e.answers]
        self.test: list[Example] = [e for e in experiment.data.test if e.answers]
        self.shots = choose_shots(experiment.data, 0)

    def model(self, arm: str, rate: float, seed: int) -> Model:
        """A tuned arm's model."""
        epochs = 1
        if arm == "dsf-tokens":
            raft, dsf = self.model("raft", rate, seed), self.model("dsf", rate, seed)
            epochs = max(1, round(raft.figures["tokens"] / dsf.figures["tokens"]))
        settings = (f"train.max_answers={self.answers}", f"train.epochs={epochs}", f"train.learning_rate={rate}", f"train.seed={seed}")
        return self.experiment.train(f"{arm}-{rate:g}-{seed}", *settings, without_context=arm != "raft")

    def choose_rate(self, arm: str) -> tuple[float, dict[str, float]]:
        """The rate with the best F1 on validation, and all of them."""
        found: dict[float, float] = {}
        for rate in RATES:
            model = self.model(arm, rate, 0)
            found[rate] = mean_f1(self.experiment.answer("tuned", self.context, self.validation, model=model))
            print(f"{arm} at {rate:g}: validation F1 {found[rate]:.3f}", flush=True)
        return max(found, key=found.__getitem__), {f"{rate:g}": round(value, 4) for rate, value in found.items()}

    def choose_base(self) -> tuple[str, dict[str, float]]:
        """How the base answers best on validation: with or without quotes, held to the passages or not."""
        found = {name: mean_f1(self.base(name, self.context, self.validation)) for name in ("quoting", "quoting freely", "plain")}
        print(f"base-fewshot: validation F1 {found}", flush=True)
        return max(found, key=found.__getitem__), {name: round(value, 4) for name, value in found.items()}

    def base(self, way: str, context: Context, examples: Sequence[Example]) -> list[Prediction]:
        """The few-shot base's answers."""
        shots: Sequence[Shot] = self.shots
        if way == "plain":
            shots = [replace(shot, completion=shot.completion.splitlines()[-1]) for shot in shots]
        return self.experiment.answer(
            "base-fewshot", context, examples, shots=shots, constrained=way == "quoting", label=f"base-fewshot {way}"
        )

    def run(self, seeds: int) -> dict[str, Any]:
        """Everything, as it goes into the results."""
        rates = {arm: self.choose_rate(arm) for arm in TUNED}
        way, ways = self.choose_base()
        models = {arm: [self.model(arm, rates[arm][0], seed) for seed in range(seeds)] for arm in TUNED}
        contexts: dict[str, Any] = {}
        for context in self.experiment.benchmark.contexts:
            arms = {
                arm: [
                    prediction
                    for seed, model in enumerate(own)
                    for prediction in self.experiment.answer("tuned", context, self.test, model=model, seed=seed)
                ]
                for arm, own in models.items()
            }
            arms["base-fewshot"] = self.base(way, context, self.test)
            arms["closed-book"] = self.experiment.answer("base", "closed-book", self.test, label="closed-book")
            contexts[context] = compare(arms)
            contexts[context]["answer_seconds"] = {arm: round(sum(each.seconds for each in own), 1) for arm, own in arms.items()}
        figures = {model.name: {k: model.figures[k] for k in ("answers", "steps", "tokens", "seconds", "validation_loss")}
                   for own in models.values() for model in own}  # fmt: skip
        return {"rates": rates, "few_shot": {"chosen": way, "validation_f1": ways}, "models": figures, "contexts": contexts}


def compare(arms: dict[str, list[Prediction]]) -> dict[str, Any]:
    """F1 of each arm and each step of the order, paired by question; seeds are averaged within one, and groups of documents drawn."""
    scores = {arm: question_f1(own) for arm, own in arms.items()}
    groups = {prediction.id: prediction.group for prediction in arms["raft"]}
    ids = sorted(groups)
    rows = {arm: as_figure(bootstrap([own[i] for i in ids], [groups[i] for i in ids])) for arm, own in scores.items()}
    steps = {}
    for above, below in ORDER:
        found = paired_difference([scores[above][i] for i in ids], [scores[below][i] for i in ids], [groups[i] for i in ids])
        steps[f"{above} - {below}"] = {**as_figure(found.estimate), "p": found.p}
    return {"f1": rows, "steps": steps, "questions": len(ids), "groups": len(set(groups.values()))}


def mean_f1(predictions: Sequence[Prediction]) -> float:
    """Over questions."""
    scores = question_f1(predictions)
    return sum(scores.values()) / len(scores)


def as_figure(estimate: Any) -> dict[str, Any]:
    return {name: None if value is None else round(value, 4) for name, value in
            (("value", estimate.value), ("low", estimate.low), ("high", estimate.high))}  # fmt: skip


def print_tables(results: dict[str, Any]) -> None:
    """What was found, for people."""
    for context, found in results["contexts"].items():
        print(f"\n{context}: {found['questions']} questions, {found['groups']} groups of documents")
        for arm, row in found["f1"].items():
            print(f"  {arm:14} F1 {row['value']:.3f} [{row['low']}, {row['high']}]")
        for step, row in found["steps"].items():
            print(f"  {step:26} {row['value']:+.3f} [{row['low']}, {row['high']}]")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--folder", type=Path, default=Path("build/quality"))
    parser.add_argument("--answers", type=int, default=600, help="answers that each arm is trained on, but for dsf-tokens")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="a setting, as in ragtune --set")
    options = parser.parse_args()
    data = os.environ.get("RAGTUNE_DATA")
    if not data:
        print("skipped: set RAGTUNE_DATA to the folder that holds the public data sets")
        return 0
    experiment = Experiment(options.name, options.folder, Path(data), options.set)
    results = Ordering(experiment, options.answers, experiment.benchmark.contexts[0]).run(options.seeds)
    settings = {"answers": options.answers, "seeds": options.seeds, "overrides": experiment.overrides}
    write_json(HERE / "results" / f"ordering-{options.name}.json", {"settings": settings, "versions": library_versions(), **results})
    print_tables(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
