"""Adapters that Keras trained, in PEFT's format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save

from ragtune.train.adapter import WEIGHTS, peft_name, write_config
from ragtune.train.keras.lora import KerasLoRA
from ragtune.workspace import write_bytes


def save_adapter(folder: Path, layers: Mapping[str, KerasLoRA], base: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, as :func:`ragtune.train.lora.save_adapter` does."""
    first = next(iter(layers.values()))
    write_config(
        folder,
        rank=first.lora_A.shape[0],
        alpha=first.alpha,
        dropout=first.dropout,
        targets=[layer.target for layer in layers.values()],
        rslora=first.rslora,
        dora=False,
        base=base,
    )
    tensors = {key: variable.numpy() for key, variable in _peft_names(layers)}
    write_bytes(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))


def load_adapter(folder: Path, layers: Mapping[str, KerasLoRA]) -> None:
    """Read an adapter's weights into layers of the same shapes."""
    tensors = load_file(folder / WEIGHTS)
    for key, variable in _peft_names(layers):
        variable.assign(tensors[key])


def _peft_names(layers: Mapping[str, KerasLoRA]) -> Iterator[tuple[str, Any]]:
    for name, layer in layers.items():
        for part, variable in layer.trained.items():
            yield peft_name(name, part), variable
