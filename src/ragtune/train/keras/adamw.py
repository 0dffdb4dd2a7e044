"""AdamW (Loshchilov and Hutter, arXiv 1711.05101) as ``torch.optim.AdamW`` computes it.

Keras' own has its epsilon before the bias correction, so that the first steps of a run differ. All weights are held as one vector, which
makes an update a few operations, however many adapters there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragtune.train.keras.backend import tf

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # torch's defaults


class AdamW:
    """The gradient of a step, its moments, and the update.

    Args:
        weights: by name, in float32.
        weight_decay: share of the rate by which weights shrink in a step.
    """

    def __init__(self, weights: Mapping[str, Any], weight_decay: float) -> None:
        self._weights, self._decay = dict(weights), weight_decay
        self._sizes = [int(np.prod(weight.shape)) for weight in self._weights.values()]
        self._gradient, self._exp_avg, self._exp_avg_sq = (tf.Variable(tf.zeros([sum(self._sizes)])) for _ in range(3))
        self._steps = 0

    def add(self, gradient: Any) -> None:
        """Add to the gradient; in a graph or out of it."""
        self._gradient.assign_add(gradient)

    def forget(self) -> None:
        """Throw the gradient away."""
        self._gradient.assign(tf.zeros_like(self._gradient))

    def clip(self, longest: float) -> float:
        """Shorten the gradient to a norm, and give the norm that it had."""
        norm = tf.norm(self._gradient)
        self._gradient.assign(self._gradient * tf.minimum(longest / (norm + 1e-6), 1.0))  # torch.nn.utils.clip_grad_norm_
        return float(norm)

    def update(self, rate: float) -> None:
        """Take the gradient into the weights, and start another."""
        self._steps += 1
        first, second = 1 - _BETA1**self._steps, (1 - _BETA2**self._steps) ** 0.5
        self._update(*(tf.constant(value, tf.float32) for value in (1 - rate * self._decay, rate / first, second)))
        self.forget()

    @tf.function  # type: ignore[untyped-decorator]
    def _update(self, kept: Any, size: Any, correction: Any) -> None:
        self._exp_avg.assign_add((self._gradient - self._exp_avg) * (1 - _BETA1))
        self._exp_avg_sq.assign(_BETA2 * self._exp_avg_sq + (1 - _BETA2) * tf.square(self._gradient))
        step = size * self._exp_avg / (tf.sqrt(self._exp_avg_sq) / correction + _EPSILON)
        for weight, part in zip(self._weights.values(), tf.split(step, self._sizes), strict=True):
            weight.assign(kept * tf.convert_to_tensor(weight) - tf.reshape(part, weight.shape))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The moments by the weights' names, as PyTorch's optimizer calls them."""
        held: dict[str, NDArray[Any]] = {f"{name}:step": np.array(self._steps, np.float32) for name in self._weights}
        for part, vector in (("exp_avg", self._exp_avg), ("exp_avg_sq", self._exp_avg_sq)):
            pieces = np.split(vector.numpy(), np.cumsum(self._sizes)[:-1])
            held |= {f"{name}:{part}": piece.reshape(self._weights[name].shape) for name, piece in zip(self._weights, pieces, strict=True)}
        return held

    def restore(self, read: Any) -> None:
        """Take moments that :meth:`tensors` gave, which are read by name."""
        self._steps = int(read(f"{next(iter(self._weights))}:step"))
        for part, vector in (("exp_avg", self._exp_avg), ("exp_avg_sq", self._exp_avg_sq)):
            vector.assign(np.concatenate([np.ravel(read(f"{name}:{part}")) for name in self._weights]))
