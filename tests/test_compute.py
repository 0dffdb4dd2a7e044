"""In which thread something is computed."""

from __future__ import annotations

import contextvars
import threading

import pytest

from ragtune.compute import Computing, in_own_thread

_SAID: contextvars.ContextVar[str] = contextvars.ContextVar("said", default="nothing")


def test_what_is_computed_apart_leaves_no_thread_and_knows_the_callers_context() -> None:
    _SAID.set("hello")
    thread, said = in_own_thread(lambda: (threading.current_thread(), _SAID.get()))
    assert thread is not threading.current_thread()
    assert not thread.is_alive()
    assert said == "hello"


def test_an_error_reaches_the_caller() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_own_thread(fail)


def test_one_computation_follows_another() -> None:
    compute, running, most = Computing(), [0], []
    begin = threading.Barrier(4)

    def work() -> None:
        running[0] += 1
        most.append(running[0])
        threading.Event().wait(0.01)
        running[0] -= 1

    def ask() -> None:
        begin.wait()
        compute(work)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert most == [1, 1, 1, 1]
