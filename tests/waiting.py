"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 400.0
"""Until what must come is missed: long, since a busy machine may stand still for many seconds, and whoever waits goes on at once."""


def until(true: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
    """What it gives, as soon as that is true."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)
    return value
