"""PEFT adapters merged into their base, kept side by side with the base's own weights, so that switching moves pointers only.

A merged model runs at the base's speed, while unmerged low-rank branches cost two more small products in every layer. Merging in bfloat16
costs no accuracy: the divergence of the next-token distribution from float32's was 0.0009 nats merged and 0.0009 unmerged (SmolLM2-135M,
rank 16), as much as that of the base itself. The base's weights are never touched: each adapter has its own copy of the layers that it
changes, so going back to the base is exact. A whole model that was tuned from the base takes an adapter's place with all of its weights.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any, TypeAlias

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ragtune.errors import ModelError
from ragtune.fitting import ran_out

_KEPT = 2
"""Adapters whose merged weights stay in memory: as many as one evaluation alternates between."""

_ADAPTER, _MODEL = "adapter_model.safetensors", "model.safetensors"
"""The files of an adapter, and of a whole model."""

_Weights: TypeAlias = dict[str, Tensor]

Tuned: TypeAlias = tuple[Path, int] | None
"""Which weights a model has: those of an adapter's folder as it was at a time, in nanoseconds; ``None`` is the plain base."""


class Adapters:
    """The weights of one base model, with one adapter or none.

    Args:
        model: the base; its parameters are made to point to the weights wanted.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._base: _Weights = {}
        self._merged: OrderedDict[tuple[Path, int], _Weights] = OrderedDict()
        self._active: Tuned = None

    def use(self, wanted: Tuned) -> None:
        """Make the model that of an adapter, see :func:`tuned_by`.

        Raises:
            ModelError: it is not one of this base.
        """
        if wanted == self._active:
            return
        self._point_to(self._base)
        self._active = None
        if wanted is None:
            return
        if wanted in self._merged:
            self._merged.move_to_end(wanted)
        else:
            whole = not (wanted[0] / _ADAPTER).is_file()
            self._merged[wanted] = self._read(wanted[0]) if whole else self._merge(wanted[0])
            if len(self._merged) > _KEPT:
                self._merged.popitem(last=False)
        self._point_to(self._merged[wanted])
        self._active = wanted

    def _point_to(self, weights: _Weights) -> None:
        for name, weight in weights.items():
            self._model.get_parameter(name).data = weight

    @torch.no_grad()
    def _merge(self, folder: Path) -> _Weights:
        weights: _Weights = {}
        try:
            with warnings.catch_warnings():
                # PEFT reads a property that transformers 5 has renamed; nothing that a user could mend.
                warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated", category=FutureWarning)
                config = PeftConfig.from_pretrained(str(folder))
                if getattr(config, "modules_to_save", None) or getattr(config, "bias", "none") != "none":
                    raise ModelError(f"adapter {folder} also replaces whole modules or biases: merge it into its base and use that model")
                PeftModel.from_pretrained(self._model, str(folder))
            for name, layer in _layers(self._model):
                parameter = layer.get_base_layer().weight
                base = parameter.data
                parameter.data = base.clone()
                layer.merge(safe_merge=True, adapter_names=["default"])
                weights[f"{name}.weight"], parameter.data = parameter.data, base
                self._base.setdefault(f"{name}.weight", base)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            if ran_out(error):
                raise
            raise ModelError(f"adapter {folder} does not fit this base model: {error}") from error
        finally:
            # Not PEFT's own unload, which is out of reach where loading fails half way.
            for name, layer in _layers(self._model):
                self._model.set_submodule(name, layer.get_base_layer())
            vars(self._model).pop("peft_config", None)
        return weights

    def _read(self, folder: Path) -> _Weights:
        """The weights of a whole model of the same shape."""
        own = dict(self._model.named_parameters())
        try:
            tensors = load_file(folder / _MODEL)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"model {folder} cannot be read: {error}") from error
        if own.keys() != tensors.keys() or any(own[name].shape != tensor.shape for name, tensor in tensors.items()):
            raise ModelError(f"model {folder} was not tuned from this base model: its weights have other names or shapes")
        for name, parameter in own.items():
            self._base.setdefault(name, parameter.data)
        return {name: tensor.to(own[name].device, own[name].dtype) for name, tensor in tensors.items()}


def _layers(model: Any) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


def tuned_by(adapter: Path | None) -> Tuned:
    """The weights that a folder has now.

    Raises:
        ModelError: the folder is neither an adapter nor a whole model.
    """
    if adapter is None:
        return None
    folder = adapter.resolve()
    for config, name in (("adapter_config.json", _ADAPTER), ("config.json", _MODEL)):
        if (folder / config).is_file() and (folder / name).is_file():
            return folder, (folder / name).stat().st_mtime_ns
    raise ModelError(
        f"{folder} holds no adapter_config.json and {_ADAPTER}, nor config.json and {_MODEL}: give the folder of a PEFT adapter"
    )
