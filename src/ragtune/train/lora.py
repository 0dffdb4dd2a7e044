"""LoRA (Hu et al., arXiv 2106.09685) on a frozen base, read and written in PEFT's format.

PEFT's own layers cast the input of every adapted layer to the adapter's format and back, and keep several copies of it for the backward
pass. Here the few adapter weights are cast instead, and the update is added in place.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ragtune.errors import TrainError
from ragtune.workspace import write_bytes

_PEFT_PREFIX = "base_model.model."


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained update of low rank: ``x Wᵀ + b + (alpha / r) x Aᵀ Bᵀ``.

    Args:
        base: the frozen layer ``[out, in]``.
        rank: r.
        alpha: scale.
        dropout: on the update's input, in training mode.
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
        if self.dropout and self.training:
            low = nn.functional.linear(nn.functional.dropout(x, self.dropout), self.lora_A.to(x.dtype))
            return self.base(x) + nn.functional.linear(low, (self.lora_B * self.scale).to(x.dtype))  # type: ignore[no-any-return]
        return _LoRA.apply(x, self.base.weight, self.base.bias, self.lora_A, self.lora_B, self.scale)  # type: ignore[no-untyped-call,no-any-return]


class _LoRA(torch.autograd.Function):
    """Legend: n tokens, i inputs, o outputs, r rank."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w_oi: Tensor, bias: Tensor | None, a_ri: Tensor, b_or: Tensor, scale: float) -> Tensor:
        x_ni = x.reshape(-1, x.shape[-1])
        a_ri, b_or = a_ri.to(x.dtype), (b_or * scale).to(x.dtype)
        low_nr = x_ni @ a_ri.t()
        y_no = nn.functional.linear(x_ni, w_oi, bias).addmm_(low_nr, b_or.t())
        ctx.save_for_backward(x_ni, w_oi, a_ri, b_or, low_nr)
        ctx.scale = scale
        return y_no.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x_ni, w_oi, a_ri, b_or, low_nr = ctx.saved_tensors
        grad_no = grad.reshape(-1, grad.shape[-1])
        grad_nr = grad_no @ b_or
        da = (grad_nr.t() @ x_ni).float()
        db = (grad_no.t() @ low_nr).float().mul_(ctx.scale)
        # The first layer's input is the frozen embedding, which needs no gradient.
        dx = (grad_no @ w_oi).addmm_(grad_nr, a_ri).view(*grad.shape[:-1], -1) if ctx.needs_input_grad[0] else None
        return dx, None, None, da, db, None


def add_lora(model: Any, *, rank: int, alpha: float, dropout: float, seed: int) -> dict[str, LoRALinear]:
    """Freeze a model and put an adapter on every linear layer but the output head.

    Returns:
        The adapted layers by module name, in order.

    Raises:
        TrainError: the model has no linear layer.
    """
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    head = model.get_output_embeddings()
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]
    if not found:
        raise TrainError(f"{type(model).__name__} has no linear layer that an adapter could be put on: choose another model.base")
    layers = {}
    for name, module in found:
        parent, _, leaf = name.rpartition(".")
        layers[name] = LoRALinear(module, rank, alpha, dropout, generator)
        setattr(model.get_submodule(parent), leaf, layers[name])
    return layers


def save_adapter(folder: Path, layers: dict[str, LoRALinear], base: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` as PEFT reads them."""
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
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    tensors = {}
    for name, layer in layers.items():
        tensors[f"{_PEFT_PREFIX}{name}.lora_A.weight"] = layer.lora_A.detach().cpu()
        tensors[f"{_PEFT_PREFIX}{name}.lora_B.weight"] = layer.lora_B.detach().cpu()
    write_bytes(folder / "adapter_model.safetensors", save(tensors, metadata={"format": "pt"}))


def load_adapter(folder: Path, layers: dict[str, LoRALinear]) -> None:
    """Read an adapter's weights into layers of the same shapes."""
    tensors = load_file(folder / "adapter_model.safetensors")
    with torch.no_grad():
        for name, layer in layers.items():
            layer.lora_A.copy_(tensors[f"{_PEFT_PREFIX}{name}.lora_A.weight"])
            layer.lora_B.copy_(tensors[f"{_PEFT_PREFIX}{name}.lora_B.weight"])
