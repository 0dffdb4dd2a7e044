"""Whose answer is next: a queue for each adapter, and turns between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue

from ragtune.engine.adapters import Tuned
from ragtune.engine.choose import Writing
from ragtune.engine.running import Row
from ragtune.prompts import PromptIds


@dataclass(frozen=True, slots=True)
class Token:
    """What was written; ``id`` is ``None`` where the answer ended by itself. ``logprob`` is the sum so far."""

    id: int | None
    logprob: float


@dataclass(eq=False)
class Asked:
    """One answer that is waited for.

    Args:
        prompt: what is asked.
        writing: how tokens are chosen.
        limit: at most so many tokens.
        tuned: by whose weights.
        deadline: on the monotonic clock, in seconds.
        outbox: where its tokens go, or what went wrong.
        cancelled: nobody waits for it any more; set by any thread, and seen between two steps.
        row: its place in the batch, once its prompt is read.
    """

    prompt: PromptIds
    writing: Writing
    limit: int
    tuned: Tuned
    deadline: float
    outbox: SimpleQueue[Token | Exception] = field(default_factory=SimpleQueue)
    cancelled: bool = False
    row: Row | None = None


class Turns:
    """Those that wait for a row. A turn is one adapter's.

    Args:
        length: answers of a turn, while another adapter's wait.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._queues: dict[Tuned, deque[Asked]] = {}
        self._begun = 0
        self.tuned: Tuned = None
        """Whose turn it is."""

    def __iter__(self) -> Iterator[Asked]:
        """All that wait."""
        return (asked for queue in self._queues.values() for asked in queue)

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._queues)

    def put(self, asked: Asked) -> None:
        """Another one waits."""
        self._queues.setdefault(asked.tuned, deque()).append(asked)

    def keep(self) -> None:
        """Drop those that nobody waits for."""
        left = {tuned: deque(asked for asked in queue if not asked.cancelled) for tuned, queue in self._queues.items()}
        self._queues = {tuned: queue for tuned, queue in left.items() if queue}

    def next(self, *, empty: bool) -> Asked | None:
        """Who may join the batch now; another adapter's turn begins when it is ``empty`` only."""
        mine = self.tuned in self._queues
        over = self._begun >= self._length and len(self._queues) > mine
        if not self._queues or ((over or not mine) and not empty):
            return None
        if over or not mine:
            # Queues stand in the order in which they were opened; that of a turn that is over goes to the end.
            if mine:
                self._queues[self.tuned] = self._queues.pop(self.tuned)
            self.tuned, self._begun = next(iter(self._queues)), 0
        queue = self._queues[self.tuned]
        asked = queue.popleft()
        if not queue:
            del self._queues[self.tuned]
        self._begun += 1
        return asked
