"""Waiting that ends at once where the user does: threads for calls, and the sleep between two attempts at one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar

_left: ContextVar[threading.Event | None] = ContextVar("left", default=None)
"""Set once nobody waits any more for what this thread brings."""


class LeftError(Exception):
    """Nobody waits any more: the call is not tried again. It is seen by no one."""


@contextmanager
def threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads whose :func:`sleep` ends at once when this block is left by an interrupt or another error; requests on their way still end.

    Threads that are made by one of them are left together with it.
    """
    left = _left.get() or threading.Event()
    with ThreadPoolExecutor(max(1, number), initializer=_left.set, initargs=(left,)) as pool:
        try:
            yield pool
        except BaseException:
            left.set()
            raise


def sleep(seconds: float) -> None:
    """Wait.

    Raises:
        LeftError: in one of :func:`threads`, which were left.
    """
    left = _left.get()
    if left is None:
        time.sleep(seconds)
    elif left.wait(seconds):
        raise LeftError
