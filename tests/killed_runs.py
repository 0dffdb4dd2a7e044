"""Training processes that are killed at some moment; a server that has imported what they need forks them in milliseconds."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from ragtune.train import loop
from ragtune.train.loop import OnStep

Train: TypeAlias = Callable[[Path, Path, dict[str, Any], OnStep], object]
"""From a base, a run's folder, options, and what is given each line; found by its name in another process."""

CHILDREN = multiprocessing.get_context("forkserver")


def kill_after(steps: int, train: Train, base: Path, output: Path, options: dict[str, Any]) -> None:
    """SIGKILL to a training process, which writes a checkpoint after each step, at some moment after so many of its steps."""
    log = output.with_suffix(".log")
    before = len(log.read_text().splitlines()) if log.exists() else 0
    child = CHILDREN.Process(target=_train, args=(steps, train, base, output, options, log))
    child.start()
    try:
        while not log.exists() or len(log.read_text().splitlines()) < before + steps:
            assert child.is_alive(), "training ended before it could be killed"
            time.sleep(0.002)
    finally:
        child.kill()
        child.join()
        child.close()


def _train(steps: int, train: Train, base: Path, output: Path, options: dict[str, Any], log: Path) -> None:
    loop.CHECKPOINT_EVERY_S = 0.0

    done = 0

    def note(line: dict[str, float]) -> None:
        nonlocal done
        done += 1
        if done > steps:
            time.sleep(3600)  # on a busy machine it would end before it is killed otherwise
        with log.open("a") as file:
            file.write(f"{line['step']}\n")

    train(base, output, options, note)
