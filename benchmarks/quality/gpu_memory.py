"""What trainings on a GPU took beside what is predicted for them now: from the cells that were kept, without a GPU.

Run:     RAGTUNE_DATA=/path/to/data .venv/bin/python benchmarks/quality/gpu_memory.py
Results: benchmarks/quality/results/gpu-memory.json, printed
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from cells import KEPT, Experiment

from ragtune import build
from ragtune.config import Settings
from ragtune.models.pull import resolve
from ragtune.pipeline.train import sample_training, training_groups
from ragtune.train.load import load_shape, longest_text
from ragtune.train.predict import predict_memory, shape_of, survey
from ragtune.train.sequences import Encoder, split_steps
from ragtune.workspace import library_versions, write_json

HERE = Path(__file__).parent


def predicted(experiment: Experiment, settings: Settings, *, without_context: bool) -> float:
    """Bytes at the peak on a GPU whose memory suffices."""
    train = settings.train
    how = replace(
        build.trainer(settings).how,
        device=torch.device("cuda"),
        dtype=torch.bfloat16,
        tokens_per_batch=train.tokens_per_batch or 16_384,  # the trainer's default on a GPU
    )
    groups = training_groups(
        experiment.data, sample_training(experiment.data.train, settings), settings, experiment.source, without_context=without_context
    )
    model, tokenizer = load_shape(str(resolve(settings.model.base)), None)
    encode = Encoder(tokenizer, longest_text(model.config.get_text_config()))
    steps = [step for epoch in range(train.epochs) for step in split_steps(groups(epoch), train.answers_per_step)]
    return sum(predict_memory(shape_of(model, train.targets), survey(steps, encode).largest, how).values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/quality"))
    options = parser.parse_args()
    data = os.environ.get("RAGTUNE_DATA")
    if not data:
        print("skipped: set RAGTUNE_DATA to the folder that holds the public data sets")
        return 0
    rows: dict[str, dict[str, float]] = {}
    for folder in sorted(path for path in KEPT.iterdir() if path.is_dir()):
        experiment = Experiment(folder.name, options.folder, Path(data))
        for path in sorted(folder.glob("*.test.json")):
            cell = json.loads(path.read_text(encoding="utf-8"))
            if "training" not in cell or cell["machine"].startswith("CPU"):
                continue
            settings = experiment.settings(*(each for each in cell["settings"] if each.startswith("train.")))
            now, took = predicted(experiment, settings, without_context="raft" not in path.name), cell["training"]["peak_memory"]
            rows[f"{folder.name}/{path.name}"] = {"took": took, "predicted": now, "ratio": round(took / now, 3)}
            print(f"{folder.name} {path.name}: {took / 1e9:.2f} GB, predicted {now / 1e9:.2f}, so {took / now:.2f} of it", flush=True)
    if not rows:
        print("no cell is of a GPU")
        return 0
    ratios = [row["ratio"] for row in rows.values()]
    write_json(HERE / "results" / "gpu-memory.json", {"versions": library_versions(), "trainings": rows})
    print(f"{len(ratios)} trainings took {min(ratios):.2f} to {max(ratios):.2f} of what is predicted, {median(ratios):.2f} in the median")
    return 0


if __name__ == "__main__":
    sys.exit(main())
