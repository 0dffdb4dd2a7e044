"""Cells made side by side, each in a process that opens the experiment for itself; what they make is found by whoever asks next."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

Submit = Callable[..., "Future[Any]"]
_opened: Any = None


@contextmanager
def side_by_side(jobs: int, make: Callable[..., Any], *arguments: Any) -> Iterator[Submit]:
    """Gives ``submit(method, *arguments)``, which calls a method of ``make(*arguments)`` in one of so many processes.

    Leaving the block ends the processes; where an error leaves it, what is not begun is dropped.
    """
    executor = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_open, initargs=(jobs, make, arguments))
    try:
        yield lambda method, *own: executor.submit(_call, method, own)
    except BaseException:
        executor.shutdown(cancel_futures=True)
        raise
    executor.shutdown()


def _open(jobs: int, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    global _opened
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    _opened = make(*arguments)


def _call(method: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(_opened, method)(*arguments)
