"""What trainings took beside what is predicted for them now: from the cells that were kept, whatever machine made them.

Run:     RAGTUNE_DATA=/path/to/data .venv/bin/python benchmarks/quality/memory.py [squadshifts]
Results: benchmarks/quality/results/memory.json, printed

Cells of a dataset that is no longer made the same are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from cells import KEPT, Experiment
from projects import BENCHMARKS

from ragtune import build
from ragtune.config import Settings
from ragtune.models.pull import resolve
from ragtune.pipeline.train import sample_training, training_groups
from ragtune.train.load import load_shape, longest_text
from ragtune.train.predict import predict_memory, shape_of, survey
from ragtune.train.sequences import Encoder, split_steps
from ragtune.workspace import library_versions, write_json

HERE = Path(__file__).parent


def predicted(experiment: Experiment, settings: Settings, machine: str, *, without_context: bool) -> float:
    """Bytes at the peak on a machine whose memory suffices: of the process on a CPU, on the card else."""
    train = settings.train
    how = build.trainer(settings).how
    if machine.startswith("CPU"):
        how = replace(how, device=torch.device("cpu"), dtype=torch.bfloat16 if "bfloat16" in machine else torch.float32)
    else:
        batch = train.tokens_per_batch or 16_384  # the trainer's default on a GPU
        how = replace(how, device=torch.device("cuda"), dtype=torch.bfloat16, tokens_per_batch=batch)
    groups = training_groups(
        experiment.data, sample_training(experiment.data.train, settings), settings, experiment.source, without_context=without_context
    )
    model, tokenizer = load_shape(str(resolve(settings.model.base)), None)
    encode = Encoder(tokenizer, longest_text(model.config.get_text_config()))
    steps = [step for epoch in range(train.epochs) for step in split_steps(groups(epoch), train.answers_per_step)]
    return sum(predict_memory(shape_of(model, train.targets), survey(steps, encode).largest, how).values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], help="data sets; default: all that have cells")
    parser.add_argument("--folder", type=Path, default=Path("build/quality"))
    options = parser.parse_args()
    data = os.environ.get("RAGTUNE_DATA")
    if not data:
        print("skipped: set RAGTUNE_DATA to the folder that holds the public data sets")
        return 0
    rows: dict[str, dict[str, Any]] = {}
    for name in options.names or [path.name for path in sorted(KEPT.iterdir())]:
        experiment = Experiment(name, options.folder, Path(data))
        seen = set()
        for path in sorted((KEPT / name).glob("*.json")):
            cell = json.loads(path.read_text(encoding="utf-8"))
            label = path.name.split(".test.")[0].split(".validation.")[0]
            if "training" not in cell or cell["dataset"] != experiment.dataset_name or label in seen:
                continue
            seen.add(label)
            settings = experiment.settings(*(each for each in cell["settings"] if each.startswith("train.")))
            now = predicted(experiment, settings, cell["machine"], without_context=label.startswith("dsf"))
            took = cell["training"]["peak_memory"]
            rows[f"{name}/{label}"] = {"machine": cell["machine"], "took": took, "predicted": now, "ratio": round(took / now, 3)}
            sizes = f"{took / 1e9:.2f} GB, predicted {now / 1e9:.2f}, so {took / now:.2f} of it"
            print(f"{name} {label}, {cell['machine']}: {sizes}", flush=True)
    for kind, of_cpu in (("a CPU", True), ("a GPU", False)):
        ratios = [row["ratio"] for row in rows.values() if row["machine"].startswith("CPU") is of_cpu]
        if ratios:
            spread = f"{min(ratios):.2f} to {max(ratios):.2f} of it, {median(ratios):.2f} in the median"
            print(f"{len(ratios)} trainings on {kind} took {spread}")
    write_json(HERE / "results" / "memory.json", {"versions": library_versions(), "trainings": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
