"""What does a step cost with ragtune's adapters in Keras, beside those of Keras' own ``enable_lora``?

    python benchmarks/keras_lora.py                    # some 5 minutes on two free cores
    python benchmarks/keras_lora.py --dtype bfloat16

Every projection of SmolLM2-135M has an adapter of rank 16. A batch is four texts of 448 tokens, each with 32 tokens of completion, which
alone have logits. Each contestant runs in processes of its own, for the peak of memory is a process's; rounds alternate, and the first
steps, in which graphs are traced, are not counted. Writes ``benchmarks/results/keras_lora.json``.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ragtune.models.pull import resolve
from ragtune.workspace import library_versions

RESULTS = Path(__file__).parent / "results" / "keras_lora.json"
RANK, ROWS, TOKENS, COMPLETION = 16, 4, 448, 32
CONTESTANTS = ("none", "ragtune", "enable_lora")
"""``none`` has no adapters and no backward pass: what loading and a forward pass take."""


def main() -> None:
    """Run the contestants in turns, or one round of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(run(given.one, given.steps, given.dtype)))
        return
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    for _ in range(given.rounds):
        for name, done in rounds.items():
            command = [sys.executable, __file__, "--one", name, "--steps", str(given.steps), "--dtype", given.dtype]
            done.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
    found = {
        name: {
            "seconds": round(statistics.median(second for each in done for second in each["seconds"]), 3),
            "peak_mb": round(statistics.median(each["peak"] for each in done) / 1e6),
            "trained": done[0]["trained"],
        }
        for name, done in rounds.items()
    }
    made = {"machine": platform.processor() or platform.machine(), "versions": library_versions(), "dtype": given.dtype, "found": found}
    given.output.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def run(name: str, steps: int, dtype: str) -> dict[str, Any]:
    """Seconds of each step, the peak of memory in bytes, and how many numbers are trained."""
    from ragtune.train.keras.backend import tf
    from ragtune.train.keras.base import load_base
    from ragtune.train.keras.lora import add_lora

    base = load_base(str(resolve("smollm2-135m-instruct")), dtype)  # type: ignore[arg-type]
    variables: list[Any] = []
    if name == "ragtune":
        layers = add_lora(base, rank=RANK, alpha=2.0 * RANK, dropout=0.0, seed=0)
        variables = [variable for layer in layers.values() for variable in layer.trained.values()]
    if name == "enable_lora":
        for _, parent, leaf in base.projections():
            layer = getattr(parent, leaf)
            layer.enable_lora(RANK, lora_alpha=2 * RANK)
            variables += [layer.lora_kernel_a, layer.lora_kernel_b]
    ids_bt = np.random.default_rng(0).integers(20, 40_000, (ROWS, TOKENS), dtype=np.int32)

    @tf.function  # type: ignore[untyped-decorator]
    def step(ids_bt: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            hidden_btd = base.hidden(ids_bt, tf.ones_like(ids_bt), training=True)
            logits_nv = base.head(tf.reshape(hidden_btd[:, -COMPLETION - 1 : -1], [ROWS * COMPLETION, -1]))
            labels_n = tf.reshape(ids_bt[:, -COMPLETION:], [-1])
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels_n, logits_nv))
        return loss, tape.gradient(loss, [variable.value for variable in variables])

    seconds = []
    for _ in range(steps + 1):
        begun = time.perf_counter()
        float(step(tf.constant(ids_bt))[0])
        seconds.append(time.perf_counter() - begun)
    trained = sum(int(np.prod(variable.shape)) for variable in variables)
    return {"seconds": seconds[1:], "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "trained": trained}


if __name__ == "__main__":
    main()
