"""How much a key may ask in a minute: requests, and tokens of prompts and answers. Kept in memory: a restart forgets what was asked."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter

from ragtune.serve.errors import ApiError


class Limits:
    """Counts what each key asks."""

    def __init__(self) -> None:
        storage = MemoryStorage()
        # In any minute: of windows that begin with the clock's minutes, two together let through more where they meet.
        self._requests = MovingWindowRateLimiter(storage)
        # What an answer took is known after it, so it counts however much that is: the next request waits for it.
        self._tokens = FixedWindowRateLimiter(storage)
        self._reserved: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, name: str, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        """Count a request.

        Raises:
            ApiError: 429, the key's limit is reached.
        """
        if tokens_per_minute is not None:
            item = RateLimitItemPerMinute(tokens_per_minute)
            if not self._tokens.test(item, "tokens", name):
                raise _reached(self._tokens, item, "tokens", name)
        if requests_per_minute is not None:
            item = RateLimitItemPerMinute(requests_per_minute)
            if not self._requests.hit(item, "requests", name):
                raise _reached(self._requests, item, "requests", name)

    @contextmanager
    def reserve(self, name: str, tokens: int, tokens_per_minute: int | None) -> Iterator[None]:
        """Count what an answer may take, until it is known what it took (:meth:`spend`): others of its key cannot have the same.

        The answer that reaches the limit is still given, however much it takes.

        Args:
            name: of the key.
            tokens: at most, about.
            tokens_per_minute: of the key.

        Raises:
            ApiError: 429, those before it have, or may still take, as much as the limit.
        """
        if tokens_per_minute is None:
            yield
            return
        item = RateLimitItemPerMinute(tokens_per_minute)
        with self._lock:
            if self._tokens.get_window_stats(item, "tokens", name).remaining <= self._reserved[name]:
                raise _reached(self._tokens, item, "tokens", name)
            self._reserved[name] += tokens
        try:
            yield
        finally:
            with self._lock:
                self._reserved[name] -= tokens

    def spend(self, name: str, tokens: int, tokens_per_minute: int | None) -> None:
        """Count the tokens of an answer."""
        if tokens_per_minute is not None and tokens:
            self._tokens.hit(RateLimitItemPerMinute(tokens_per_minute), "tokens", name, cost=tokens)


def _reached(limiter: RateLimiter, item: RateLimitItemPerMinute, unit: str, name: str) -> ApiError:
    wait = max(1.0, limiter.get_window_stats(item, unit, name).reset_time - time.time())
    return ApiError(
        429,
        f"this key may ask {item.amount} {unit} a minute, and has, with those of answers on their way: ask again in {wait:.0f} s",
        code="rate_limit_exceeded",
        retry_after=wait,
    )
