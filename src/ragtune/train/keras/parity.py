"""Whether a Keras model says what PyTorch's says: looked at once for each base, before anything is trained on it.

Both run in float32 on the processor, whatever is trained in. What was found is kept in a small file beside the weights, as their
fingerprint is; it holds while the files and the libraries' versions stay the same. Where memory does not suffice for the whole model, the
first layers are compared, for the later ones are of the same kinds, and every weight goes to its place by its name.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from ragtune.errors import ModelError
from ragtune.train.load import loading

TOLERANCE = 1e-3
"""How far logits may be apart; correct models are within a tenth of it."""
_NOTE = ".ragtune-keras.json"
_VERSION = 1
"""Raised when models are built in another way."""
_TOKENS = 64


def prompt_ids(vocabulary: int) -> NDArray[Any]:
    """Token ids ``[1, t]`` that every vocabulary has: common ones, for rare ones beside each other make any library's rounding larger."""
    return ((300 + 7 * np.arange(_TOKENS)) % vocabulary)[None].astype(np.int32)


def check_parity(folder: Path, layers: int | None, ids: NDArray[Any], logits: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Compare with PyTorch what was not compared before.

    Args:
        folder: of the checkpoint.
        layers: how many of its layers are compared; ``None`` takes all.
        ids: of a prompt, see :func:`prompt_ids`.
        logits: of the Keras model in float32, ``[1, t, v]``, from token ids.

    Raises:
        ModelError: the logits differ.
    """
    state = _state(folder)
    with contextlib.suppress(OSError, ValueError):
        if json.loads((folder / _NOTE).read_text(encoding="utf-8"))["state"] == state:
            return
    found = logits(ids)  # first, for it looks the checkpoint over
    gc.collect()
    difference = compare(found, _torch_logits(folder, layers, ids), str(folder))
    with contextlib.suppress(OSError):  # a folder that we may not write to is compared anew each time
        temporary = folder / f"{_NOTE}.{os.getpid()}"
        temporary.write_text(json.dumps({"state": state, "difference": difference, "layers": layers}), encoding="utf-8")
        temporary.replace(folder / _NOTE)


def compare(logits: NDArray[Any], expected: NDArray[Any], name: str) -> float:
    """The largest difference of logits ``[1, t, v]``.

    Args:
        logits: of Keras.
        expected: of PyTorch.
        name: of the model, for messages.

    Raises:
        ModelError: it is above :data:`TOLERANCE`, or another token is the likeliest, and not just as likely.
    """
    difference = float(np.abs(logits - expected).max())
    chosen = np.take_along_axis(expected, logits.argmax(-1)[..., None], -1)[..., 0]
    behind = float((expected.max(-1) - chosen).max())
    if not (difference <= TOLERANCE and behind <= TOLERANCE):  # so that NaN is refused, too
        raise ModelError(
            f"model {name} does not give in Keras what it gives in PyTorch (logits differ by {difference:.2g}, at most {TOLERANCE:g} is "
            "rounding): run 'ragtune train --backend torch', and please report the model's name"
        )
    return difference


def _torch_logits(folder: Path, layers: int | None, ids: NDArray[Any]) -> NDArray[Any]:
    """PyTorch's; its model is let go."""
    with loading(str(folder)), _without_report():
        config = AutoConfig.from_pretrained(folder)
        if layers is not None:
            config.num_hidden_layers = layers
            if getattr(config, "layer_types", None):
                config.layer_types = config.layer_types[:layers]
        model = AutoModelForCausalLM.from_pretrained(
            folder, config=config, dtype=torch.float32, use_safetensors=True, attn_implementation="eager"
        ).eval()
    with torch.inference_mode():
        logits: NDArray[Any] = model(torch.from_numpy(ids)).logits.numpy()
    del model
    gc.collect()
    return logits


@contextlib.contextmanager
def _without_report() -> Iterator[None]:
    """Transformers lists the layers that are left out."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)


def _state(folder: Path) -> dict[str, Any]:
    files = [*sorted(folder.glob("*.safetensors")), folder / "config.json"]
    packages = ("keras", "keras-hub", "tensorflow", "torch", "transformers")
    return {
        "files": [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files],
        "versions": {package: version(package) for package in packages},
        "check": _VERSION,
    }
