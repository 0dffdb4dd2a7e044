"""What a run must remember to go on after a kill: weights, optimizer moments and place. Written whole or not at all; never pickled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError, safe_open

from ragtune.errors import TrainError
from ragtune.protocols import CHECKPOINT
from ragtune.workspace import replacing

if TYPE_CHECKING:
    from ragtune.train.loop import Learner

_HIGH = 2.0
"""A running mean of so many times the loss of the start is not that of a run that learns."""


@dataclass(slots=True)
class Progress:
    """Where a run stands. Every draw follows from the seed and the step, so this and the tensors are all there is.

    Args:
        step: updates made.
        answers: trained on so far.
        tokens: trained on so far.
        seconds: spent so far, over all sittings.
        loss: running mean of the steps' losses.
        validation_loss: as last measured.
        start: loss of some steps before any update; ``None`` of a run too short to be stopped for it.
        high: steps in a row in which the running mean was far above it.
        sound: neither it nor the last step's loss is: the weights are worth keeping.
        averaged: weights that are in the mean that is kept; of those of the lowest validation loss there is one.
        best_step: after which the validation loss was the lowest, where it may stop the run.
        lowest: that loss.
        waited: measurements since.
        predicted_seconds: what the whole run was thought to take.
        peak_memory: bytes, the most of all sittings.
    """

    step: int = 0
    answers: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    validation_loss: float | None = None
    start: float | None = None
    high: int = 0
    sound: bool = True
    averaged: int = 0
    best_step: int | None = None
    lowest: float | None = None
    waited: int = 0
    predicted_seconds: float | None = None
    peak_memory: float | None = None

    def observe(self, loss: float) -> None:
        """Take a step's loss into account."""
        # A running mean: one step's few answers say little. At first it is the mean, so that the first step weighs no more.
        self.loss += max(0.05, 1 / self.step) * (loss - self.loss)
        if self.start is None:
            return
        if self.step == 1:
            self.start = max(self.start, loss)  # made before any update, too
        limit = _HIGH * self.start
        self.high = self.high + 1 if self.loss > limit else 0
        self.sound = not self.high and loss <= limit


def save_checkpoint(folder: Path, learner: Learner, progress: Progress, settings: Mapping[str, Any]) -> None:
    """Write one file that holds everything; the file before it is replaced in one move."""
    metadata = {"progress": json.dumps(asdict(progress)), "settings": json.dumps(dict(settings), sort_keys=True)}
    with replacing(folder / CHECKPOINT) as temporary:  # not by way of bytes, which a whole model would fill the memory with once more
        _writer(learner.framework)(learner.tensors(bool(progress.averaged)), temporary, metadata=metadata)


def load_checkpoint(folder: Path, learner: Learner, settings: Mapping[str, Any]) -> Progress:
    """Restore weights and moments; where there is no checkpoint, nothing, and the start is given.

    Raises:
        TrainError: the checkpoint is damaged, or of a run with other settings.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return Progress()
    try:
        with safe_open(path, framework=learner.framework) as file:
            metadata = file.metadata()
            if json.loads(metadata["settings"]) != json.loads(json.dumps(dict(settings))):
                raise TrainError(
                    f"{path} was left by a run with other settings: train under another name, or remove {folder} to start anew"
                )
            progress = Progress(**json.loads(metadata["progress"]))
            learner.restore(file.get_tensor, bool(progress.averaged))
            return progress
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise TrainError(f"the checkpoint {path} cannot be used ({error}): remove it to start the run anew") from None


def _writer(framework: Literal["pt", "np"]) -> Callable[..., None]:
    if framework == "pt":
        from safetensors import torch

        return torch.save_file
    from safetensors import numpy

    return numpy.save_file
