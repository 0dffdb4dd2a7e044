"""Work whose batches are halved for as long as memory does not suffice: what is free on a GPU is known only when it is asked for."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

from ragtune.errors import ModelError

R = TypeVar("R")

_FULL = 2**28
"""Bytes: where less is free on a GPU, what a library says of itself alone (cuDNN: an operation failed) is for lack of memory."""


def fitting(size: int, compute: Callable[[int], R], refusal: str) -> tuple[R, int]:
    """What ``compute`` gives for a size, and that size: the given one, or what is left of it after halving.

    Args:
        size: at least 1.
        compute: anew from the beginning each time.
        refusal: told where memory does not suffice for a size of 1.

    Raises:
        ModelError: it does not.
    """
    while True:
        try:
            return compute(size), size
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
        # Behind the handler: what failed is held by its traceback till there.
        release()
        if size == 1:
            raise ModelError(refusal)
        size //= 2


def ran_out(error: BaseException) -> bool:
    """Whether an error is for lack of memory."""
    import torch  # here, as whoever imports this module may not need it

    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error):
        return True
    if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
        return True
    return isinstance(error, RuntimeError) and torch.cuda.is_available() and torch.cuda.mem_get_info()[0] < _FULL


def release() -> None:
    """Give back what PyTorch keeps for later."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
