"""Kernels of Keras layers as the matrices of Hugging Face checkpoints: ``[out, in]``, heads side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class KernelAxes:
    """Which axes of a layer's kernel are its inputs, and which its outputs.

    Args:
        inputs: sizes, in the order in which the layer's input has them as its last axes.
        outputs: sizes, likewise in its output.
        order: of the axes (inputs, then outputs) in the kernel.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix: out, in."""
        return math.prod(self.outputs), math.prod(self.inputs)

    def kernel(self, matrix_oi: NDArray[Any]) -> NDArray[Any]:
        """The kernel of a matrix."""
        return np.transpose(matrix_oi.T.reshape(self.inputs + self.outputs), self.order)


def kernel_axes(layer: Any) -> KernelAxes:
    """How a ``Dense`` or ``EinsumDense`` layer holds its kernel."""
    shape = tuple(layer.kernel.shape)
    equation = getattr(layer, "equation", None)
    if equation is None:
        return KernelAxes(shape[:1], shape[1:], (0, 1))
    operands, result = equation.split("->")
    given, kernel = operands.split(",")
    inputs = [letter for letter in given if letter in kernel]
    outputs = [letter for letter in result if letter in kernel]
    size = dict(zip(kernel, shape, strict=True))
    letters = inputs + outputs
    return KernelAxes(
        tuple(size[letter] for letter in inputs),
        tuple(size[letter] for letter in outputs),
        tuple(letters.index(letter) for letter in kernel),
    )
