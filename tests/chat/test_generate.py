"""Many prompts at once: bounded, in any order, and what was on its way at an error is not lost."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from faults import openai_error, openai_reply
from ragtune.chat.generate import generate, side_by_side
from ragtune.errors import KeyRefusedError
from ragtune.types import Message
from waiting import PATIENCE_S


def test_no_more_than_concurrency_are_on_their_way():
    lock, now, most, first = threading.Lock(), 0, 0, threading.Barrier(3)

    def work(item):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        if item < 3:
            first.wait(PATIENCE_S)  # until the others are on their way too
        time.sleep(0.01)
        with lock:
            now -= 1
        return item * 2

    assert dict(side_by_side(work, range(20), 3)) == {item: item * 2 for item in range(20)}
    assert most == 3


def test_results_come_as_they_end():
    given, order = threading.Event(), []
    for item, _ in side_by_side(lambda item: item == "quick" or given.wait(PATIENCE_S), ["slow", "quick"], 2):
        order.append(item)
        given.set()
    assert order == ["quick", "slow"]


def test_items_are_taken_as_they_are_needed():
    taken = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    results = side_by_side(lambda item: item, items(), 2)
    next(results)
    results.close()
    assert len(taken) <= 4


@pytest.fixture
def stop(monkeypatch):
    """Set as soon as the first error is known."""
    event = threading.Event()
    monkeypatch.setattr("ragtune.chat.generate.threading", SimpleNamespace(Event=lambda: event))
    return event


def test_nothing_is_begun_after_the_first_error(stop):
    begun = []

    def work(item):
        begun.append(item)
        if item == 1:
            raise ValueError("first")
        assert stop.wait(PATIENCE_S)
        return item

    with pytest.raises(ValueError, match="first"):
        list(side_by_side(work, range(100), 2))
    assert sorted(begun) == [0, 1]


def test_what_ends_after_an_error_is_still_given(stop):
    given = []

    def work(item):
        if item == 1:
            raise ValueError("first")
        assert stop.wait(PATIENCE_S)
        return item

    with pytest.raises(ValueError, match="first"):
        given.extend(item for item, _ in side_by_side(work, range(2), 2))
    assert given == [0]


def test_equal_prompts_are_asked_once(faults, openai_chat):
    faults.script(openai_reply())
    prompts = [[Message("user", text)] for text in ("a", "b", "a")]
    answers = dict(generate(openai_chat(), prompts, concurrency=2))
    assert [answers[index].text for index in range(3)] == ["Paris."] * 3
    assert len(faults.requests) == 2
    assert (answers[0].prompt_tokens, answers[0].completion_tokens) == (20, 5)


def test_a_refused_or_too_long_prompt_has_an_empty_answer(faults, openai_chat):
    def answer(request):
        match request.body["messages"][0]["content"]:
            case "refused":
                return openai_reply(None, refusal="no")
            case "long":
                return openai_error(400, "maximum context length", "context_length_exceeded")
            case _:
                return openai_reply()

    faults.script(answer)
    answers = dict(generate(openai_chat(), [[Message("user", text)] for text in ("refused", "long", "good")]))
    assert [(answers[index].text, answers[index].finished) for index in range(3)] == [("", False), ("", False), ("Paris.", True)]


def test_a_refused_key_stops_everything(faults, openai_chat):
    faults.script(openai_error(401, "Incorrect API key provided", "invalid_api_key"))
    with pytest.raises(KeyRefusedError):
        list(generate(openai_chat(), [[Message("user", str(n))] for n in range(50)], concurrency=2))
    assert len(faults.requests) <= 4
