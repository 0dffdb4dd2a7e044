"""Embeddings from a local sentence-transformers model."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers.utils import logging as transformers_logging

from ragtune.embed.tokens import counter_of, counting
from ragtune.errors import ModelError
from ragtune.fitting import fitting
from ragtune.protocols import Float32

_ANY_LENGTH = 1_000_000  # tokens: a model without attention reads a text whole


class SentenceTransformersEmbedder:
    """Fulfils the embedder's contract.

    Args:
        model: folder or Hugging Face id.
        batch_size: texts embedded at once, fewer where memory does not suffice; the library sorts them by length first, so that little is
            padding.
        device: of torch; ``None`` takes the best.
        dimensions: what vectors are cut to, for models trained for that (Matryoshka); ``None`` leaves them whole.

    Raises:
        ModelError: the model cannot be loaded, or has no such dimensions.
    """

    def __init__(self, model: str | Path, *, batch_size: int = 64, device: str | None = None, dimensions: int | None = None) -> None:
        self._batch_size = batch_size
        self.name = Path(model).name if isinstance(model, Path) else model
        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            self._model = SentenceTransformer(str(model), device=device, local_files_only=isinstance(model, Path), truncate_dim=dimensions)
        except (OSError, ValueError) as error:
            raise ModelError(f"the embedder {model} cannot be loaded ({error}): check embed.model, or run 'ragtune models list'") from None
        finally:
            if bars:
                transformers_logging.enable_progress_bar()
        self.dimension = int(self._model.get_embedding_dimension() or 0)
        if dimensions is not None and self.dimension != dimensions:
            raise ModelError(f"embed.dimensions = {dimensions}: {model} gives vectors of {self.dimension}: set it lower, or unset it")
        window = self._model.max_seq_length or 512
        self.max_tokens = int(window) if math.isfinite(window) else _ANY_LENGTH
        self.fingerprint = _fingerprint(self._model)
        self._counter = _counter(self._model.tokenizer)

    @property
    def tokenizer(self) -> str | None:
        """The tokenizer that counts, as tokenizer.json has it; ``None`` where it is not written in Rust."""
        return None if self._counter is None else self._counter.to_str()

    def embed_documents(self, texts: Sequence[str]) -> Float32:
        """Vectors ``[n, d]``, L2-normalised."""
        return self._encode(texts)

    def embed_queries(self, texts: Sequence[str]) -> Float32:
        """Vectors ``[q, d]``, L2-normalised; the model's own query prompt is used where it has one."""
        return self._encode(texts, query=True)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text without special ones, never truncated or padded, whatever tokenizer.json says."""
        if not texts:
            return []
        if self._counter is not None:
            return counting(self._counter)(texts)
        encoded = self._model.tokenizer(list(texts), add_special_tokens=False, truncation=False, padding=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def _encode(self, texts: Sequence[str], *, query: bool = False) -> Float32:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        encode = self._model.encode_query if query else self._model.encode_document
        most = min(self._batch_size, len(texts))
        vectors, size = fitting(
            most,
            lambda size: encode(list(texts), batch_size=size, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True),
            f"memory on {self._model.device} does not suffice to embed one text: end what else uses it, or lower prepare.chunk_size",
        )
        if size < most:
            self._batch_size = size
        return np.ascontiguousarray(vectors, dtype=np.float32)


def _counter(tokenizer: Any) -> Tokenizer | None:
    """A tokenizer of its own for counting, where the model's is written in Rust.

    A document is counted sentence by sentence, and what transformers does around each call takes longer than the call.
    """
    if isinstance(tokenizer, Tokenizer):  # a static model's
        return counter_of(tokenizer.to_str())
    return counter_of(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else None


def _fingerprint(model: SentenceTransformer) -> str:
    """Hash of every weight and of what else decides a vector: equal models under different names share their vectors."""
    # What the library records of the transformer itself changes with its versions and is in the weights' names and shapes anyhow.
    modules = [[type(module).__name__, module.get_config_dict()] for module in list(model)[1:]]
    settings = [modules, model.max_seq_length, model.prompts, model.default_prompt_name]
    if model.truncate_dim is not None:
        settings.append(model.truncate_dim)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
