"""What a run must remember to go on after a kill: weights, optimizer moments and place. Written whole or not at all; never pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ragtune.errors import TrainError
from ragtune.protocols import CHECKPOINT
from ragtune.workspace import replacing

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


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
    """

    step: int = 0
    answers: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    validation_loss: float | None = None


def save_checkpoint(
    folder: Path,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    settings: Mapping[str, Any],
) -> None:
    """Write one file that holds everything; the file before it is replaced in one move."""
    tensors = {}
    for name, parameter in parameters.items():
        tensors[name] = parameter.detach().cpu()
        for part in _MOMENTS:
            tensors[f"{name}:{part}"] = optimizer.state[parameter][part].detach().cpu()
    metadata = {"progress": json.dumps(asdict(progress)), "settings": json.dumps(dict(settings), sort_keys=True)}
    with replacing(folder / CHECKPOINT) as temporary:  # not by way of bytes, which a whole model would fill the memory with once more
        save_file(tensors, temporary, metadata=metadata)


def load_checkpoint(
    folder: Path, parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, settings: Mapping[str, Any]
) -> Progress:
    """Restore weights and moments; where there is no checkpoint, nothing, and the start is given.

    Raises:
        TrainError: the checkpoint is damaged, or of a run with other settings.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return Progress()
    try:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            metadata = file.metadata()
            if json.loads(metadata["settings"]) != json.loads(json.dumps(dict(settings))):
                raise TrainError(
                    f"{path} was left by a run with other settings: train under another name, or remove {folder} to start anew"
                )
            for name, parameter in parameters.items():
                parameter.copy_(file.get_tensor(name))
                optimizer.state[parameter] = {part: file.get_tensor(f"{name}:{part}").to(parameter.device) for part in _MOMENTS}
            return Progress(**json.loads(metadata["progress"]))
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise TrainError(f"the checkpoint {path} cannot be used ({error}): remove it to start the run anew") from None
