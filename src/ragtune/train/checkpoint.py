"""What a run must remember to go on after a kill: weights, optimizer moments and place. Written whole or not at all; never pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ragtune.errors import TrainError
from ragtune.train.lora import LoRALinear
from ragtune.workspace import write_bytes

FILE = "checkpoint.safetensors"


def save_checkpoint(folder: Path, layers: Mapping[str, LoRALinear], optimizer: torch.optim.AdamW, state: Mapping[str, Any]) -> None:
    """Write one file that holds everything; the file before it is replaced in one move."""
    tensors = {}
    for name, parameter in named_parameters(layers):
        tensors[name] = parameter.detach().cpu()
        moments = optimizer.state.get(parameter)
        if moments:
            for part in ("step", "exp_avg", "exp_avg_sq"):
                tensors[f"{name}:{part}"] = moments[part].detach().cpu()
    write_bytes(folder / FILE, save(tensors, metadata={"state": json.dumps(state)}))


def load_checkpoint(folder: Path, layers: Mapping[str, LoRALinear], optimizer: torch.optim.AdamW) -> dict[str, Any] | None:
    """Restore weights and moments; the state that was saved with them, or ``None`` where there is no checkpoint.

    Raises:
        TrainError: the checkpoint is damaged or of other shapes.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    data = path.read_bytes()
    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        state: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["state"])
        with torch.no_grad():
            for name, parameter in named_parameters(layers):
                parameter.copy_(tensors[name])
                if f"{name}:step" in tensors:
                    optimizer.state[parameter] = {
                        "step": tensors[f"{name}:step"].clone(),
                        "exp_avg": tensors[f"{name}:exp_avg"].to(parameter.device).clone(),
                        "exp_avg_sq": tensors[f"{name}:exp_avg_sq"].to(parameter.device).clone(),
                    }
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise TrainError(f"the checkpoint {path} cannot be used ({error}): remove it to start the run anew") from None
    return state


def named_parameters(layers: Mapping[str, LoRALinear]) -> list[tuple[str, torch.nn.Parameter]]:
    """The trained parameters, in order."""
    return [(f"{name}.{part}", getattr(layer, part)) for name, layer in layers.items() for part in ("lora_A", "lora_B")]
