"""Which linear layers of a model get an adapter: all but the output head, those of some names, or those of a part of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ragtune.errors import TrainError

SETS = ("attention", "mlp")
"""Names of parts, whatever a model calls their layers: of each layer of its stack what is inside attention, and the rest."""


def find_targets(model: Any, targets: Sequence[str] = ()) -> dict[str, tuple[nn.Linear, str]]:
    """The layers that are to be adapted, in the model's order, each with the name that PEFT finds it by.

    Args:
        model: a causal language model of transformers.
        targets: leaf names as ``q_proj``, or names of :data:`SETS`; empty takes every linear layer but the output head.

    Raises:
        TrainError: the model has no linear layer, or none of a target's name.
    """
    head = model.get_output_embeddings()
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head}
    if not linear:
        raise TrainError(f"{type(model).__name__} has no linear layer that an adapter could be put on: choose another model.base")
    chosen = choose_targets({name: _part(model, name) for name in linear}, targets, type(model).__name__)
    return {name: (linear[name], target) for name, target in chosen.items()}


def choose_targets(parts: Mapping[str, str | None], targets: Sequence[str], kind: str) -> dict[str, str]:
    """The names of the layers that are to be adapted, in their order, each with the name that PEFT finds it by.

    Args:
        parts: of every linear layer but the output head, by its name, which of :data:`SETS` it belongs to.
        targets: as in :func:`find_targets`.
        kind: of model, for messages.

    Raises:
        TrainError: there is no layer of a target's name.
    """
    leaves = {name: name.rpartition(".")[2] for name in parts}
    for target in targets:
        if target not in {*leaves.values(), *parts.values()}:
            there = list(dict.fromkeys(leaves.values()))
            sets = [part for part in SETS if part in parts.values()]
            raise TrainError(
                f"train.targets names {target!r}, and {kind} has no linear layer of that name: its layers are "
                f"{', '.join(there)}" + (f"; {' and '.join(sets)} stand for all of a part" if sets else "")
            )
    chosen = {name for name in parts if not targets or leaves[name] in targets or parts[name] in targets}
    elsewhere = {leaves[name] for name in parts if name not in chosen}
    return {name: name if leaves[name] in elsewhere else leaves[name] for name in parts if name in chosen}


def _part(model: Any, name: str) -> str | None:
    """Which of :data:`SETS` a layer belongs to: transformers calls every attention's class so; ``None`` outside the stack of layers."""
    path = name.split(".")
    above = [model.get_submodule(".".join(path[:depth])) for depth in range(1, len(path))]
    if not any(isinstance(module, nn.ModuleList) for module in above):
        return None
    return "attention" if any("attention" in type(module).__name__.lower() for module in above) else "mlp"
