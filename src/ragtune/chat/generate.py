"""Many prompts to a chat model at once: what an evaluation needs of an engine, over any chat model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TypeVar

from ragtune.errors import ContextOverflowError, RefusalError
from ragtune.hosted.waiting import threads
from ragtune.protocols import ChatModel
from ragtune.types import Generation, Message

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Iterable[T], concurrency: int) -> Iterator[tuple[T, R]]:
    """Do the same with many items in threads, as ``(item, result)`` in the order in which they end.

    At the first error no further item is begun; those on their way are waited for, so that what they bring is not lost, and it is raised.
    After an interrupt nothing is tried again either: only requests that are on their way are waited for.
    """
    stop = threading.Event()

    def guarded(item: T) -> tuple[T, R]:
        if stop.is_set():
            raise _NotBegunError
        try:
            return item, work(item)
        except BaseException:
            stop.set()
            raise

    left = iter(items)
    pending: set[Future[tuple[T, R]]] = set()
    failure: BaseException | None = None
    with threads(concurrency) as pool:
        try:
            while True:
                while len(pending) < 2 * concurrency and not stop.is_set():
                    try:
                        item = next(left)
                    except StopIteration:
                        break
                    pending.add(pool.submit(guarded, item))
                if not pending:
                    break
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if error is None:
                        yield future.result()
                    elif not isinstance(error, _NotBegunError):
                        failure = failure or error
        finally:
            stop.set()
    if failure is not None:
        raise failure


def generate(
    chat: ChatModel, prompts: Sequence[Sequence[Message]], *, max_new_tokens: int = 96, concurrency: int = 4
) -> Iterator[tuple[int, Generation]]:
    """Answers as ``(index, generation)`` in the order in which they come; equal prompts are asked once.

    A prompt that the model declines to answer, or that does not fit it, has an empty answer: in a comparison that is a wrong one.
    """
    places: dict[tuple[Message, ...], list[int]] = {}
    for index, prompt in enumerate(prompts):
        places.setdefault(tuple(prompt), []).append(index)

    def answer(prompt: tuple[Message, ...]) -> Generation:
        try:
            reply = chat.complete(prompt, max_tokens=max_new_tokens)
        except RefusalError as error:
            return Generation("", *(error.tokens or (0, 0)), 0.0, finished=False, cost=error.cost)
        except ContextOverflowError:
            return Generation("", 0, 0, 0.0, finished=False, cost=0.0)
        usage = reply.usage
        return Generation(reply.text, usage.prompt_tokens, usage.completion_tokens, reply.seconds, reply.finished, None, reply.cost)

    for prompt, generation in side_by_side(answer, places, concurrency):
        for index in places[prompt]:
            yield index, generation


class _NotBegunError(Exception):
    """An item that was not begun, because another one failed."""
