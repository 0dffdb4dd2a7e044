"""Places and threads of answers, without a server around them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ragtune.errors import BusyError
from ragtune.serve.streams import ClientLeftError, Places, collect
from waiting import PATIENCE_S


async def leave() -> dict[str, Any]:
    await asyncio.sleep(0.05)
    return {"type": "http.disconnect"}


async def stay() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


def test_whoever_leaves_keeps_the_place_until_the_thread_has_ended():
    done = threading.Event()

    def hangs() -> Iterator[int]:
        assert done.wait(PATIENCE_S)
        yield 1

    async def run() -> None:
        places = Places(1, 0)
        with pytest.raises(ClientLeftError):
            await collect(hangs(), leave, places)
        assert places.taken == 1
        with pytest.raises(BusyError):
            await collect(iter([1]), stay, places)
        done.set()
        await until(lambda: places.taken == 0)
        for _ in range(50):  # whoever has the whole answer may ask again at once
            assert await collect(iter([1, 2]), stay, places) == [1, 2]

    asyncio.run(run())


def test_nothing_is_begun_for_whoever_left_before():
    begun: list[int] = []

    def items() -> Iterator[int]:
        begun.append(1)
        yield 1

    async def run() -> None:
        held: list[Callable[[], object]] = []
        places = Places(1, 1)
        places.start = lambda work, _: held.append(work)  # type: ignore[method-assign]
        with pytest.raises(ClientLeftError):
            await collect(items(), leave, places)
        held[0]()

    asyncio.run(run())
    assert begun == []


def test_a_thread_that_hangs_does_not_hold_up_the_end_of_the_process():
    program = """
import asyncio, time
from ragtune.serve.streams import ClientLeftError, Places, collect

def hangs():
    time.sleep(3600)
    yield 1

async def leave():
    return {"type": "http.disconnect"}

async def run():
    places = Places(1, 1)
    try:
        await collect(hangs(), leave, places)
    except ClientLeftError:
        places.close()
        print("closed")

asyncio.run(run())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr
