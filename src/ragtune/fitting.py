"""Work whose batches are halved for as long as memory does not suffice: what is free on a GPU is known only when it is asked for."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Callable
from typing import TypeVar

from ragtune.errors import ModelError

R = TypeVar("R")

_OUT = re.compile(r"out of memory|DefaultCPUAllocator|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
"""How PyTorch says it of a GPU, of Apple's, of a CPU, and how cuBLAS does."""
_SILENT = re.compile(r"cudnn|mha_graph", re.IGNORECASE)
"""cuDNN says only that an operation failed."""
_FULL = 2**28
"""Bytes: where less is free on a GPU, that is for lack of memory."""

logger = logging.getLogger(__name__)


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
        except Exception as error:
            if not ran_out(error):
                raise
        # Behind the handler: what failed is held by its traceback till there.
        release()
        if size == 1:
            raise ModelError(refusal)
        logger.warning("memory does not suffice for %d at once: going on with %d", size, size // 2)
        size //= 2


def ran_out(error: BaseException) -> bool:
    """Whether an error is for lack of memory."""
    import torch  # here, as whoever imports this module may not need it

    if isinstance(error, torch.OutOfMemoryError | MemoryError) or type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
        return True
    if not isinstance(error, RuntimeError):
        return False
    if _SILENT.search(str(error)) and torch.cuda.is_available():
        return bool(torch.cuda.mem_get_info()[0] < _FULL)
    return _OUT.search(str(error)) is not None


def release() -> None:
    """Give back what PyTorch keeps for later."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
