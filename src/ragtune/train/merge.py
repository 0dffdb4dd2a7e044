"""A base and an adapter as one model, in the files that the base came in."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ragtune.errors import ModelError
from ragtune.templates import load_tokenizer
from ragtune.train.adapter import WEIGHTS, peft_name

_INDEX = "model.safetensors.index.json"


class _Update(NamedTuple):
    """``scale · B A``, and of DoRA the lengths of the sum's rows."""

    scale: float
    a_ri: Tensor
    b_or: Tensor
    length_o: Tensor | None


def merge_adapter(base: Path, adapter: Path, output: Path, template: str | None = None) -> None:
    """Write a base with an adapter's updates added to its weights, as transformers loads it.

    Files and number format are the base's, and one file is in memory at a time. The sum is made in float32 and rounded to that format, so
    that in bfloat16 the model is the adapted one up to rounding.

    Args:
        base: folder of the checkpoint that the adapter was trained on.
        adapter: folder in PEFT's format.
        output: a new folder.
        template: Jinja text of the chat template that it was trained with; ``None`` is the base's own.

    Raises:
        ModelError: there is something at ``output``, the base has no safetensors, or lacks a layer that the adapter has.
    """
    if output.exists():
        raise ModelError(f"{output} is there already: choose another folder")
    updates = dict(_updates(adapter))
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for file in weight_files(base):
        with safe_open(file, framework="pt") as tensors:
            merged = {name: _add(tensors.get_tensor(name), updates.pop(name, None)) for name in tensors.keys()}  # noqa: SIM118
        save_file(merged, partial / file.name, metadata={"format": "pt"})
    if updates:
        raise ModelError(f"{base} has no weight {min(updates)}, which the adapter {adapter} changes: give the base that it was trained on")
    for name in ("config.json", "generation_config.json", _INDEX):
        if (base / name).is_file():
            shutil.copyfile(base / name, partial / name)
    load_tokenizer(base, template).save_pretrained(str(partial))
    partial.rename(output)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint: one, or those of its index.

    Raises:
        ModelError: there is none.
    """
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if not (folder / _INDEX).is_file():
        raise ModelError(f"{folder} holds no model.safetensors: write the model with save_pretrained, and set model.base to its folder")
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    return [folder / name for name in sorted(set(index["weight_map"].values()))]


def _updates(adapter: Path) -> Iterator[tuple[str, _Update]]:
    """By the names of the weights that they change."""
    config: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config["use_rslora"] else config["r"])
    before, after = peft_name("\0", "lora_A").split("\0")
    tensors = load_file(adapter / WEIGHTS)
    for name, a_ri in tensors.items():
        if name.endswith(after):
            layer = name.removeprefix(before).removesuffix(after)
            length_o = tensors.get(peft_name(layer, "lora_magnitude_vector"))
            yield f"{layer}.weight", _Update(scale, a_ri, tensors[peft_name(layer, "lora_B")], length_o)


def _add(weight_oi: Tensor, update: _Update | None) -> Tensor:
    if update is None:
        return weight_oi
    sum_oi = weight_oi.float() + update.scale * (update.b_or @ update.a_ri)
    if update.length_o is not None:
        sum_oi *= (update.length_o / sum_oi.norm(dim=1))[:, None]
    return sum_oi.to(weight_oi.dtype)
