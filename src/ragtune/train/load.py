"""A base model, loaded to be trained: what of it is trained, and what trains it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging as transformers_logging

from ragtune.errors import ModelError
from ragtune.prompts import Tokenizer
from ragtune.templates import load_tokenizer
from ragtune.train import attention
from ragtune.train.batches import Encoder, TokenSequence
from ragtune.train.lora import LoRALinear, save_adapter

Method: TypeAlias = Literal["lora", "dora", "full"]


class Loaded:
    """A base, what of it is trained, and what trains it.

    Args:
        model: the base, with adapters or as it is.
        tokenizer: its own.
        layers: those with adapters; empty where the whole model is trained.
        peak: learning rate.
        weight_decay: AdamW's.

    Attributes:
        texts: what is rehearsed.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, layers: dict[str, LoRALinear], peak: float, weight_decay: float) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.layers = layers
        self.texts: list[TokenSequence] = []
        adapters = {f"{name}.{part}": parameter for name, layer in layers.items() for part, parameter in layer.trained.items()}
        self.trained: dict[str, nn.Parameter] = adapters or dict(model.named_parameters())
        self.parameters = list(self.trained.values())
        self.means: dict[str, Tensor] = {}
        self.optimizer = torch.optim.AdamW(self.parameters, lr=peak, weight_decay=weight_decay, fused=True)
        self.encode = Encoder(tokenizer, int(model.config.get_text_config().max_position_embeddings))

    @torch.no_grad()
    def average(self, count: int) -> None:
        """Take the weights as they are into their mean, as the ``count``-th."""
        for name, parameter in self.trained.items():
            if count == 1:
                self.means[name] = parameter.detach().clone()
            else:
                self.means[name].lerp_(parameter, 1 / count)

    @torch.no_grad()
    def take_means(self) -> None:
        """Put the mean in the weights' place."""
        for name, mean in self.means.items():
            self.trained[name].copy_(mean)

    def save(self, folder: Path, base: str, dtype: torch.dtype) -> None:
        """Write what was trained: ``adapter/`` in PEFT's format, or ``model/``, a whole model in a number format."""
        if self.layers:
            save_adapter(folder / "adapter", self.layers, base)
            return
        with loading(base):  # which writes with a progress bar, too
            self.model.to(dtype).save_pretrained(str(folder / "model"))
        self.tokenizer.save_pretrained(str(folder / "model"))  # type: ignore[attr-defined]


def load_base(base: str, device: torch.device, dtype: torch.dtype, template: str | None = None) -> tuple[Any, Tokenizer]:
    """A causal language model with its tokenizer, in evaluation mode: it has no dropout of its own in training.

    Args:
        base: folder or id.
        device: that it is put on.
        dtype: number format.
        template: Jinja text of a chat template; ``None`` is the model's own.

    Raises:
        ModelError: it cannot be loaded, or has layers that cannot be trained here.
    """
    with loading(base):
        tokenizer = load_tokenizer(base, template)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, use_safetensors=True, attn_implementation=attention.NAME)
    return model.to(device).eval(), tokenizer


def load_shape(base: str, template: str | None = None) -> tuple[Any, Tokenizer]:
    """The same without the weights, which takes no memory to speak of.

    Raises:
        ModelError: as :func:`load_base`.
    """
    with loading(base):
        tokenizer = load_tokenizer(base, template)
        config = AutoConfig.from_pretrained(base)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    windows = set(getattr(config.get_text_config(), "layer_types", None) or ()) - {"full_attention"}
    if windows:
        raise ModelError(f"model {base} has layers that cannot be trained here ({', '.join(sorted(windows))}): choose another model.base")
    return model, tokenizer


@contextlib.contextmanager
def loading(base: str) -> Iterator[None]:
    """Without transformers' progress bars, and with its errors in our words."""
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise ModelError(f"the model {base} cannot be loaded ({reason}): check model.base, or run 'ragtune models list'") from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def answering(model: Any) -> Iterator[None]:
    """Let a model that is being trained write answers: no dropout, no gradients, and attention over what it has read before."""
    model.eval()
    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    try:
        with torch.inference_mode():
            yield
    finally:
        model.set_attn_implementation(attention.NAME)


def recompute_layers(model: Any) -> None:
    """Keep of each layer its input alone for the backward pass, which then computes the rest anew (Chen et al., arXiv 1604.06174).

    Not transformers' own switch, which needs training mode, and with it the base's dropout.
    """
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.forward = partial(_recomputed, module.forward)


def _recomputed(forward: Any, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
