"""Kill every stage with SIGKILL at random points, run it again, and count how often the end is that of an undisturbed run.

Run: ``python benchmarks/kill.py --kills 10``. Models are tiny and random; processes, files and kills are real. Writes
``benchmarks/results/kill.json``.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "pipeline")]
RESULTS = Path(__file__).parent / "results" / "kill.json"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from killing import STAGES, difference, done_so_far, kill, run, stages_before, state  # noqa: E402 - found through the path above

from ragtune.workspace import library_versions, write_json  # noqa: E402
from tiny_models import save_chat_model, save_embedder  # noqa: E402
from tiny_project import PLACES, document, write_project, write_sources  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=10, help="kills a stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        after = undisturbed(Path(folder))
        print("| stage | kills | of work done, least to most | ended as undisturbed | seconds a kill and run |")
        print("|---|---|---|---|---|")
        rows = [bench(stage, after, Path(folder), options.kills, options.seed) for stage in STAGES]
    hardware = {"machine": platform.machine(), "cores": os.cpu_count()}
    settings = {"kills": options.kills, "seed": options.seed}
    write_json(options.output, {"hardware": hardware, "versions": library_versions(), "settings": settings, "stages": rows})
    sys.exit(1 if any(row["ended_as_undisturbed"] < row["kills"] for row in rows) else 0)


def undisturbed(root: Path) -> dict[str, Path]:
    """A project as it is before each stage, and after the last."""
    chat = save_chat_model(root / "chat", positions=4096)
    embedder = save_embedder(root / "embedder", [document(place, 8) for place in PLACES])
    project = write_project(root / "empty", write_sources(root / "sources", places=12, facts=4, filler=110), chat, embedder)
    after = {"": project}
    for stage in (*stages_before("evaluate"), "evaluate"):
        copy = shutil.copytree(project, root / stage)
        run(copy, stage)
        after[stage] = project = copy
    return after


def bench(stage: str, after: dict[str, Path], root: Path, kills: int, seed: int) -> dict[str, Any]:
    """One row of the table, printed."""
    before = after[["", *stages_before(stage)][-1]]
    whole = done_so_far(after[stage], stage)
    draw = random.Random(f"{seed} {stage}")
    shares: list[float] = []
    wrong = 0
    began = time.monotonic()
    while len(shares) < kills:
        project = shutil.copytree(before, root / "killed")
        killed = kill(project, stage, draw.randrange(0, whole), draw.uniform(0, 0.02))
        run(project, stage)
        differing = difference(state(project, stage), state(after[stage], stage))
        if differing:
            print(f"{killed}: {', '.join(differing)} differ", file=sys.stderr)
        wrong += bool(differing)
        if killed.hit:  # one that ended before it was killed counts for nothing, unless it is wrong
            shares.append(killed.done / whole)
        shutil.rmtree(project)
    seconds = (time.monotonic() - began) / kills
    print(f"| {stage} | {kills} | {min(shares):.0%} to {max(shares):.0%} | {kills - wrong} | {seconds:.1f} |", flush=True)
    return {
        "stage": stage,
        "kills": kills,
        "least_done": round(min(shares), 3),
        "most_done": round(max(shares), 3),
        "ended_as_undisturbed": kills - wrong,
        "seconds_a_kill_and_run": round(seconds, 2),
    }


if __name__ == "__main__":
    main()
