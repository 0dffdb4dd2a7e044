"""Kill a command with SIGKILL at a chosen point of its work, run it again, and tell what it left: for the kill tests and the benchmark.

Commands run in children of a fork server that has the heavy libraries loaded already, so that a run costs its work and not its imports.
Each child is a process of its own that runs ``ragtune.cli.main``, and is killed as any process is.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

STAGES = ("ingest", "index", "train", "evaluate")
_PRELOAD = ["ragtune.cli", "ragtune.screen", "ragtune.pipeline.run", "ragtune.embed.sentence_transformers", "ragtune.index.faiss"]
_PRELOAD += ["ragtune.engine.huggingface", "ragtune.train.torch"]
_PATIENCE_S = 400.0


@dataclass(frozen=True)
class Kill:
    """What happened to one command: how much was done when it was killed; ``hit`` is false where it ended before."""

    stage: str
    target: int
    done: int
    hit: bool


def start(project: Path, stage: str) -> ForkServerProcess:
    """Start ``ragtune STAGE`` in a project."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    process = context.Process(target=_command, args=(stage, str(project)), daemon=True)
    process.start()
    return process


def run(project: Path, stage: str) -> None:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; with what it wrote.
    """
    process = start(project, stage)
    process.join(_PATIENCE_S)
    if process.exitcode != 0:
        process.kill()
        raise RuntimeError(f"ragtune {stage} ended with {process.exitcode}: {(project / 'log.txt').read_text(encoding='utf-8')}")


def kill(project: Path, stage: str, target: int, delay_s: float = 0.0) -> Kill:
    """Run a command and kill it as soon as ``target`` units of its work are on disk, and ``delay_s`` later."""
    process = start(project, stage)
    until = time.monotonic() + _PATIENCE_S
    while done_so_far(project, stage) < target and process.is_alive() and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(delay_s)
    process.kill()  # which one that has ended already bears
    process.join()
    return Kill(stage, target, done_so_far(project, stage), process.exitcode == -signal.SIGKILL)


def kill_copy(before: Path, copy: Path, stage: str, targets: Sequence[int], delay_s: float = 0.0) -> Kill:
    """Copy a project and kill a command in it at each target in turn; anew where a busy machine let it end before it was killed.

    Raises:
        RuntimeError: it always ended before.
    """
    for _ in range(8):
        shutil.copytree(before, copy)
        kills = []
        for target in targets:
            kills.append(kill(copy, stage, target, delay_s))
            if not kills[-1].hit:
                break
        else:
            return kills[-1]
        shutil.rmtree(copy)
    raise RuntimeError(f"ragtune {stage} always ended before it was killed at {targets}")


def done_so_far(project: Path, stage: str) -> int:
    """Files read, vectors stored, steps trained, or prompts answered."""
    workspace = project / ".ragtune"
    match stage:
        case "ingest":
            return _count(workspace / "corpus.db", "SELECT count(*) FROM files")
        case "index":
            return _count(workspace / "corpus.db", "SELECT count(*) FROM vectors")
        case "train":
            return sum(path.read_bytes().count(b"\n") for path in (workspace / "models").glob("*/metrics.jsonl"))
        case _:
            return _count(workspace / "generations.db", "SELECT count(*) FROM generations")


def state(project: Path, stage: str) -> dict[str, Any]:
    """What a stage left, comparable between runs: no times of day, no durations. Vectors and weights come as NumPy arrays."""
    return _STATES[stage](project / ".ragtune")


def _corpus(workspace: Path) -> dict[str, Any]:
    from ragtune.corpus import Corpus

    with contextlib.closing(Corpus(workspace / "corpus.db")) as corpus:
        return {
            "files": corpus.files(),
            "documents": [(each.source, each.title, each.text) for each in corpus.all_documents()],
            "chunks": sorted((each.id, each.document, each.start, each.end, each.prefix) for each in corpus.all_chunks()),
            "duplicates": corpus.duplicates(),
            "skipped": corpus.skipped(),
        }


def _index(workspace: Path) -> dict[str, Any]:
    from ragtune.corpus import Corpus
    from ragtune.index.faiss import FaissStore

    manifest = json.loads((workspace / "index" / "manifest.json").read_text(encoding="utf-8"))
    store = FaissStore.load(workspace / "index")
    with contextlib.closing(Corpus(workspace / "corpus.db")) as corpus:
        rows, vectors = corpus.vectors(manifest["embedder"])
        ids = {chunk.row: chunk.id for chunk in corpus.all_chunks()}
        order = sorted(range(len(rows)), key=lambda number: ids[int(rows[number])])
        _, found = store.search(vectors[order][:20], 5)
        return {
            "chunks": [ids[int(rows[number])] for number in order],
            "vectors": vectors[order],
            "stored": len(store),
            "found": [[ids[int(row)] for row in line] for line in found],
            "current": manifest["generation"] == corpus.generation,
        }


def _model(workspace: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    (folder,) = (workspace / "models").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    figures = {name: manifest["figures"][name] for name in ("train_loss", "validation_loss", "questions", "answers", "steps", "tokens")}
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    weights = load_file(folder / "adapter" / "adapter_model.safetensors")
    return {
        "name": folder.name,
        "key": manifest["key"],
        "figures": figures,
        "metrics": [(line["step"], line["loss"], line["gradient_norm"]) for line in metrics],
        "left over": sorted(path.name for path in folder.glob("*.safetensors")),
        **{f"weights {name}": value for name, value in weights.items()},
    }


def _evaluation(workspace: Path) -> dict[str, Any]:
    (folder,) = (workspace / "evaluations").iterdir()
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return {
        "name": folder.name,
        "predictions": [{name: value for name, value in each.items() if name != "seconds"} for each in predictions],
        "passages": (folder / "passages.jsonl").read_bytes(),
        "sentence": json.dumps({name: value for name, value in report.items() if name != "cost"}, sort_keys=True),
        "page": (folder / "report.html").is_file(),
        "readings": (workspace / "test_readings.json").read_text(encoding="utf-8"),
    }


_STATES: dict[str, Callable[[Path], dict[str, Any]]] = {"ingest": _corpus, "index": _index, "train": _model, "evaluate": _evaluation}


def difference(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what differs: vectors by more than 1e-5, everything else at all."""
    import numpy as np

    def same(name: str) -> bool:
        if isinstance(one[name], np.ndarray):
            return one[name].shape == other[name].shape and np.allclose(
                one[name], other[name], rtol=0, atol=1e-5 if name == "vectors" else 0
            )
        return bool(one[name] == other[name])

    return sorted((one.keys() ^ other.keys()) | {name for name in one.keys() & other.keys() if not same(name)})


def _count(path: Path, query: str) -> int:
    if not path.is_file():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return int(connection.execute(query).fetchone()[0])
    except sqlite3.Error:
        return 0  # its tables are being made


def _command(stage: str, project: str) -> None:
    """In the child: the command, with batches so small and checkpoints so close together that a run of a second has many."""
    import torch

    from ragtune import cli
    from ragtune.pipeline import index, ingest
    from ragtune.train import loop as training

    torch.set_num_threads(1)
    index._BATCH = 32
    index._WINDOW = 96
    ingest.FLUSH_S = 0.0
    training.CHECKPOINT_EVERY_S = 0.02
    with (Path(project) / "log.txt").open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = ["ragtune", stage, "--project", project]
    cli.main()


def stages_before(stage: str) -> Sequence[str]:
    """What must have been run."""
    order = ("ingest", "index", "dataset", "train", "evaluate")
    return order[: order.index(stage)]
