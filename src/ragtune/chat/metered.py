"""Around a hosted chat model: answers kept, a spending cap, a rate limit, and patience with servers that are busy or gone for a while."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ragtune.errors import ChatError, RefusalError
from ragtune.hosted.ledger import Ledger
from ragtune.hosted.meter import Meter, RateLimit, worth_another_try
from ragtune.protocols import ChatModel
from ragtune.types import GREEDY, Message, Passage, Price, Reply, Sampling, Usage

_TEMPLATE_TOKENS = 256
"""What a server may put around a prompt: a system message of its own, the frame of a schema."""


class MeteredChat:
    """Fulfils the chat model's contract over another one.

    Args:
        chat: makes one attempt a call.
        ledger: of the project.
        address: the server's base URL, part of what a kept answer is found by.
        price: US dollars of a call's tokens; ``None`` where no price is known, and then a cap cannot be kept to.
        thinking: whether the model may reason first, part of it too.
        headroom: tokens that a call may now have for reasoning, above those that it is asked for; they are set aside too.
        cache: keep answers, and give one that was given before to the same question.
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
        headroom: Callable[[], int] = lambda: 0,
        price: Price | None = None,
        cache: bool = True,
        retries: int = 5,
        limit: RateLimit | None = None,
    ) -> None:
        self._chat = chat
        self._ledger = ledger
        self._asked_of = (chat.name, address, thinking)
        self._headroom = headroom
        self._cache = cache
        self._meter = Meter(chat.name, ledger, price=price, retries=retries, limit=limit)

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
        """A whole answer, from the ledger where it was given before; a refusal that was paid for is not paid for again."""
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
                self._failed(key, reservation, error)
                raise

        reply = self._meter.retrying()(call)
        self._keep(key, reply)
        return reply

    def stream(
        self,
        messages: Sequence[Message],
        *,
        quotable: Sequence[Passage] | None = None,
        max_tokens: int = 512,
        sampling: Sampling = GREEDY,
    ) -> Iterator[str | Reply]:
        """Pieces, then the reply; from the ledger in one piece. Tried again only while nothing was written: words cannot be taken back.

        An answer that is to be drawn anew each time, with a temperature and without a seed, is neither looked up nor kept.
        """
        anew = sampling.temperature > 0 and sampling.seed is None
        ways = (sampling.top_p, sampling.stop) if sampling.top_p != 1 or sampling.stop else ()
        key = self._key(messages, max_tokens, sampling.schema, sampling.temperature, sampling.seed or 0, *ways)
        known = self._ledger.find(key) if self._cache and not anew else None
        if known is not None:
            yield from filter(None, (known.text, known))
            return
        began = False

        def again(error: BaseException) -> bool:
            return not began and worth_another_try(error)

        for attempt in self._meter.retrying(again):
            with attempt:
                reservation = self._begin(messages, max_tokens, sampling.schema)
                settled = False
                pieces = self._chat.stream(messages, quotable=quotable, max_tokens=max_tokens, sampling=sampling)
                try:
                    for piece in pieces:
                        began = True
                        if isinstance(piece, Reply):
                            settled = True
                            reply = self._end(reservation, piece)
                            if not anew:
                                self._keep(key, reply)
                            yield reply
                        else:
                            yield piece
                except ChatError as error:
                    if not settled:
                        self._failed(key, reservation, error)
                    raise
                finally:
                    if isinstance(pieces, Generator):
                        pieces.close()  # who stops listening hangs up

    def _begin(self, messages: Sequence[Message], max_tokens: int, schema: Mapping[str, Any] | None = None) -> int | None:
        # A token of a byte-level tokenizer is at least one byte; each message's frame is a few more. A schema is charged as a prompt is.
        written = sum(len(message.content.encode()) + 16 for message in messages) + (len(json.dumps(schema)) if schema is not None else 0)
        return self._meter.begin(Usage(written + _TEMPLATE_TOKENS, max_tokens + self._headroom()))

    def _end(self, reservation: int | None, reply: Reply) -> Reply:
        cost = self._meter.end(reservation, reply.usage)
        return reply if cost is None else replace(reply, cost=cost)

    def _failed(self, key: str, reservation: int | None, error: ChatError) -> None:
        self._meter.failed(reservation, error)
        if isinstance(error, RefusalError) and error.charged:
            self._keep(key, error)

    def _keep(self, key: str, reply: Reply | RefusalError) -> None:
        if self._cache:
            self._ledger.keep(key, reply)

    def _key(
        self, messages: Sequence[Message], max_tokens: int, schema: Mapping[str, Any] | None, temperature: float, seed: int, *ways: Any
    ) -> str:
        asked = [*self._asked_of, [[m.role, m.content] for m in messages], max_tokens, schema, temperature, seed, *ways]
        return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
