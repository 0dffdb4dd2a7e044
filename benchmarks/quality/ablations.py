"""One choice changed at a time: what each default of the recipe is worth on validation, paired with the defaults.

Run:     RAGTUNE_DATA=/path/to/data .venv/bin/python benchmarks/quality/ablations.py squadshifts [--only order-shuffled]
Results: benchmarks/quality/results/ablations-NAME-ANSWERS[-seeds-N].json, written after each variation, printed as a table

Each variation trains a model on as many answers as the defaults do, and answers the validation questions in the context that decides on
that data set (``projects.py``), each question in a context of its own. A killed run goes on where it was, on another machine too.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from cells import Experiment
from ordering import TRAINING, as_figure, over_seeds, scored
from projects import BENCHMARKS
from side_by_side import side_by_side

from ragtune.evaluate.intervals import bootstrap, paired_difference
from ragtune.evaluate.quoting import quote_metrics
from ragtune.types import Example, Prediction
from ragtune.workspace import library_versions, write_json

HERE = Path(__file__).parent
SHOWN = ("answers", "steps", "tokens", "seconds", "validation_loss")


@dataclass(frozen=True, slots=True)
class Variation:
    """A choice other than the default.

    Args:
        train: settings of training.
        dataset: settings that make another dataset, or serve other passages.
        answers: share of the answers that the defaults are trained on, where epochs differ.
    """

    train: tuple[str, ...] = ()
    dataset: tuple[str, ...] = ()
    answers: float = 1.0


VARIATIONS = {
    "defaults": Variation(),
    "p-0.6": Variation(dataset=("dataset.p_oracle=0.6",)),
    "p-0.8": Variation(dataset=("dataset.p_oracle=0.8",)),
    "p-1": Variation(dataset=("dataset.p_oracle=1.0",)),
    "k-2": Variation(dataset=("retrieve.k=2",)),
    "k-6": Variation(dataset=("retrieve.k=6",)),
    "distractors-random": Variation(('train.distractors="random"',)),
    "false-negatives-kept": Variation(('train.false_negatives="keep"',)),
    "order-shuffled": Variation(('train.order="shuffled"',)),
    "absent-answered": Variation(('train.absent="answer"',)),
    "absent-dropped": Variation(('train.absent="drop"',)),
    "answer-plain": Variation(('train.answer="plain"',)),
    "answer-plain-p-1": Variation(('train.answer="plain"',), ("dataset.p_oracle=1.0",)),
    "rank-4": Variation(("train.rank=4", "train.alpha=8.0")),
    "rank-64": Variation(("train.rank=64", "train.alpha=128.0")),
    "rate-3e-4": Variation(("train.learning_rate=3e-4",)),
    "rate-3e-3": Variation(("train.learning_rate=3e-3",)),
    "epochs-2-of-half": Variation(("train.epochs=2",), answers=0.5),
    "epochs-2": Variation(("train.epochs=2",)),
    "epochs-4": Variation(("train.epochs=4",)),
    "p-1-epochs-2": Variation(("train.epochs=2",), ("dataset.p_oracle=1.0",)),
    "answer-plain-epochs-2": Variation(('train.answer="plain"', "train.epochs=2")),
    "answer-plain-p-1-epochs-2": Variation(('train.answer="plain"', "train.epochs=2"), ("dataset.p_oracle=1.0",)),
    "contexts-separate": Variation(("train.shared_contexts=false",)),
    "no-rehearsal": Variation(("train.rehearsal=0.0",)),
    "averaged": Variation(("train.average_checkpoints=3",)),
    "dora": Variation(('train.method="dora"',)),
    "rslora": Variation(("train.rslora=true",)),
    "attention-only": Variation(('train.targets=["attention"]',)),
}


@dataclass(frozen=True, slots=True)
class Ablations:
    """The variations on one data set, each trained on so many answers, with settings that are the same for all."""

    name: str
    folder: Path
    data: Path
    answers: int
    overrides: tuple[str, ...] = ()

    def experiment(self, label: str, dataset: str | None = None) -> Experiment:
        """A variation's dataset, which is made where it is not there yet."""
        return Experiment(self.name, self.folder, self.data, (*VARIATIONS[label].dataset, *self.overrides), dataset)

    def made(self, label: str, dataset: str | None = None, seed: int = 0) -> dict[str, Any]:
        """What a variation came to: its training, and F1, quotes and abstentions of its answers to the validation questions."""
        experiment, variation = self.experiment(label, dataset), VARIATIONS[label]
        base = {"train.learning_rate": "1e-3", "train.epochs": "1", "train.seed": str(seed)}
        chosen = {**base, **dict(setting.split("=", 1) for setting in variation.train)}
        settings = [f"train.max_answers={round(self.answers * variation.answers)}", *(f"{key}={value}" for key, value in chosen.items())]

        name = f"ablation-{label}-{self.answers}" + (f"-{seed}" if seed else "")

        def make() -> dict[str, Any]:
            model = experiment.train(name, *settings)
            asked = [example for example in experiment.data.validation if example.answers]
            return {
                "training": {figure: model.figures[figure] for figure in TRAINING},
                **figures(experiment.answer("tuned", experiment.benchmark.contexts[0], asked, model=model), asked),
            }

        return experiment.kept(f"{name}.validation", settings, make)


def figures(predictions: Sequence[Prediction], asked: Sequence[Example]) -> dict[str, Any]:
    """F1 and group of each question, the share of quotes that overlap the evidence, and of questions that got no answer."""
    evidence = {example.id: example.evidence for example in asked}
    gold = [made["quotes_gold"] for p in predictions if "quotes_gold" in (made := quote_metrics(p, evidence[p.id]))]
    return {
        **scored(predictions),
        "groups": {p.id: p.group for p in predictions if p.references},
        "quotes_gold": round(sum(value * weight for value, weight in gold) / max(1e-9, sum(weight for _, weight in gold)), 4),
        "abstained": round(sum(p.abstained for p in predictions) / len(predictions), 4),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--folder", type=Path, default=Path("build/quality"))
    parser.add_argument(
        "--answers", type=int, default=600, help="answers that a model is trained on, but where a variation has more epochs"
    )
    parser.add_argument("--only", action="append", choices=VARIATIONS, default=[], help="beside the defaults; repeat it for more")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each variation, whose F1 is averaged")
    parser.add_argument("--jobs", type=int, default=1, help="variations that are made at once, each by a process of its own")
    parser.add_argument("--set", action="append", default=[], help="a setting of all variations, as in ragtune --set")
    options = parser.parse_args()
    data = os.environ.get("RAGTUNE_DATA")
    if not data:
        print("skipped: set RAGTUNE_DATA to the folder that holds the public data sets")
        return 0
    ablations = Ablations(options.name, options.folder, Path(data), options.answers, tuple(options.set))
    labels = ["defaults", *(options.only or [each for each in VARIATIONS if each != "defaults"])]
    if options.jobs > 1:
        datasets = {label: ablations.experiment(label).dataset_name for label in labels}  # one after the other: one index at a time
        with side_by_side(options.jobs, Ablations, *astuple(ablations)) as submit:
            for done in [submit("made", label, dataset, seed) for label, dataset in datasets.items() for seed in range(options.seeds)]:
                done.result()
    suffix = "" if options.seeds == 1 else f"-seeds-{options.seeds}"
    path = HERE / "results" / f"ablations-{options.name}-{options.answers}{suffix}.json"
    rows: dict[str, Any] = {}
    defaults: dict[str, float] = {}
    for label in labels:
        made = [ablations.made(label, seed=seed) for seed in range(options.seeds)]
        scores, groups_of = over_seeds(made), made[0]["groups"]
        defaults = defaults or scores
        ids = sorted(scores.keys() & defaults.keys())
        groups = [groups_of[i] for i in ids]
        difference = paired_difference([scores[i] for i in ids], [defaults[i] for i in ids], groups)
        rows[label] = {
            "settings": [*VARIATIONS[label].dataset, *VARIATIONS[label].train],
            "f1": as_figure(bootstrap([scores[i] for i in ids], groups)),
            "difference": as_figure(difference.estimate),
            **{figure: round(mean(each[figure] for each in made), 4) for figure in ("quotes_gold", "abstained")},
            "training": {name: mean(each["training"][name] for each in made) for name in SHOWN},
        }
        write_json(
            path,
            {
                "settings": {"answers": options.answers, "overrides": options.set, "context": BENCHMARKS[options.name].contexts[0]},
                "versions": library_versions(),
                "variations": rows,
            },
        )
        row = rows[label]
        print(
            f"{label:22} F1 {row['f1']['value']:.3f}  {row['difference']['value']:+.3f} [{row['difference']['low']}, "
            f"{row['difference']['high']}]  gold quotes {row['quotes_gold']:.2f}  abstained {row['abstained']:.2f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
