"""What a run tells while it goes: metrics.jsonl, one line a step, and TensorBoard's event files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from ragtune.workspace import write_bytes

FILE = "metrics.jsonl"
_CHARTS = ("loss", "learning_rate", "gradient_norm", "validation_loss", "validation_f1", "answers_per_s")


class Metrics:
    """Writes both; what a killed run wrote after its last checkpoint is cut off, so that no step is there twice.

    Args:
        output: the model's folder.
        step: of the checkpoint that the run goes on from; 0 starts anew.
    """

    def __init__(self, output: Path, step: int) -> None:
        path = output / FILE
        write_bytes(path, "".join(_lines_until(path, step)).encode())
        self._file = path.open("a", encoding="utf-8")
        self._board = _Board(output / "tensorboard", step)

    def write(self, line: Mapping[str, float]) -> None:
        """One step's figures."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._board.write(int(line["step"]), {name: line[name] for name in _CHARTS if name in line})

    def close(self) -> None:
        """Write what is buffered."""
        os.fsync(self._file.fileno())
        self._file.close()
        self._board.close()


class _Board:
    """TensorBoard's events, in a file of its own each time.

    The writers of tensorboard and of PyTorch import TensorFlow wherever it is installed; these are the parts of tensorboard that do not.

    Args:
        folder: of a run.
        step: that the run goes on after; what lies there of later steps is not shown any more.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(exist_ok=True)
        self._records = RecordWriter((folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}").open("wb"))
        self._add(Event(file_version="brain.Event:2"))
        self._add(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """The values of a step."""
        found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(Event(step=step, summary=Summary(value=found)))

    def close(self) -> None:
        """Close the file."""
        self._records.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
        self._records.flush()


def _lines_until(path: Path, step: int) -> list[str]:
    kept: list[str] = []
    if step and path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                if json.loads(text)["step"] > step:
                    break
            except ValueError:
                break  # the line that the kill tore
            kept.append(text)
    return kept
