"""What do the kernels take that are compiled for each length of a text, and kept? Memory and time of answers to prompts of many lengths.

    python benchmarks/kept_kernels.py                # SmolLM2, some minutes

oneDNN and PyTorch keep the last 1,024 each, by themselves; ragtune lets them keep fewer (``ragtune.memory``). Each arm is a process of its
own, and they take turns. Writes ``results/kept_kernels.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from ragtune import build
from ragtune.config import Settings
from ragtune.memory import KERNEL_CACHES
from ragtune.prompts import build_messages
from ragtune.train.predict import PeakMemory
from ragtune.workspace import library_versions, write_json

RESULTS = Path(__file__).parent / "results" / "kept_kernels.json"
ARMS = ("1024", "128", "32")
WORDS = range(150, 510, 2)
"""Words of the questions, each of which is a token."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=None, help="of PyTorch; its own choice without")
    parser.add_argument("--arm", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(measure(options.threads)))
        return
    threads = [] if options.threads is None else ["--threads", str(options.threads)]
    rounds: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for _ in range(options.rounds):
        for arm in ARMS:
            kept = dict.fromkeys(KERNEL_CACHES, arm)
            command = [sys.executable, __file__, "--arm", *threads]
            made = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **kept})
            rounds[arm].append(json.loads(made.stdout))
            print(arm, rounds[arm][-1], flush=True)
    found = {arm: {name: statistics.median(each[name] for each in runs) for name in runs[0]} for arm, runs in rounds.items()}
    for arm, figures in found.items():
        print(f"{arm:>5} kept: {figures['peak_mib']:,.0f} MiB at the peak, {figures['cpu_seconds']:.0f} s of a processor")
    write_json(RESULTS, {"cores": os.cpu_count(), "versions": library_versions(), "rounds": rounds, "median": found})


def measure(threads: int | None) -> dict[str, float]:
    """Peak and processor time of an answer to each length, once the model has been loaded."""
    import torch  # here, so that the process that only starts others does without

    if threads is not None:
        torch.set_num_threads(threads)
    engine = build.engine(Settings())
    asked = [build_messages(" ".join(["mill"] * words), None) for words in WORDS]
    list(engine.generate(asked[:1], max_new_tokens=4))
    peak, began = PeakMemory(torch.device("cpu")), time.process_time()
    list(engine.generate(asked, max_new_tokens=4, batch_size=1))
    return {"cpu_seconds": round(time.process_time() - began, 1), "peak_mib": round((peak() or 0) / 2**20)}


if __name__ == "__main__":
    main()
