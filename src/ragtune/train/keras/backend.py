"""Keras on TensorFlow: the one place where ragtune imports either, so that Keras finds the backend that it is to take."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ragtune.errors import TrainError

_NOTES = (b"WARNING: All log messages before absl::InitializeLog()", b"I0000 ")


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Take TensorFlow's notes on the processor out of what is written to stderr: no setting of its own keeps them back."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            for line in written:
                if not line.startswith(_NOTES):
                    os.write(2, line)


if "keras" not in sys.modules:
    os.environ["KERAS_BACKEND"] = "tensorflow"
# Where there is no GPU's driver also without what it calls an error, that there is none; what fails raises an exception anyway.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if Path("/proc/driver/nvidia").exists() else "3")

with _without_notes():
    import keras
    import keras_hub
    import tensorflow as tf

if keras.backend.backend() != "tensorflow":
    raise TrainError(
        f"Keras was imported before, with the backend {keras.backend.backend()}: set KERAS_BACKEND=tensorflow, or train in a new process"
    )

__all__ = ["keras", "keras_hub", "tf"]
