"""A frozen base model for Keras, read from a folder in Hugging Face's format."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig

from ragtune.errors import ModelError
from ragtune.prompts import Tokenizer
from ragtune.templates import load_tokenizer
from ragtune.train.keras.backend import keras_hub, tf
from ragtune.train.keras.families import Config, backbone_arguments, family_of
from ragtune.train.keras.kernels import kernel_axes
from ragtune.train.keras.parity import check_parity, prompt_ids
from ragtune.train.load import loading
from ragtune.train.merge import weight_files
from ragtune.train.predict import available_memory

Dtype = Literal["float32", "bfloat16"]
_COMPUTED = "rotary_emb.inv_freq"
"""End of the names of tensors that old checkpoints hold and every library computes anew."""
_LAYER = re.compile(r"model\.layers\.(\d+)\.")
_MEMORY = 0.8
"""Of the memory that is free, what comparing with PyTorch may take."""


class Base:
    """A causal language model of keras-hub, with its weights and its tokenizer; nothing of it is trained.

    Legend: b sequences, t positions, n places, d width, v vocabulary.

    Args:
        folder: of the checkpoint.
        config: its settings, as transformers has them.
        tokenizer: its own, Hugging Face's.
        dtype: of weights and computation.
        layers: of the stack, from the first; ``None`` takes all.

    Attributes:
        backbone: keras-hub's, up to the last normalisation.
        kind: of model, for messages.
        max_positions: the longest text.

    Raises:
        ModelError: keras-hub has no such model, or the checkpoint is damaged or has what keras-hub would leave out.
    """

    def __init__(self, folder: Path, config: Config, tokenizer: Tokenizer, dtype: Dtype, layers: int | None = None) -> None:
        self._family = family_of(config, str(folder))
        arguments = backbone_arguments(self._family, config, str(folder))
        self._layers = layers or int(arguments["num_layers"])
        self.backbone: Any = getattr(keras_hub.models, self._family.backbone)(**arguments | {"num_layers": self._layers}, dtype=dtype)
        self.backbone.trainable = False
        for norm in self._norms().values():  # of which some backbones build a part with an epsilon of their own
            norm.epsilon = arguments["layer_norm_epsilon"]
        self.tokenizer = tokenizer
        self.kind = str((config.get("architectures") or [config["model_type"]])[0])
        self.max_positions = int(config["max_position_embeddings"])
        self._read(folder)

    def hidden(self, ids_bt: Any, mask_bt: Any, training: bool = False) -> Any:
        """Hidden states ``[b, t, d]`` of token ids.

        Args:
            ids_bt: int32.
            mask_bt: int32, 1 for a token, 0 for the padding after a text.
            training: whether adapters drop.
        """
        return self.backbone({"token_ids": ids_bt, "padding_mask": mask_bt}, training=training)

    def head(self, hidden_nd: Any) -> Any:
        """Logits ``[n, v]``, float32."""
        embedding = self.backbone.token_embedding
        weight = embedding.embeddings if embedding.tie_weights else embedding.reverse_embeddings
        logits_nv = tf.cast(tf.matmul(hidden_nd, tf.convert_to_tensor(weight), transpose_b=embedding.tie_weights), tf.float32)
        cap = embedding.logit_soft_cap
        return logits_nv if cap is None else tf.tanh(logits_nv / cap) * cap

    def projections(self) -> Iterator[tuple[str, Any, str]]:
        """The linear layers of the stack: name in the checkpoint, the layer here that holds it, and the attribute that it is there."""
        for number in range(self._layers):
            block = self.backbone.get_layer(self._family.layer.format(number))
            for name, path in self._family.projections.items():
                parent, _, leaf = path.rpartition(".")
                yield f"model.layers.{number}.{name}", _at(block, parent), leaf

    def _norms(self) -> dict[str, Any]:
        """The normalisations by their names in the checkpoint."""
        found = {"model.norm": self.backbone.get_layer(self._family.final_norm)}
        for number in range(self._layers):
            block = self.backbone.get_layer(self._family.layer.format(number))
            found |= {f"model.layers.{number}.{name}": _at(block, path) for name, path in self._family.norms.items()}
        return found

    def _read(self, folder: Path) -> None:
        """Give every variable its weight.

        Raises:
            ModelError: a weight is missing, of another shape, or has no place here.
        """
        wanted = dict(self._places())
        for name, opened in tensors_of(folder):
            found = _LAYER.match(name)
            if name.endswith(_COMPUTED) or (found and int(found[1]) >= self._layers):
                continue
            if name == "lm_head.weight" and name not in wanted:
                continue  # a copy of the embeddings; one that is not, PyTorch reads, and the comparison finds it
            if name not in wanted:
                raise ModelError(f"{folder} has a weight {name}, which Keras has no place for: run 'ragtune train --backend torch'")
            variable, layer = wanted.pop(name)
            variable.assign(_fitting(opened.get_tensor(name), variable, layer, name))
        if wanted:
            raise ModelError(f"{folder} lacks {len(wanted)} weights, {min(wanted)} among them: fetch the model again")

    def _places(self) -> Iterator[tuple[str, tuple[Any, Any]]]:
        """From each tensor's name to its variable, and to the layer whose kernel it is."""
        embedding = self.backbone.token_embedding
        yield "model.embed_tokens.weight", (embedding.embeddings, None)
        if not embedding.tie_weights:
            yield "lm_head.weight", (embedding.reverse_embeddings, None)
        for name, norm in self._norms().items():
            yield f"{name}.weight", (norm.scale, None)
        for name, parent, leaf in self.projections():
            layer = getattr(parent, leaf)
            yield f"{name}.weight", (layer.kernel, layer)
            if layer.bias is not None:
                yield f"{name}.bias", (layer.bias, None)


def load_base(base: str, dtype: Dtype, template: str | None = None, scope: contextlib.AbstractContextManager[Any] | None = None) -> Base:
    """A base model with its tokenizer, which gives what PyTorch gives.

    Args:
        base: folder of a checkpoint in Hugging Face's format, its weights in safetensors.
        dtype: of weights and computation.
        template: Jinja text of a chat template; ``None`` is the model's own.
        scope: that the weights are made in, as a strategy's over several devices.

    Raises:
        ModelError: there is no such folder, keras-hub has no such model, the checkpoint is damaged or has what keras-hub would leave out,
            or its logits are not PyTorch's.
    """
    folder = Path(base)
    if not folder.is_dir():
        fetch = f"hf download {base} --local-dir models/{folder.name}"
        raise ModelError(f"{base} is no folder, and train.backend = keras reads only folders: run '{fetch}', and set model.base to it")
    with loading(base):
        config = AutoConfig.from_pretrained(folder).to_dict()
        tokenizer = load_tokenizer(base, template)
    layers = _that_fit(folder)

    def logits(ids_bt: NDArray[Any]) -> NDArray[Any]:
        # On the processor, as a GPU rounds float32, and may have no room for it.
        with tf.device("CPU:0"):
            whole = Base(folder, config, tokenizer, "float32", layers)
            hidden_btd = whole.hidden(ids_bt, np.ones_like(ids_bt))
            return whole.head(hidden_btd[0])[None].numpy()  # type: ignore[no-any-return]

    check_parity(folder, layers, prompt_ids(config["vocab_size"]), logits)
    with scope or contextlib.nullcontext():
        return Base(folder, config, tokenizer, dtype)


def tensors_of(folder: Path) -> Iterator[tuple[str, Any]]:
    """The name of each tensor of a checkpoint, be it in one file or several, and the open file to get it from.

    Raises:
        ModelError: there is no file of weights, or one that cannot be read.
    """
    for file in weight_files(folder):
        try:
            opened = safe_open(file, framework="numpy")
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} cannot be read ({error}): fetch the model again") from error
        with opened as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                yield name, tensors


def _that_fit(folder: Path) -> int | None:
    """How many layers fit the memory in float32; ``None`` where all do."""
    shared, stack = 0.0, dict[int, float]()
    for name, opened in tensors_of(folder):
        size = 4.0 * math.prod(opened.get_slice(name).get_shape())
        found = _LAYER.match(name)
        if found:
            stack[int(found[1])] = stack.get(int(found[1]), 0.0) + size
        else:
            shared += size
    room = _MEMORY * available_memory(torch.device("cpu"))
    if shared + sum(stack.values()) <= room:
        return None
    return max(1, int((room - shared) / max(stack.values())))


def _fitting(value: NDArray[Any], variable: Any, layer: Any, name: str) -> NDArray[Any]:
    """A tensor of a checkpoint as the variable has it."""
    shape = tuple(variable.shape)
    if layer is not None:
        axes = kernel_axes(layer)
        expected = axes.shape
    else:
        expected = (math.prod(shape),) if name.endswith(".bias") else shape[::-1] if name == "lm_head.weight" else shape
    if value.shape != expected:
        raise ModelError(
            f"the weight {name} has the shape {list(value.shape)}, and the settings beside it say {list(expected)}: fetch the model again"
        )
    if layer is not None:
        return axes.kernel(value)
    return value.T if name == "lm_head.weight" else value.reshape(shape)


def _at(layer: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        layer = getattr(layer, name)
    return layer
