"""Whose answer is next."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from ragtune.engine.choose import Writing
from ragtune.engine.turns import Asked, Turns
from ragtune.prompts import PromptIds

A, B, C = (Path("a"), 1), (Path("b"), 1), None


def ask(tuned) -> Asked:
    return Asked(PromptIds((), (), 0), Writing(), 1, tuned, 0.0)


def queue(turns: Turns, *tuned) -> list[Asked]:
    asked = [ask(each) for each in tuned]
    for each in asked:
        turns.put(each)
    return asked


def order(turns: Turns) -> list:
    """By whose weights all that wait are answered, if each batch drains."""
    found = []
    while turns:
        asked = turns.next(empty=False) or turns.next(empty=True)
        assert asked is not None
        found.append(asked.tuned)
    return found


def test_alone_an_adapter_has_all_turns_in_the_order_of_arrival():
    turns = Turns(2)
    asked = queue(turns, A, A, A, A, A)
    assert [turns.next(empty=number == 0) for number in range(5)] == asked
    assert turns.next(empty=True) is None
    assert not turns


def test_a_turn_ends_where_another_adapter_waits():
    turns = Turns(2)
    queue(turns, A, A, A, A, A, B, C, B)
    assert order(turns) == [C, A, A, B, B, A, A, A], "the first turn is the base's"


def test_another_turn_waits_until_the_batch_is_empty():
    turns = Turns(2)
    queue(turns, A, B)
    assert turns.next(empty=True).tuned == A
    assert turns.next(empty=False) is None
    queue(turns, A, A)
    assert turns.next(empty=False).tuned == A, "its turn is not over"
    assert turns.next(empty=False) is None
    assert turns.tuned == A
    assert turns.next(empty=True).tuned == B
    assert turns.tuned == B


def test_whoever_comes_always_again_leaves_turns_to_others():
    turns = Turns(3)
    queue(turns, A)
    found = []
    for number in range(20):
        queue(turns, A, *([B] if number == 4 else []))
        found.append((turns.next(empty=False) or turns.next(empty=True)).tuned)
    assert B in found[:8]
    assert found.count(A) == 19


def test_those_nobody_waits_for_are_dropped():
    turns = Turns(2)
    asked = queue(turns, A, B, B)
    asked[0].cancelled = asked[1].cancelled = True
    turns.keep()
    assert list(turns) == [asked[2]]
    assert order(turns) == [B]
