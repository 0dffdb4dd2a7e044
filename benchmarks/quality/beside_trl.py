"""Does TRL's SFTTrainer, fed with the exported dataset, reach the same validation loss as our trainer?

    RAGTUNE_DATA=/path/to/data python benchmarks/quality/beside_trl.py
    RAGTUNE_DATA=/path/to/data python benchmarks/quality/beside_trl.py --answers 600 --seeds 3

The answers, their contexts and order, the base in its number format, layers, rank, rate, schedule and answers an update are the same. The
exported rows are what TRL is given; of how many it makes our token ids, and what it adds to them, stands in the results. One function takes
the loss of all on the validation questions in their served contexts. ``ragtune, shared`` trains questions with overlapping contexts
together, which is our default, and sees the same answers in other contexts. One difference stays: transformers makes the first update at a
rate of nothing, and we at the first step of the warm-up, so runs of a few updates do not compare. Each trained adapter is a cell that is
kept under ``--folder``, so a killed run goes on. Writes ``results/trl.json``. Not called trl.py, as it would then be what ``import trl``
finds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from cells import Experiment
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from peft import LoraConfig
from transformers import set_seed

from ragtune.dataset.export import export_trl
from ragtune.models.pull import resolve
from ragtune.pipeline.train import sample_training, training_groups, validation_groups
from ragtune.train.lora import load_adapter
from ragtune.train.torch import TorchTrainer
from ragtune.types import ContextGroup
from ragtune.workspace import library_versions, write_json

HERE = Path(__file__).parent
ARMS = ("trl", "ragtune", "ragtune, shared")


class Beside:
    """One comparison.

    Args:
        experiment: its data set.
        answers: training questions.
        rate: peak of the learning rate, for all.
    """

    def __init__(self, experiment: Experiment, answers: int, rate: float) -> None:
        self.experiment = experiment
        self.more = (f"train.max_answers={answers}", f"train.learning_rate={rate:g}", "train.rehearsal=0")
        settings = experiment.settings(*self.more)
        self.base = str(resolve(settings.model.base))
        held_out = validation_groups(experiment.data, experiment.source, settings, False)
        self.yardstick = self.trainer(0)
        self.held_out = [self.yardstick.load().encode(group) for group in held_out]

    def trainer(self, seed: int) -> TorchTrainer:
        """Ours, with the settings of the comparison."""
        settings = self.experiment.settings(*self.more)
        train = settings.train
        return TorchTrainer(
            self.base, rank=train.rank, alpha=train.alpha, learning_rate=train.learning_rate, warmup=train.warmup, epochs=train.epochs,
            answers_per_step=train.answers_per_step, seed=seed, dtype=settings.model.dtype, device=settings.model.device,
        )  # fmt: skip

    def groups(self, seed: int, *, shared: bool) -> list[list[ContextGroup]]:
        """The groups of each epoch."""
        settings = self.experiment.settings(*self.more, f"train.seed={seed}", f"train.shared_contexts={json.dumps(shared)}")
        data, source = self.experiment.data, self.experiment.source
        made = training_groups(data, sample_training(data.train, settings), settings, source)
        return [list(made(epoch)) for epoch in range(settings.train.epochs)]

    def run(self, arm: str, seed: int) -> dict[str, Any]:
        """One cell: an adapter and its validation loss."""
        chosen = [each.partition("=")[2] for each in self.more]
        output = self.experiment.folder / "trl" / "-".join([arm.replace(", ", "-"), str(seed), *chosen])
        groups = self.groups(seed, shared=arm.endswith("shared"))
        more: dict[str, Any] = {}
        if arm == "trl":
            more = self.run_trl(seed, [group for epoch in groups for group in epoch], output)
        else:
            result = self.trainer(seed).train(groups.__getitem__, [], output, lambda _: None)
            more = {"steps": result.steps, "answers": result.answers}
        return {"validation_loss": self.loss(output / "adapter"), **more}

    def run_trl(self, seed: int, groups: Sequence[ContextGroup], output: Path) -> dict[str, Any]:
        """TRL on the exported rows, in their order, of which one pass holds every epoch."""
        from trl import SFTConfig, SFTTrainer

        rows = output / "rows.jsonl"
        count = export_trl(groups, rows)
        train = self.experiment.settings(*self.more).train
        config = SFTConfig(
            output_dir=str(output / "trl"), num_train_epochs=1, completion_only_loss=True, max_length=None, seed=seed,
            learning_rate=train.learning_rate, lr_scheduler_type="cosine", warmup_steps=train.warmup, weight_decay=0.0, max_grad_norm=1.0,
            per_device_train_batch_size=1, gradient_accumulation_steps=train.answers_per_step, gradient_checkpointing=False, bf16=False,
            train_sampling_strategy="sequential", use_cpu=self.yardstick.how.device.type == "cpu", save_strategy="no", report_to=[],
            disable_tqdm=True, model_init_kwargs={"dtype": str(self.yardstick.how.dtype).removeprefix("torch.")},
        )  # fmt: skip
        set_seed(seed)
        lora = LoraConfig(r=train.rank, lora_alpha=train.alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
        lines = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
        trainer = SFTTrainer(model=self.base, args=config, train_dataset=Dataset.from_list(lines), peft_config=lora)
        encode = self.yardstick.load().encode
        ours = [(*s.context, *branch.question, *branch.completion) for s in map(encode, groups) for branch in s.branches]
        theirs = [tuple(row["input_ids"]) for row in trainer.train_dataset]
        equal = sum(row[: len(ids)] == ids for row, ids in zip(theirs, ours, strict=True))
        # What a chat template writes after the end of a turn, which ends an answer here.
        beyond = {trainer.processing_class.decode(row[len(ids) :]) for row, ids in zip(theirs, ours, strict=True)}
        trainer.train()
        trainer.model.save_pretrained(str(output / "adapter"))
        return {"steps": trainer.state.global_step, "answers": count, "rows_with_our_token_ids": equal, "then": sorted(beyond)}

    def loss(self, adapter: Path | None) -> float:
        """The one yardstick: the mean over validation answers, in nats for 32 completion tokens."""
        loaded = self.yardstick.load()
        if adapter is not None:
            load_adapter(adapter, loaded.layers)
        return loaded.validate(self.held_out)


def keep(folder: Path, name: str, key: dict[str, Any], make: Callable[[], Any]) -> Any:
    """What ``make`` gives, kept as JSON under a name and a hash of the key, with its wall time."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:10]
    path = folder / "cells" / f"{name}-{digest}.json"
    if not path.is_file():
        began = time.monotonic()
        result = make()
        write_json(path, {"name": name, "key": key, "seconds": round(time.monotonic() - began, 1), "result": result})
    return json.loads(path.read_text(encoding="utf-8"))


def summarise(cells: dict[str, list[dict[str, Any]]], base: float) -> dict[str, Any]:
    """Means and spreads over seeds, and the difference to TRL, seed by seed."""
    rows = {}
    theirs = [cell["validation_loss"] for cell in cells["trl"]]
    for arm, own in cells.items():
        losses = [cell["validation_loss"] for cell in own]
        differences = [loss - other for loss, other in zip(losses, theirs, strict=True)]
        rows[arm] = {
            "validation_loss": round(statistics.fmean(losses), 4),
            "of_each_seed": [round(loss, 4) for loss in losses],
            "less_trl": round(statistics.fmean(differences), 4),
            "standard_deviation_of_seeds": round(statistics.stdev(losses), 4) if len(losses) > 1 else None,
        }
    return {"base_validation_loss": round(base, 4), "arms": rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="squadshifts", help="of the data set, see projects.py")
    parser.add_argument("--folder", type=Path, default=Path("build/quality"))
    parser.add_argument("--answers", type=int, default=600, help="questions that each arm is trained on")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of all arms")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="a setting, as in ragtune --set")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "trl.json")
    options = parser.parse_args()
    data = os.environ.get("RAGTUNE_DATA")
    if not data:
        print("skipped: set RAGTUNE_DATA to the folder that holds the public data sets")
        return 0
    disable_progress_bar()
    experiment = Experiment(options.name, options.folder, Path(data), options.set)
    beside = Beside(experiment, options.answers, options.rate)
    settings = {"answers": options.answers, "rate": options.rate, "overrides": experiment.overrides}
    made_from = {**settings, "dataset": experiment.source.key, "base": beside.base}

    def cell(arm: str, seed: int) -> dict[str, Any]:
        key = {**made_from, "arm": arm, "seed": seed}
        kept = keep(experiment.folder, f"trl-{arm.replace(', ', '-')}-{seed}", key, lambda: beside.run(arm, seed))
        print(f"{arm}, seed {seed}: {kept['result']}, {kept['seconds']} s", flush=True)
        return {**kept["result"], "seconds": kept["seconds"]}

    cells = {arm: [cell(arm, seed) for seed in range(options.seeds)] for arm in ARMS}
    base = keep(experiment.folder, "trl-base", made_from, lambda: beside.loss(None))
    results = {"cells": cells, **summarise(cells, base["result"])}
    settings |= {"seeds": options.seeds, "threads": torch.get_num_threads()}
    write_json(options.output, {"settings": settings, "versions": library_versions(), **results})
    print(json.dumps(results["arms"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
