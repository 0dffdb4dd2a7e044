"""In which thread something is computed. A server loads and runs its small models in threads that end with what they do.

GNU's OpenMP, which PyTorch computes with on Linux, keeps worker threads for every thread that ever computed. Once a process has more of
them than processors, none of them spins any more while it waits for its next piece of work, but each sleeps and has to be woken,
hundreds of times a token. The thread of the language model, which computes all the time, is to be the only one that keeps any
(``benchmarks/openmp_threads.py`` has what it costs otherwise).
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Compute(Protocol):
    """Runs something, sooner or later, here or elsewhere."""

    def __call__(self, work: Callable[[], T], /) -> T:
        """Do it, and give what came of it."""


def at_once(work: Callable[[], T]) -> T:
    """Do something here and now."""
    return work()


def in_own_thread(work: Callable[[], T]) -> T:
    """Do something in a thread that ends with it, and give what came of it."""
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, "ragtune-compute") as thread:
        return thread.submit(context.run, work).result()


class Computing:
    """One computation after another, each in a thread of its own: tokenizers and models of a process take one text at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, work: Callable[[], T], /) -> T:
        """Do something when it is its turn, and give what came of it."""
        with self._lock:
            return in_own_thread(work)
