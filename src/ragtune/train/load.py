"""A base model of transformers, loaded to be trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from huggingface_hub.errors import StrictDataclassError
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging as transformers_logging

from ragtune.errors import ModelError
from ragtune.prompts import Tokenizer
from ragtune.templates import load_tokenizer
from ragtune.train import attention

Method: TypeAlias = Literal["lora", "dora", "full"]


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


def load_shape(base: str, template: str | None = None, *, windows: bool = False) -> tuple[Any, Tokenizer]:
    """The same without the weights, which takes no memory to speak of.

    Args:
        base: folder or id.
        template: Jinja text of a chat template; ``None`` is the model's own.
        windows: layers that do not see all of a text can be trained, as Keras can.

    Raises:
        ModelError: as :func:`load_base`.
    """
    with loading(base):
        tokenizer = load_tokenizer(base, template)
        config = AutoConfig.from_pretrained(base)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    others = set(getattr(config.get_text_config(), "layer_types", None) or ()) - {"full_attention"}
    if others and not windows:
        raise ModelError(f"model {base} has layers that cannot be trained here ({', '.join(sorted(others))}): choose another model.base")
    return model, tokenizer


def longest_text(config: Any, *, windows: bool = False) -> int:
    """Tokens of a text that can be trained: those that the model has positions for, and without windows those that each layer sees.

    Args:
        config: of transformers, of the language model.
        windows: layers that do not see all of a text can be trained.
    """
    positions = int(config.max_position_embeddings)
    window = getattr(config, "sliding_window", None)
    # Layers of several kinds are refused before, so a window here is that of every layer, as Mistral's.
    return positions if windows or not window or getattr(config, "layer_types", None) else min(positions, int(window))


@contextlib.contextmanager
def loading(base: str) -> Iterator[None]:
    """Without transformers' progress bars, and with its errors in our words."""
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except StrictDataclassError as error:  # a setting of no fitting type, or that goes with no other
        reason = " ".join(str(error).split())
        raise ModelError(f"the model {base} cannot be loaded ({reason}): fetch it again, or check model.base") from error
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
