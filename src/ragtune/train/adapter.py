"""Adapters as files in PEFT's format, whichever library trained them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from peft import LoraConfig

WEIGHTS = "adapter_model.safetensors"


def peft_name(layer: str, part: str) -> str:
    """What PEFT calls a parameter: ``lora_A``, ``lora_B`` or ``lora_magnitude_vector`` of an adapted layer."""
    return f"base_model.model.{layer}.{part}{'' if part == 'lora_magnitude_vector' else '.weight'}"


def write_config(
    folder: Path, *, rank: int, alpha: float, dropout: float, targets: Iterable[str], rslora: bool, dora: bool, base: str
) -> None:
    """Write ``adapter_config.json``.

    Args:
        folder: of the adapter; made where it is not there.
        rank: r.
        alpha: scale is alpha / rank, or alpha / √rank where ``rslora``.
        dropout: that it was trained with.
        targets: names that PEFT finds the adapted layers by.
        rslora: see alpha.
        dora: rows have trained lengths.
        base: name or folder of the base model.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=sorted(set(targets)),
        use_rslora=rslora,
        use_dora=dora,
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        inference_mode=True,
    )
    config.target_modules = sorted(config.target_modules)  # PEFT makes a set of them, which is written in another order each time
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
