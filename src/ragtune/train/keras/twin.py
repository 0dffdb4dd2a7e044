"""The model that Keras trains, in PyTorch, where ragtune writes text: what is rehearsed, and the answers that are watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from ragtune.protocols import REHEARSED
from ragtune.train.load import answering, load_base
from ragtune.train.lora import add_lora
from ragtune.train.rehearsal import read_texts, rehearsal_texts, writing_seconds
from ragtune.train.sequences import TokenSequence


class Twin:
    """Loaded when it is first needed, on the CPU, and kept for as long as a run watches answers.

    Args:
        base: folder of the model.
        dtype: of the frozen weights.
        template: of chats; ``None`` is the model's own.
        adapters: the arguments of :func:`~ragtune.train.lora.add_lora`.
    """

    def __init__(self, base: str, dtype: str, template: str | None, adapters: Mapping[str, Any]) -> None:
        self._base, self._dtype, self._template, self._adapters = base, getattr(torch, dtype), template, dict(adapters)
        self._loaded: tuple[Any, Any, dict[str, Any]] | None = None

    def texts(self, folder: Path, seed: int, tell: Callable[[int, int], None]) -> list[TokenSequence]:
        """What the base wrote for a run, see :func:`~ragtune.train.rehearsal.rehearsal_texts`."""
        if (folder / REHEARSED).is_file():
            return read_texts(folder)
        model, tokenizer = self._load()
        return rehearsal_texts(model, tokenizer, {}, folder, seed=seed, tell=tell)

    def writing_seconds(self) -> float:
        """About how long it takes to write them."""
        return writing_seconds(*self._load())

    @torch.no_grad()
    def answer(self, weights: Mapping[str, NDArray[Any]], watch: Callable[[Any, Any], float]) -> float:
        """What a watch says of the model with adapters of these weights, by name."""
        if self._loaded is None:
            model, tokenizer = self._load()
            self._loaded = model, tokenizer, add_lora(model, **self._adapters)
        model, tokenizer, layers = self._loaded
        for name, layer in layers.items():
            for part, parameter in layer.trained.items():
                parameter.copy_(torch.from_numpy(weights[f"{name}.{part}"]))
        with answering(model):
            return watch(model, tokenizer)

    def _load(self) -> tuple[Any, Any]:
        return load_base(self._base, torch.device("cpu"), self._dtype, self._template)
