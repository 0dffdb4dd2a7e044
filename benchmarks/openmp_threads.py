"""What does it cost when more threads than one ever computed? The same answers from a thread beside a main thread that loaded the model.

    python benchmarks/openmp_threads.py                # SmolLM2, some minutes on two free cores

GNU's OpenMP keeps workers for every thread that computed, and lets none spin once they are more than the processors
(``ragtune.compute``). Each arm is a process of its own: the model is loaded and answers in the main thread; loaded in the main thread, it
answers in another; loaded in a thread that ended, it answers in another. They take turns. Writes ``results/openmp_threads.json``.
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
from typing import Any

from ragtune import build
from ragtune.compute import in_own_thread
from ragtune.config import Settings
from ragtune.prompts import build_messages
from ragtune.types import Message
from ragtune.workspace import library_versions, write_json

RESULTS = Path(__file__).parent / "results" / "openmp_threads.json"
ARMS = ("one thread", "main thread loads", "ended thread loads")
PROMPT = build_messages("What is a mill race?", None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(measure(options.arm, options.tokens)))
        return
    measured: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for _ in range(options.rounds):
        for arm in ARMS:
            command = [sys.executable, __file__, "--arm", arm, "--tokens", str(options.tokens)]
            measured[arm].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    rates = {arm: statistics.median(run["tokens_per_second"] for run in runs) for arm, runs in measured.items()}
    found = {"cores": os.cpu_count(), "versions": library_versions(), "rounds": measured, "tokens_per_second": rates}
    for arm, rate in rates.items():
        print(f"{arm:20} {rate:6.1f} tokens/s, {rate / rates['one thread']:.0%}")
    write_json(RESULTS, found)


def measure(arm: str, tokens: int) -> dict[str, float]:
    """Tokens a second, and processors that were busy."""

    def answer() -> dict[str, float]:
        _generate(engine, tokens)
        wall, busy = time.perf_counter(), time.process_time()
        written = sum(_generate(engine, tokens) for _ in range(3))
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        return {"tokens_per_second": round(written / wall, 2), "processors": round(busy / wall, 2)}

    def load() -> Any:
        made = build.engine(Settings())
        _generate(made, 2)
        return made

    engine = in_own_thread(load) if arm == "ended thread loads" else load()
    return answer() if arm == "one thread" else in_own_thread(answer)


def _generate(engine: Any, tokens: int) -> int:
    prompt = [*PROMPT, Message("assistant", "It is"), Message("user", "Say more, much more, at length.")]
    return sum(generation.completion_tokens for _, generation in engine.generate([prompt], max_new_tokens=tokens, batch_size=1))


if __name__ == "__main__":
    main()
