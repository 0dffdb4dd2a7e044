"""LoRA on the frozen layers of a Keras model, as :mod:`ragtune.train.lora` has it on PyTorch's.

A layer's kernel is seen as the matrix of the Hugging Face checkpoint and has one A and one B, so that a rank here is PEFT's. Keras' own
``enable_lora`` gives each head of queries, keys and values an A of its own, and adds the update to the whole kernel in every step
(decision 0015).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ragtune.train.keras.backend import keras, tf
from ragtune.train.keras.base import Base
from ragtune.train.keras.kernels import kernel_axes
from ragtune.train.targets import choose_targets


class KerasLoRA(keras.layers.Layer):  # type: ignore[misc]
    """A frozen ``Dense`` or ``EinsumDense`` layer with a trained update of low rank: ``y + scale · x Aᵀ Bᵀ``.

    Args:
        base: the frozen layer, its kernel seen as a matrix ``[out, in]``.
        start: initial A ``[r, in]``, float32; B starts at zero, so that training starts at the base model.
        alpha: scale is alpha / r.
        dropout: on the update's input, in training.
        rslora: scale is alpha / √r.
        target: what PEFT finds it by, see :func:`~ragtune.train.targets.choose_targets`.
        number: of the layer: with the place, it decides what is dropped.
        place: int32 variable, see :func:`set_place`.

    Attributes:
        active: off gives the base's output. Graphs that were traced before keep what they were traced with.
    """

    def __init__(self, base: Any, start: Any, alpha: float, dropout: float, *, rslora: bool, target: str, number: int, place: Any) -> None:
        super().__init__(dtype=base.dtype_policy, name=base.name)
        axes = kernel_axes(base)
        rank = len(start)
        self.base = base
        self.alpha, self.dropout, self.rslora, self.target = alpha, dropout, rslora, target
        self.scale = alpha / (math.sqrt(rank) if rslora else rank)
        self.active = True
        self.lora_A = self.add_weight(name="lora_A", shape=start.shape, dtype="float32", initializer="zeros", autocast=False)
        self.lora_A.assign(start)
        self.lora_B = self.add_weight(name="lora_B", shape=(axes.shape[0], rank), dtype="float32", initializer="zeros", autocast=False)
        self._number, self._place = number, place
        self.built = True

    @property
    def trained(self) -> dict[str, Any]:
        """Its variables but the base's."""
        return {"lora_A": self.lora_A, "lora_B": self.lora_B}

    def call(self, x: Any, training: bool = False) -> Any:
        """The base's shapes, in its number format."""
        y = self.base(x)
        if not self.active:
            return y
        a_ri, b_or = tf.convert_to_tensor(self.lora_A), tf.convert_to_tensor(self.lora_B)
        x_ni = tf.reshape(x, [-1, a_ri.shape[1]])
        if training and self.dropout:
            x_ni = tf.nn.experimental.stateless_dropout(
                x_ni, self.dropout, seed=tf.stack([self._number, tf.convert_to_tensor(self._place)])
            )
        low_nr = tf.matmul(x_ni, tf.cast(a_ri, x.dtype), transpose_b=True)
        update_no = tf.matmul(low_nr, tf.cast(b_or * self.scale, x.dtype), transpose_b=True)
        return y + tf.reshape(update_no, tf.shape(y))


def add_lora(
    base: Base, *, rank: int, alpha: float, dropout: float, seed: int, rslora: bool = False, targets: Sequence[str] = ()
) -> dict[str, KerasLoRA]:
    """Put an adapter on linear layers of a base, with the initial weights that :func:`ragtune.train.lora.add_lora` draws.

    Args:
        base: as it was loaded.
        rank: r.
        alpha: scale, see :class:`KerasLoRA`.
        dropout: on the updates' input.
        seed: of the initial weights.
        rslora: scale by alpha / √r.
        targets: see :func:`~ragtune.train.targets.find_targets`.

    Returns:
        The adapted layers by the checkpoint's names, in its order.

    Raises:
        TrainError: there is no layer of a target's name.
    """
    found = {name: (parent, leaf) for name, parent, leaf in base.projections()}
    parts: dict[str, str | None] = {name: "attention" if ".self_attn." in name else "mlp" for name in found}
    generator = torch.Generator().manual_seed(seed)
    place = keras.Variable(0, dtype="int32", trainable=False, name="place")
    layers = {}
    for number, (name, target) in enumerate(choose_targets(parts, targets, base.kind).items()):
        parent, leaf = found[name]
        layer = getattr(parent, leaf)
        inputs = kernel_axes(layer).shape[1]
        bound = 1 / math.sqrt(inputs)
        start = torch.empty(rank, inputs).uniform_(-bound, bound, generator=generator).numpy()
        layers[name] = KerasLoRA(layer, start, alpha, dropout, rslora=rslora, target=target, number=number, place=place)
        _replace(parent, leaf, layers[name])
    return layers


def set_place(layers: Mapping[str, KerasLoRA], place: int) -> None:
    """Say where a run is: the place alone decides what dropout drops, so that a resumed run drops the same.

    Args:
        layers: of one :func:`add_lora`.
        place: another for each batch of a run.
    """
    next(iter(layers.values()))._place.assign(place)


def _replace(parent: Any, name: str, layer: Any) -> None:
    """Put a layer in another's place in a layer that is built, which Keras does not let itself be given new ones."""
    tracker = parent._tracker
    tracker.unlock()
    tracker.untrack(getattr(parent, name))
    setattr(parent, name, layer)
    tracker.lock()
