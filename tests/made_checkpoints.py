"""Tiny random checkpoints of the families that Keras trains, as transformers writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_models import make_tokenizer

_SHAPE = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 512, "initializer_range": 0.15, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip
_EPS = {"rms_norm_eps": 3e-3}
_WINDOW = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 0}
_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 30_000.0}}
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 30_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
_GEMMA = {**_EPS, "head_dim": 16, "tie_word_embeddings": True}

CHECKPOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {**_EPS, **_ROPE, "tie_word_embeddings": False}),
    "llama tied": ("Llama", {**_EPS, **_ROPE, "tie_word_embeddings": True}),
    "llama 3 rope": ("Llama", {**_EPS, "rope_parameters": _LLAMA3, "tie_word_embeddings": False}),
    "mistral": ("Mistral", {**_EPS, **_ROPE, "sliding_window": None, "head_dim": 16}),
    "mistral window": ("Mistral", {**_EPS, **_ROPE, "sliding_window": 7}),
    "qwen2": ("Qwen2", {**_EPS, **_ROPE, "tie_word_embeddings": False}),
    "qwen2 tied window": (
        "Qwen2", {**_EPS, **_ROPE, "tie_word_embeddings": True, **_WINDOW},
    ),
    "qwen2 linear rope": ("Qwen2", {**_EPS, "rope_parameters": {"rope_type": "linear", "rope_theta": 30_000.0, "factor": 4.0}}),
    "qwen3": ("Qwen3", {**_EPS, **_ROPE, "tie_word_embeddings": False, "head_dim": 16}),
    "qwen3 tied window": (
        "Qwen3",
        {**_EPS, **_ROPE, "tie_word_embeddings": True, "head_dim": 16, **_WINDOW},
    ),
    "gemma": ("Gemma", _GEMMA),
    "gemma2": (
        "Gemma2",
        {**_GEMMA, "query_pre_attn_scalar": 16, "sliding_window": 7, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0},
    ),
    "gemma3": ("Gemma3Text", {**_GEMMA, "query_pre_attn_scalar": 16, "sliding_window": 7, "num_hidden_layers": 7}),
    "gemma3 linear rope": (
        "Gemma3Text",
        {
            **_GEMMA, "query_pre_attn_scalar": 16, "sliding_window": 7, "num_hidden_layers": 7,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
                "full_attention": {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0},
            },
        },
    ),
}  # fmt: skip


def make_checkpoint(folder: Path, kind: str, seed: int = 5, **changes: Any) -> Path:
    """A checkpoint with norms and biases away from where they start, and its tokenizer."""
    import torch
    import transformers

    family, settings = CHECKPOINTS[kind]
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = getattr(transformers, f"{family}Config")(**_SHAPE | {"vocab_size": len(tokenizer)} | settings | changes)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    return folder
