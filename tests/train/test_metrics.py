"""What a run tells while it goes."""

from __future__ import annotations

import contextlib
import json

import pytest

pytest.importorskip("tensorboard", reason="tensorboard is not installed")
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.tensorflow_stub.errors import OutOfRangeError
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

from ragtune.train.metrics import Metrics


def events(folder) -> list[Event]:
    """What TensorBoard's own reader finds, the oldest file first."""
    found = []
    for path in sorted(folder.iterdir()):
        reader = PyRecordReader_New(str(path))
        with contextlib.suppress(OutOfRangeError):
            while True:
                reader.GetNext()
                found.append(Event.FromString(reader.record()))
    return found


def test_tensorboard_reads_what_is_written(tmp_path):
    with contextlib.closing(Metrics(tmp_path, 0)) as metrics:
        metrics.write({"step": 1, "loss": 2.5, "tokens": 7})
        metrics.write({"step": 2, "loss": 1.5, "validation_loss": 3.0})
    assert [(each.step, {value.tag: value.simple_value for value in each.summary.value}) for each in events(tmp_path / "tensorboard")] == [
        (0, {}), (1, {}), (1, {"loss": 2.5}), (2, {"loss": 1.5, "validation_loss": 3.0}),
    ]  # fmt: skip


def test_a_run_that_goes_on_hides_what_came_after_its_checkpoint(tmp_path):
    for first, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with contextlib.closing(Metrics(tmp_path, first)) as metrics:
            for step in steps:
                metrics.write({"step": step, "loss": float(step)})
    starts = [each.step for each in events(tmp_path / "tensorboard") if each.session_log.status == SessionLog.START]
    assert starts == [1, 3]
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4]
