"""Around every call of a hosted model: a spending cap, a rate limit, and patience with servers that are busy or gone for a while."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from ragtune.errors import ChatError, CutStreamError, RateLimitError, RefusalError, UnreachableError
from ragtune.hosted.ledger import Ledger
from ragtune.hosted.waiting import sleep
from ragtune.types import Price, Usage

THINKING_TOKENS = 4000
"""What a call may have for reasoning, above the tokens that it is asked for, where a model reasons."""
_LONGEST_WAIT_S = 120.0
_log = logging.getLogger(__name__)
_backoff = wait_random_exponential(multiplier=1, max=30)


def worth_another_try(error: BaseException) -> bool:
    """Whether the same call may go well a little later."""
    if isinstance(error, RateLimitError):
        return error.retry_after is None or error.retry_after <= _LONGEST_WAIT_S
    return isinstance(error, UnreachableError)


def patience(retries: int) -> Retrying:
    """Calls a function again where a server is busy, gone or cut off; what it asks to wait is waited."""
    return Retrying(
        stop=stop_after_attempt(retries + 1),
        wait=_wait,
        retry=retry_if_exception(worth_another_try),
        before_sleep=_tell,
        sleep=sleep,
        reraise=True,
    )


class RateLimit:
    """Lets calls through at even distances, in all threads together.

    Args:
        per_minute: calls a minute; ``None`` is no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Sleep until the next call is due."""
        if self._interval:
            with self._lock:
                due = max(self._next, time.monotonic())
                self._next = due + self._interval
            sleep(max(0.0, due - time.monotonic()))


class Meter:
    """Sets each call's cost aside before it is made and puts the true one down after it.

    Args:
        name: ``provider:model``.
        ledger: of the project.
        price: US dollars of a call's tokens; ``None`` where no price is known, and then a cap cannot be kept to.
        retries: further attempts where a server is busy, gone or cut off.
        limit: shared by all models of one server.
    """

    def __init__(self, name: str, ledger: Ledger, *, price: Price | None = None, retries: int = 5, limit: RateLimit | None = None) -> None:
        self.ledger = ledger
        self._name = name
        self._price = price
        self._limit = limit or RateLimit(None)
        self._retrying = patience(retries)

    def retrying(self, again: Callable[[BaseException], bool] = worth_another_try) -> Retrying:
        """Attempts at one call.

        Args:
            again: whether another one is worth it after an error.
        """
        return self._retrying.copy(retry=retry_if_exception(again))

    def begin(self, most: Usage) -> int | None:
        """Wait for the call's turn and set the most that it can cost aside.

        Raises:
            SpendingCapError: with it, the project could have spent more than the cap.
        """
        self._limit.wait()
        return None if self._price is None else self.ledger.reserve(self._name, self._price(most))

    def end(self, reservation: int | None, usage: Usage) -> float | None:
        """Put down what a call cost, in US dollars; ``None`` where that is not known."""
        if reservation is None or self._price is None:
            return None
        if not usage.prompt_tokens:
            return None  # the server does not say what it counted: what was set aside stays set aside
        cost = self._price(usage)
        self.ledger.settle(reservation, cost)
        return cost

    def failed(self, reservation: int | None, error: ChatError) -> None:
        """A refused request costs nothing; where an answer was begun, or the line fell silent, what was set aside stays set aside.

        A refusal whose tokens the server counted is paid for like any answer.
        """
        if isinstance(error, RefusalError) and error.charged and error.tokens is not None:
            error.cost = self.end(reservation, Usage(*error.tokens))
            return
        unknown = isinstance(error, CutStreamError) or (isinstance(error, UnreachableError) and not error.answered)
        unknown = unknown or (isinstance(error, RefusalError) and error.charged)
        if reservation is not None and not unknown:
            self.ledger.settle(reservation, 0.0)


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    _log.info("%s; attempt %d follows in %.1f s", error, state.attempt_number + 1, state.upcoming_sleep)


def _wait(state: RetryCallState) -> float:
    """As long as the server asks, else longer each time, with chance so that many clients do not come back at once."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after if isinstance(error, RateLimitError | UnreachableError) else None
    return asked if asked is not None and asked <= _LONGEST_WAIT_S else _backoff(state)
