"""Blocking answers in an asynchronous server: each is pulled in a thread of its own, and ended where its client leaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from ragtune.errors import BusyError
from ragtune.listening import until_left
from ragtune.serve.errors import log_bug

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds until a stream begins whether there is something to send or not: proxies give up on silence."""

_PING = b": waiting\n\n"
_START_SECONDS = 2.0  # of an answer, until one was measured
_CLOSE_SECONDS = 2.0


class ClientLeftError(Exception):
    """Nobody listens any more."""


class Places:
    """How many answers may be on their way at once; used by the event loop alone.

    Each has a thread of its own and keeps its place until that thread has ended: who leaves does not make room for another at once, as what
    was begun for them may not end before what it waits for does. The threads do not hold up the end of the process.

    Args:
        rows: answers that are written at once.
        waiting: answers that may wait.
    """

    def __init__(self, rows: int, waiting: int) -> None:
        self._rows = rows
        self._most = rows + waiting
        self._seconds = _START_SECONDS
        self._threads: set[threading.Thread] = set()
        self.taken = 0

    def start(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Do something in a thread, if there is a place for it; ``then`` is told what came of it once the place is free again.

        Raises:
            BusyError: there is none.
        """
        if self.taken >= self._most:
            wait = max(1.0, self._seconds * (self.taken - self._rows + 1) / self._rows)
            raise BusyError(f"{self.taken} questions are being answered or wait, as many as may: ask again in {wait:.0f} s", wait)
        loop, began = asyncio.get_running_loop(), time.monotonic()

        def free() -> None:
            self.taken -= 1
            self._seconds += 0.1 * (time.monotonic() - began - self._seconds)

        def run() -> None:
            try:
                made = work()
            finally:
                self._threads.discard(threading.current_thread())
                with contextlib.suppress(RuntimeError):  # the loop is gone
                    loop.call_soon_threadsafe(free)
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(then, made)

        thread = threading.Thread(target=run, name="ragtune-answer", daemon=True)
        self._threads.add(thread)
        self.taken += 1
        thread.start()

    def close(self) -> None:
        """Wait a moment for the threads; those that hang, at another server perhaps, end with the process."""
        until = time.monotonic() + _CLOSE_SECONDS
        for thread in tuple(self._threads):
            thread.join(max(0.0, until - time.monotonic()))


async def pump(items: Iterator[T], receive: Receive, places: Places, silence: float | None = None) -> AsyncGenerator[T | None]:
    """Items of a blocking iterator, pulled in a thread of its own, which closes it at its end or when the client leaves.

    Args:
        items: blocking.
        receive: of the request, whose body was read.
        places: of which it takes one.
        silence: seconds after which ``None`` is given where there is nothing else; ``None`` waits for good.

    Raises:
        BusyError: there is no place.
        ClientLeftError: the client left.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
    stopped = threading.Event()

    def tell(item: T) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(queue.put_nowait, ("item", item))

    def pull() -> tuple[str, Any]:
        try:
            with until_left(stopped), _closing(items):
                while not stopped.is_set():  # looked at before the first too, which may be what takes long
                    try:
                        item = next(items)
                    except StopIteration:
                        break
                    tell(item)
        except Exception as error:
            return "error", error
        except BaseException as error:  # a panic of a tokenizer in Rust is one, and would end what the loop runs in
            bug = RuntimeError(f"{type(error).__name__}: {error}")
            bug.__cause__ = error
            return "error", bug
        return "end", None

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        queue.put_nowait(("left", None))

    places.start(pull, queue.put_nowait)
    watching = asyncio.create_task(watch())
    try:
        while True:
            try:
                async with asyncio.timeout(silence):
                    kind, value = await queue.get()
            except TimeoutError:
                yield None
                continue
            if kind == "item":
                yield value
            elif kind == "error":
                raise value
            elif kind == "left":
                raise ClientLeftError
            else:
                return
    finally:
        stopped.set()
        watching.cancel()


class EventStream(StreamingResponse):
    """Server-sent events of a blocking iterator. What goes wrong before the first is an error of HTTP, later an event.

    Args:
        events: whole events.
        failed: the event, or events, for what went wrong.
        places: of which it takes one.
    """

    media_type = "text/event-stream"

    def __init__(self, events: Iterator[bytes], failed: Callable[[BaseException], bytes], places: Places) -> None:
        super().__init__(iter(()), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._events = events
        self._failed = failed
        self._places = places

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send events until they end or the client leaves."""
        began = False

        async def write(data: bytes, *, more: bool = True) -> None:
            nonlocal began
            if not began:
                began = True
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": data, "more_body": more})

        try:
            async with contextlib.aclosing(pump(self._events, receive, self._places, PATIENCE)) as events:
                async for event in events:
                    await write(_PING if event is None else event)
        except (ClientLeftError, OSError):
            return
        except Exception as error:
            if not began:
                raise
            log_bug(scope, error)
            await write(self._failed(error))
        await write(b"", more=False)


async def collect(items: Iterator[T], receive: Receive, places: Places) -> list[T]:
    """All items of a blocking iterator; the iterator ends where the client leaves.

    Raises:
        BusyError: there is no place.
        ClientLeftError: the client left.
    """
    async with contextlib.aclosing(pump(items, receive, places)) as pulled:
        return [item async for item in pulled if item is not None]


@contextlib.contextmanager
def _closing(items: Iterator[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


def event(data: Any, name: str | None = None) -> bytes:
    """One server-sent event of JSON."""
    line = f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
    return (f"event: {name}\n{line}" if name else line).encode()
