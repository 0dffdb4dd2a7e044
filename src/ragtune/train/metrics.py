"""What a run tells while it goes: metrics.jsonl, one line a step, and TensorBoard's event files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

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
        # Imported here, as it costs a second that a mere prediction of the time need not pay.
        from torch.utils.tensorboard import SummaryWriter

        path = output / FILE
        write_bytes(path, "".join(_lines_until(path, step)).encode())
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(output / "tensorboard"), purge_step=step + 1)

    def write(self, line: Mapping[str, float]) -> None:
        """One step's figures."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name in _CHARTS:
            if name in line:
                self._board.add_scalar(name, line[name], int(line["step"]))

    def close(self) -> None:
        """Write what is buffered."""
        os.fsync(self._file.fileno())
        self._file.close()
        self._board.close()


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
