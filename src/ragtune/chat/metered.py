"""Around a hosted chat model: answers kept, a spending cap, a rate limit, and patience with servers that are busy or gone for a while."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from ragtune.chat.ledger import Ledger
from ragtune.errors import ChatError, CutStreamError, RateLimitError, RefusalError, UnreachableError
from ragtune.protocols import ChatModel
from ragtune.types import Message, Passage, Reply, Usage

Price = Callable[[Usage], float]
_LONGEST_WAIT_S = 120.0
_TEMPLATE_TOKENS = 256
"""What a server may put around a prompt: a system message of its own, the frame of a schema."""
_log = logging.getLogger(__name__)
_backoff = wait_random_exponential(multiplier=1, max=30)


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
            time.sleep(max(0.0, due - time.monotonic()))


class MeteredChat:
    """Fulfils the chat model's contract over another one.

    Args:
        chat: makes one attempt a call.
        ledger: of the project.
        address: the server's base URL, part of what a kept answer is found by.
        price: US dollars of a call's tokens; ``None`` where no price is known, and then a cap cannot be kept to.
        thinking: whether the model may reason first, part of it too.
        cache: give an answer that was given before to the same question; answers are kept either way.
        retries: further attempts where a server is busy, gone or cut off.
        limit: shared by all models of one server.
    """

    def __init__(
        self,
        chat: ChatModel,
        ledger: Ledger,
        *,
        address: str = "",
        thinking: bool = False,
        price: Price | None = None,
        cache: bool = True,
        retries: int = 5,
        limit: RateLimit | None = None,
    ) -> None:
        self._chat = chat
        self._ledger = ledger
        self._asked_of = (chat.name, address, thinking)
        self._price = price
        self._cache = cache
        self._limit = limit or RateLimit(None)
        self._retrying = Retrying(
            stop=stop_after_attempt(retries + 1),
            wait=_wait,
            retry=retry_if_exception(_worth_another_try),
            before_sleep=_tell,
            reraise=True,
        )

    @property
    def name(self) -> str:
        """``provider:model``."""
        return self._chat.name

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        schema: Mapping[str, Any] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Reply:
        """A whole answer, from the ledger where it was given before."""
        key = self._key(messages, max_tokens, schema, temperature, seed)
        known = self._ledger.find(key) if self._cache else None
        if known is not None:
            return known

        def call() -> Reply:
            reservation = self._begin(messages, max_tokens, schema)
            try:
                return self._end(
                    reservation,
                    self._chat.complete(messages, max_tokens=max_tokens, schema=schema, temperature=temperature, seed=seed),
                )
            except ChatError as error:
                self._failed(reservation, error)
                raise

        reply = self._retrying.copy()(call)
        self._ledger.keep(key, reply)
        return reply

    def stream(
        self, messages: Sequence[Message], *, quotable: Sequence[Passage] | None = None, max_tokens: int = 512
    ) -> Iterator[str | Reply]:
        """Pieces, then the reply. Tried again only as long as nothing was written: words cannot be taken back."""
        began = False

        def again(error: BaseException) -> bool:
            return not began and _worth_another_try(error)

        for attempt in self._retrying.copy(retry=retry_if_exception(again)):
            with attempt:
                reservation = self._begin(messages, max_tokens)
                settled = False
                pieces = self._chat.stream(messages, quotable=quotable, max_tokens=max_tokens)
                try:
                    for piece in pieces:
                        began = True
                        if isinstance(piece, Reply):
                            settled = True
                            yield self._end(reservation, piece)
                        else:
                            yield piece
                except ChatError as error:
                    if not settled:
                        self._failed(reservation, error)
                    raise
                finally:
                    if isinstance(pieces, Generator):
                        pieces.close()  # who stops listening hangs up

    def _begin(self, messages: Sequence[Message], max_tokens: int, schema: Mapping[str, Any] | None = None) -> int | None:
        self._limit.wait()
        if self._price is None:
            return None
        # A token of a byte-level tokenizer is at least one byte; each message's frame is a few more. A schema is charged as a prompt is.
        written = sum(len(message.content.encode()) + 16 for message in messages) + (len(json.dumps(schema)) if schema is not None else 0)
        most = Usage(written + _TEMPLATE_TOKENS, max_tokens)
        return self._ledger.reserve(self.name, self._price(most))

    def _end(self, reservation: int | None, reply: Reply) -> Reply:
        if reservation is None or self._price is None:
            return reply
        if not reply.usage.prompt_tokens:
            return reply  # the server does not say what it counted: what was set aside stays set aside
        cost = self._price(reply.usage)
        self._ledger.settle(reservation, cost)
        return replace(reply, cost=cost)

    def _failed(self, reservation: int | None, error: ChatError) -> None:
        """A refused request costs nothing; where an answer was begun, or the line fell silent, what was set aside stays set aside."""
        unknown = isinstance(error, CutStreamError) or (isinstance(error, UnreachableError) and not error.answered)
        unknown = unknown or (isinstance(error, RefusalError) and error.charged)
        if reservation is not None and not unknown:
            self._ledger.settle(reservation, 0.0)

    def _key(self, messages: Sequence[Message], max_tokens: int, schema: Mapping[str, Any] | None, temperature: float, seed: int) -> str:
        asked = [*self._asked_of, [[m.role, m.content] for m in messages], max_tokens, schema, temperature, seed]
        return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _worth_another_try(error: BaseException) -> bool:
    if isinstance(error, RateLimitError):
        return error.retry_after is None or error.retry_after <= _LONGEST_WAIT_S
    return isinstance(error, UnreachableError)


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    _log.info("%s; attempt %d follows in %.1f s", error, state.attempt_number + 1, state.upcoming_sleep)


def _wait(state: RetryCallState) -> float:
    """As long as the server asks, else longer each time, with chance so that many clients do not come back at once."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after if isinstance(error, RateLimitError | UnreachableError) else None
    return asked if asked is not None and asked <= _LONGEST_WAIT_S else _backoff(state)
