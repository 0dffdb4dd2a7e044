"""RAFT's ordering: RAFT > fine-tuned without context > few-shot base, all shown retrieved passages > closed-book.

Run:     RAGTUNE_DATA=/path/to/data .venv/bin/python benchmarks/quality/ordering.py squadshifts [--arms raft dsf --rates 1e-3]
Results: benchmarks/quality/results/ordering-NAME.json, printed as a table; a name of some arms, rates or seeds says which

All tuned arms answer the same training questions equally often, in as many updates, but for ``dsf-tokens``, which repeats them until it has
read as many tokens as RAFT. Rates are chosen on validation, by F1 in the context that decides, for each arm by itself; so is the few-shot
base's way to answer. A killed run goes on where it was: models, checkpoints and answers are kept, and what each cell came to lies under
benchmarks/quality/results/cells, from where it is taken on another machine.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

from cells import KEPT, Experiment
from projects import BENCHMARKS
from side_by_side import side_by_side

from ragtune import build
from ragtune.dataset.raft import evaluation_context
from ragtune.evaluate.decide import question_f1
from ragtune.evaluate.intervals import bootstrap, paired_difference
from ragtune.pipeline.cells import choose_shots
from ragtune.pipeline.train import sample_training, training_groups
from ragtune.prompts import Shot
from ragtune.train.sequences import Encoder
from ragtune.types import Context, Example, Prediction
from ragtune.workspace import library_versions, write_json

T = TypeVar("T")
HERE = Path(__file__).parent
RATES = (1e-3, 3e-4, 1e-4)
TUNED = ("raft", "dsf", "dsf-tokens")
SEEDS, ANSWERS = 3, 600
WAYS = ("quoting", "quoting freely", "plain")
TRAINING = ("answers", "steps", "tokens", "seconds", "predicted_seconds", "validation_loss", "peak_memory", "predicted_memory")
ORDER = (("raft", "dsf"), ("raft", "dsf-tokens"), ("dsf", "base-fewshot"), ("base-fewshot", "closed-book"))


class Ordering:
    """The arms on one data set, all of them at every rate or some."""

    def __init__(self, experiment: Experiment, answers: int, arms: Sequence[str] = TUNED, rates: Sequence[float] = RATES) -> None:
        self.experiment, self.answers, self.arms, self.rates = experiment, answers, arms, rates
        self.context: Context = experiment.benchmark.contexts[0]
        self.validation: list[Example] = [e for e in experiment.data.validation if e.answers]
        self.test: list[Example] = [e for e in experiment.data.test if e.answers]
        self.shots = choose_shots(experiment.data, 0)

    @cached_property
    def epochs(self) -> int:
        """Passes in which the arm without context reads as many tokens as RAFT does in one."""
        settings = self.experiment.settings(f"train.max_answers={self.answers}", "train.epochs=1")
        data, source = self.experiment.data, self.experiment.source
        chosen = sample_training(data.train, settings)
        encode = Encoder(build.tokenizer(settings), sys.maxsize)

        def tokens(*, without_context: bool) -> int:
            groups = training_groups(data, chosen, settings, source, without_context=without_context)
            return sum(len(encode(group)) for group in groups(0))

        return max(1, round(tokens(without_context=False) / tokens(without_context=True)))

    def trained(self, arm: str, rate: float, seed: int) -> list[str]:
        """The settings of a tuned arm's training."""
        epochs = self.epochs if arm == "dsf-tokens" else 1
        return [f"train.max_answers={self.answers}", f"train.epochs={epochs}", f"train.learning_rate={rate}", f"train.seed={seed}"]

    def answered(self, arm: str, rate: float, seed: int, split: str) -> dict[str, Any]:
        """What a tuned arm's training took, and F1 of its answers: on validation in the context that decides, else in each."""
        name, settings = f"{arm}-{rate:g}-{seed}", self.trained(arm, rate, seed)

        def make() -> dict[str, Any]:
            model = self.experiment.train(name, *settings, without_context=arm != "raft")
            contexts = (self.context,) if split == "validation" else self.experiment.benchmark.contexts
            return {
                "training": {figure: model.figures[figure] for figure in TRAINING},
                "contexts": {
                    context: scored(self.experiment.answer("tuned", context, self.asked(split), model=model, seed=seed))
                    for context in contexts
                },
            }

        return self.experiment.kept(f"{name}.{split}", settings, make)

    def base(self, way: str, split: str) -> dict[str, Any]:
        """The same of the few-shot base, which answers with or without quotes, held to the passages or not."""
        shots: Sequence[Shot] = self.shots
        if way == "plain":
            shots = [replace(shot, completion=shot.completion.splitlines()[-1]) for shot in shots]
        label = f"base-fewshot {way}"
        contexts = (self.context,) if split == "validation" else self.experiment.benchmark.contexts

        def make() -> dict[str, Any]:
            options: dict[str, Any] = {"shots": shots, "constrained": way == "quoting", "label": label}
            return {
                "contexts": {
                    context: scored(self.experiment.answer("base-fewshot", context, self.asked(split), **options)) for context in contexts
                }
            }

        return self.experiment.kept(f"{label}.{split}", (), make)

    def closed_book(self) -> dict[str, Any]:
        """The same of the base without passages, for every context."""
        answer = self.experiment.answer
        return self.experiment.kept(
            "closed-book.test",
            (),
            lambda: {"contexts": {"closed-book": scored(answer("base", "closed-book", self.test, label="closed-book"))}},
        )

    def asked(self, split: str) -> list[Example]:
        """The questions of a split that have an answer."""
        return self.validation if split == "validation" else self.test

    def ranks(self, context: Context) -> dict[str, int]:
        """Of each test question, at which place its evidence is shown first; 0 where it is not shown."""
        k = int(self.experiment.source.settings["retrieve"]["k"])
        shown = {example.id: evaluation_context(example, context, k).passages or () for example in self.test}
        oracles = {example.id: set(example.oracles) for example in self.test}
        return {id_: next((at for at, own in enumerate(ids, 1) if own in oracles[id_]), 0) for id_, ids in shown.items()}

    def on_validation(self, arm: str, rate: float) -> float:
        """F1 of a tuned arm in the context that decides."""
        found = mean(self.answered(arm, rate, 0, "validation")["contexts"][self.context]["f1"].values())
        print(f"{arm} at {rate:g}: validation F1 {found:.3f}", flush=True)
        return found

    def base_on_validation(self, way: str) -> float:
        """F1 of a way of the few-shot base's to answer."""
        found = mean(self.base(way, "validation")["contexts"][self.context]["f1"].values())
        print(f"base-fewshot, {way}: validation F1 {found:.3f}", flush=True)
        return found

    def make(self, jobs: int, seeds: int, overrides: Sequence[str], data: Path) -> None:
        """Make every cell that :meth:`run` asks for, so many at once."""
        experiment = self.experiment
        arguments = (
            experiment.benchmark_name,
            experiment.folder.parent,
            data,
            list(overrides),
            experiment.dataset_name,
            self.answers,
            self.arms,
            self.rates,
            experiment.cells,
        )
        with side_by_side(jobs, _open, *arguments) as submit:
            ways = {submit("base_on_validation", way): way for way in WAYS}
            running = {submit("on_validation", arm, rate): (arm, rate) for arm in reversed(self.arms) for rate in self.rates}
            rest = [submit("closed_book")]
            found: dict[str, dict[float, float]] = {arm: {} for arm in self.arms}
            for done in as_completed(running):
                arm, rate = running[done]
                found[arm][rate] = done.result()
                if len(found[arm]) == len(self.rates):
                    rest += [submit("answered", arm, best(found[arm]), seed, "test") for seed in range(seeds)]
            rest.append(submit("base", best({way: each.result() for each, way in ways.items()}), "test"))
            for each in rest:
                each.result()

    def run(self, seeds: int) -> dict[str, Any]:
        """Everything, as it goes into the results."""
        found = {arm: {rate: self.on_validation(arm, rate) for rate in self.rates} for arm in self.arms}
        ways = {way: self.base_on_validation(way) for way in WAYS}
        tested = {arm: [self.answered(arm, best(found[arm]), seed, "test") for seed in range(seeds)] for arm in self.arms}
        base, closed_book = self.base(best(ways), "test"), self.closed_book()
        groups = {example.id: example.group for example in self.test}
        contexts: dict[str, Any] = {}
        for context in self.experiment.benchmark.contexts:
            arms = {arm: [each["contexts"][context] for each in seeded] for arm, seeded in tested.items()}
            arms |= {"base-fewshot": [base["contexts"][context]], "closed-book": [closed_book["contexts"]["closed-book"]]}
            scores = {arm: over_seeds(own) for arm, own in arms.items()}
            ranks, found_at = self.ranks(context), self.ranks("retrieved")
            contexts[context] = {**compare(scores, groups), "f1_by_rank_of_the_evidence": by_rank(scores, ranks)}
            if drawn := {id_: rank for id_, rank in ranks.items() if rank and not found_at[id_]}:
                contexts[context]["f1_by_place_of_missed_evidence"] = by_rank(scores, drawn)
            contexts[context]["answer_seconds"] = {arm: round(sum(each["seconds"] for each in own), 1) for arm, own in arms.items()}
        return {
            "machines": sorted(self.experiment.machines),
            "rates": {arm: [best(own), {f"{rate:g}": round(f1, 4) for rate, f1 in own.items()}] for arm, own in found.items()},
            "few_shot": {"chosen": best(ways), "validation_f1": {way: round(f1, 4) for way, f1 in ways.items()}},
            "models": {
                f"{arm}-{best(found[arm]):g}-{seed}": each["training"] for arm, seeded in tested.items() for seed, each in enumerate(seeded)
            },
            "contexts": contexts,
        }


def _open(
    name: str,
    folder: Path,
    data: Path,
    overrides: Sequence[str],
    dataset: str,
    answers: int,
    arms: Sequence[str],
    rates: Sequence[float],
    cells: Path,
) -> Ordering:
    return Ordering(Experiment(name, folder, data, overrides, dataset, cells), answers, arms, rates)


def best(found: Mapping[T, float]) -> T:
    """What has the best figure; the first of equals."""
    return max(found, key=found.__getitem__)


def scored(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """F1 of each question's answer, and the seconds that all took."""
    f1 = {question: round(value, 4) for question, value in question_f1(predictions).items()}
    return {"seconds": round(sum(each.seconds for each in predictions), 1), "f1": f1}


def over_seeds(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """F1 of each question, averaged over the seeds of one arm."""
    return {question: mean([each["f1"][question] for each in found]) for question in found[0]["f1"]}


def compare(scores: Mapping[str, Mapping[str, float]], groups: Mapping[str, str]) -> dict[str, Any]:
    """F1 of each arm and each step of the order, paired by question; groups of documents are drawn."""
    ids = sorted(scores["raft"])
    own = [groups[i] for i in ids]
    rows = {arm: as_figure(bootstrap([f1[i] for i in ids], own)) for arm, f1 in scores.items()}
    steps = {}
    for above, below in ORDER:
        if above not in scores or below not in scores:
            continue
        found = paired_difference([scores[above][i] for i in ids], [scores[below][i] for i in ids], own)
        steps[f"{above} - {below}"] = {**as_figure(found.estimate), "p": found.p}
    return {"f1": rows, "steps": steps, "questions": len(ids), "groups": len(set(own))}


def by_rank(scores: Mapping[str, Mapping[str, float]], ranks: Mapping[str, int]) -> dict[str, Any]:
    """Mean F1 of each arm where the evidence is shown at a place, and at how many questions it is."""
    places = sorted(set(ranks.values()))
    at = {place: [id_ for id_, own in ranks.items() if own == place] for place in places}
    return {
        "questions": {str(place): len(ids) for place, ids in at.items()},
        **{arm: {str(place): round(mean(f1[id_] for id_ in ids), 3) for place, ids in at.items()} for arm, f1 in scores.items()},
    }


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
        tables = {
            "f1_by_rank_of_the_evidence": "the place of the evidence, 0 where it is not shown",
            "f1_by_place_of_missed_evidence": "the place of evidence that the retriever missed, where it is drawn",
        }
        for name, words in tables.items():
            if name in found:
                print(f"  by {words}:")
                for arm, row in found[name].items():
                    print(f"    {arm:14}", *(f"{place}: {value:<7g}" for place, value in row.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--folder", type=Path, default=Path("build/quality"))
    parser.add_argument("--answers", type=int, default=ANSWERS, help="answers that each arm is trained on, but for dsf-tokens")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--arms", nargs="+", choices=TUNED, default=TUNED, help="tuned arms, raft among them; default: all")
    parser.add_argument("--rates", nargs="+", type=float, default=RATES, help="learning rates that are tried; default: 1e-3 3e-4 1e-4")
    parser.add_argument("--jobs", type=int, default=1, help="models that are trained or asked at once, each by a process of its own")
    parser.add_argument("--cells", type=Path, default=KEPT, help="where what each cell came to is kept; default: results/cells")
    parser.add_argument("--set", action="append", default=[], help="a setting, as in ragtune --set")
    options = parser.parse_args()
    if "raft" not in options.arms:
        parser.error("the other arms are compared with raft: name it among --arms")
    data = os.environ.get("RAGTUNE_DATA")
    if not data:
        print("skipped: set RAGTUNE_DATA to the folder that holds the public data sets")
        return 0
    experiment = Experiment(options.name, options.folder, Path(data), options.set, cells=options.cells)
    ordering = Ordering(experiment, options.answers, options.arms, options.rates)
    if options.jobs > 1:
        ordering.make(options.jobs, options.seeds, options.set, Path(data))
    results = ordering.run(options.seeds)
    part = [
        *([] if set(options.arms) == set(TUNED) else options.arms),
        *(f"{rate:g}" for rate in options.rates if set(options.rates) != set(RATES)),
    ]
    part += [] if options.seeds == SEEDS else [f"seeds-{options.seeds}"]
    part += [] if options.answers == ANSWERS else [f"answers-{options.answers}"]
    settings = {"answers": options.answers, "seeds": options.seeds, "overrides": experiment.overrides}
    own = HERE / "results" if options.cells == KEPT else options.cells
    write_json(
        own / f"{'-'.join(['ordering', options.name, *part])}.json", {"settings": settings, "versions": library_versions(), **results}
    )
    print_tables(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
