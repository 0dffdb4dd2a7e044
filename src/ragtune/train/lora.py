"""LoRA (Hu et al., arXiv 2106.09685) on a frozen base, read and written in PEFT's format.

PEFT's own layers cast the input of every adapted layer to the adapter's format and back; here the few adapter weights are cast instead,
which is much cheaper where the base is in bfloat16 and the adapter in float32.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

_PEFT_PREFIX = "base_model.model."
_HEADS = ("lm_head", "embed_out", "output")


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained update of low rank: ``x Wᵀ + b + (alpha / r) x Aᵀ Bᵀ``.

    Args:
        base: the frozen layer ``[out, in]``.
        rank: r.
        alpha: scale.
        dropout: on the update's input.
        generator: for the initial A; B starts at zero, so that training starts at the base model.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float, generator: torch.Generator) -> None:
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        self.dropout = dropout
        # Kaiming's bound with a = √5, as PEFT and the paper's code have it. Drawn on the CPU, so that every device starts equal.
        bound = 1 / math.sqrt(base.in_features)
        start = torch.empty(rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(start.to(base.weight.device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` to ``[..., out]`` in the base's format."""
        inner = nn.functional.dropout(x, self.dropout, self.training) if self.dropout else x
        low = nn.functional.linear(inner, self.lora_A.to(x.dtype))
        return self.base(x) + nn.functional.linear(low, (self.lora_B * self.scale).to(x.dtype))  # type: ignore[no-any-return]


def add_lora(model: nn.Module, *, rank: int, alpha: float, dropout: float, seed: int) -> dict[str, LoRALinear]:
    """Freeze a model and put an adapter on every linear layer but the output head.

    Returns:
        The adapted layers by module name, in order.
    """
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    found = [
        (name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear) and name.rpartition(".")[2] not in _HEADS
    ]
    layers = {}
    for name, module in found:
        parent, _, leaf = name.rpartition(".")
        layers[name] = LoRALinear(module, rank, alpha, dropout, generator)
        setattr(model.get_submodule(parent), leaf, layers[name])
    return layers


def save_adapter(folder: Path, layers: dict[str, LoRALinear], base: str) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json`` as PEFT reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, layer in layers.items():
        tensors[f"{_PEFT_PREFIX}{name}.lora_A.weight"] = layer.lora_A.detach().cpu().contiguous()
        tensors[f"{_PEFT_PREFIX}{name}.lora_B.weight"] = layer.lora_B.detach().cpu().contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    first = next(iter(layers.values()))
    rank = first.lora_A.shape[0]
    config = LoraConfig(
        r=rank,
        lora_alpha=first.scale * rank,
        lora_dropout=first.dropout,
        target_modules=sorted({name.rpartition(".")[2] for name in layers}),
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        inference_mode=True,
    )
    config.save_pretrained(str(folder))


def load_adapter(folder: Path, layers: dict[str, LoRALinear]) -> None:
    """Read an adapter's weights into layers of the same shapes."""
    tensors = load_file(folder / "adapter_model.safetensors")
    with torch.no_grad():
        for name, layer in layers.items():
            layer.lora_A.copy_(tensors[f"{_PEFT_PREFIX}{name}.lora_A.weight"])
            layer.lora_B.copy_(tensors[f"{_PEFT_PREFIX}{name}.lora_B.weight"])
