"""LoRA (Hu et al., arXiv 2106.09685) on a frozen base, with rsLoRA's scale (arXiv 2312.03732) and DoRA's magnitudes (arXiv 2402.09353).

Read and written in PEFT's format. PEFT's own layers cast the input of every adapted layer to the adapter's format and back, and keep
several copies of it for the backward pass. Here the few adapter weights are cast instead, and the update is added in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ragtune.train.adapter import WEIGHTS, peft_name, write_config
from ragtune.train.targets import find_targets
from ragtune.workspace import write_bytes


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained update of low rank: ``x Wᵀ + b + scale · x Aᵀ Bᵀ``.

    As DoRA its rows are brought to a trained length m: ``x Vᵀ · m / ‖V‖ + b`` with ``V = W + scale · B A``, in which, as in the paper
    (section 4.3), the row lengths ‖V‖ get no gradient.

    Args:
        base: the frozen layer ``[out, in]``.
        rank: r.
        alpha: scale is alpha / r.
        dropout: on the update's input, in training mode.
        generator: for the initial A; B starts at zero, and m at the rows' own lengths, so that training starts at the base model.
        rslora: scale is alpha / √r.
        dora: train the rows' lengths.
        target: what PEFT finds it by: its leaf name, or its whole name where the leaf is another's too.
    """

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        dropout: float,
        generator: torch.Generator,
        *,
        rslora: bool = False,
        dora: bool = False,
        target: str = "",
    ) -> None:
        super().__init__()
        self.base = base
        self.alpha, self.rslora = alpha, rslora
        self.scale = alpha / (math.sqrt(rank) if rslora else rank)
        self.dropout = dropout
        self.target = target
        self.active = True
        # Kaiming's bound with a = √5, as PEFT and the paper's code have it. Drawn on the CPU, so that every device starts equal.
        bound = 1 / math.sqrt(base.in_features)
        start = torch.empty(rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(start.to(base.weight.device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))
        self.lora_magnitude_vector = nn.Parameter(base.weight.detach().float().norm(dim=1)) if dora else None

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Its parameters but the base's."""
        found = {"lora_A": self.lora_A, "lora_B": self.lora_B, "lora_magnitude_vector": self.lora_magnitude_vector}
        return {name: parameter for name, parameter in found.items() if parameter is not None}

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` to ``[..., out]`` in the base's format; those of the base where it is not active."""
        if not self.active:
            plain: Tensor = self.base(x)
            return plain
        magnitude_o = self.lora_magnitude_vector
        if magnitude_o is None:
            return self._updated(x, self.base.bias)
        with torch.no_grad():
            length_o = (self.base.weight.float() + self.scale * (self.lora_B @ self.lora_A)).norm(dim=1)
        y = self._updated(x, None) * (magnitude_o / length_o).to(x.dtype)
        return y if self.base.bias is None else y + self.base.bias  # type: ignore[no-any-return]

    def _updated(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if self.dropout and self.training:
            low = nn.functional.linear(nn.functional.dropout(x, self.dropout), self.lora_A.to(x.dtype))
            full = nn.functional.linear(x, self.base.weight, bias)
            return full + nn.functional.linear(low, (self.lora_B * self.scale).to(x.dtype))
        return _LoRA.apply(x, self.base.weight, bias, self.lora_A, self.lora_B, self.scale)  # type: ignore[no-untyped-call,no-any-return]


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


def add_lora(
    model: Any,
    *,
    rank: int,
    alpha: float,
    dropout: float,
    seed: int,
    rslora: bool = False,
    dora: bool = False,
    targets: Sequence[str] = (),
) -> dict[str, LoRALinear]:
    """Freeze a model and put an adapter on linear layers.

    Args:
        model: a causal language model of transformers.
        rank: r.
        alpha: scale, see :class:`LoRALinear`.
        dropout: on the updates' input.
        seed: of the initial weights.
        rslora: scale by alpha / √r.
        dora: train the rows' lengths too.
        targets: see :func:`~ragtune.train.targets.find_targets`.

    Returns:
        The adapted layers by module name, in order.

    Raises:
        TrainError: the model has no linear layer, or none of a target's name.
    """
    found = find_targets(model, targets)
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for name, (module, target) in found.items():
        parent, _, leaf = name.rpartition(".")
        layers[name] = LoRALinear(module, rank, alpha, dropout, generator, rslora=rslora, dora=dora, target=target)
        setattr(model.get_submodule(parent), leaf, layers[name])
    return layers


def save_adapter(folder: Path, layers: dict[str, LoRALinear], base: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` as PEFT reads them."""
    first = next(iter(layers.values()))
    write_config(
        folder,
        rank=first.lora_A.shape[0],
        alpha=first.alpha,
        dropout=first.dropout,
        targets=[layer.target for layer in layers.values()],
        rslora=first.rslora,
        dora=first.lora_magnitude_vector is not None,
        base=base,
    )
    tensors = {key: parameter.detach().cpu() for key, parameter in _peft_names(layers)}
    write_bytes(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))


def load_adapter(folder: Path, layers: dict[str, LoRALinear]) -> None:
    """Read an adapter's weights into layers of the same shapes."""
    tensors = load_file(folder / WEIGHTS)
    with torch.no_grad():
        for key, parameter in _peft_names(layers):
            parameter.copy_(tensors[key])


def _peft_names(layers: dict[str, LoRALinear]) -> Iterator[tuple[str, nn.Parameter]]:
    for name, layer in layers.items():
        for part, parameter in layer.trained.items():
            yield peft_name(name, part), parameter
