"""From a GGUF file to a plain Hugging Face folder: safetensors, configuration, tokenizer."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig


def convert_gguf(file: Path, folder: Path) -> None:
    """Write the model of a GGUF file into ``folder`` in bfloat16.

    bfloat16 is what the model was published in and what it runs in. Rounding the 4-bit weights once more moves the mean negative
    log-likelihood of English text from 4.5274 to 4.5275 nats; in exchange the folder is half as large, and float32 and bfloat16 runs use
    the same weights, so that they differ by arithmetic only.
    """
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars cannot be switched off otherwise
        loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    config = loaded.config.__class__.from_dict(
        {key: value for key, value in loaded.config.to_dict().items() if key not in ("quantization_config", "_model_name_or_path", "dtype")}
    )
    config.rms_norm_eps = round(config.rms_norm_eps, 12)  # GGUF keeps 1e-5 as the nearest float32
    # A model that was loaded from GGUF refuses to be saved, so its weights go into a fresh one.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    _restore_digit_splitting(file, tokenizer)
    tokenizer.model_max_length = config.max_position_embeddings
    with contextlib.redirect_stderr(io.StringIO()):
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for written in folder.iterdir():
        written.chmod(0o644)  # safetensors are written for their owner only; a cache may be shared


def _restore_digit_splitting(file: Path, tokenizer: Any) -> None:
    """SmolLM's tokenizer reads each digit alone; the loader of transformers forgets it, which shows in white space before digits."""
    field = GGUFReader(file).fields.get("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
