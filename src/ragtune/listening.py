"""Whether somebody still waits for what is made in this thread: a server says so, and what makes it looks, however deep it stands.

Closing an iterator ends it between two of its items only, and from its own thread. An answer that waits for its turn, or is held back until
it is whole, gives no item for long.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_left: ContextVar[threading.Event | None] = ContextVar("left", default=None)


@contextmanager
def until_left(left: threading.Event) -> Iterator[None]:
    """In this block somebody waits until the event is set."""
    token = _left.set(left)
    try:
        yield
    finally:
        _left.reset(token)


def nobody_listens() -> bool:
    """Whether what is made now is for nobody."""
    left = _left.get()
    return left is not None and left.is_set()
