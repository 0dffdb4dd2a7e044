"""The queue: what gets in and why, each question once, and what a decision does."""

from __future__ import annotations

from pathlib import Path

import pytest

from made_traces import GOOD, trace
from ragtune.errors import ProjectError
from ragtune.traces import queue
from ragtune.traces.groundedness import quote_support
from ragtune.traces.store import TraceStore
from ragtune.types import Message


@pytest.fixture
def store(tmp_path: Path) -> TraceStore:
    return TraceStore(tmp_path / "traces.db", days=36500)


def whys(store: TraceStore) -> list[tuple[str, ...]]:
    return [item.why for item in queue.items(store).items]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, []),
        ({"error": "busy", "confidence": 0.1}, []),
        ({"abstained": True, "confidence": 0.1}, [("unanswered",)]),
        ({"withheld": True, "abstained": True}, [("unanswered",)]),
        ({"abstained": True, "review": False}, []),
        ({"confidence": 0.4}, [("low confidence",)]),
        ({"answer": "by donkey"}, [("low groundedness",)]),
        ({"answer": "by donkey", "confidence": 0.2}, [("low groundedness", "low confidence")]),
    ],
)
def test_what_should_be_looked_at_is_queued_with_its_reasons(store: TraceStore, changes: dict, why: list) -> None:
    store.record(trace(**changes))
    assert whys(store) == why


def test_a_thumbs_down_is_queued_with_what_was_said_and_can_be_taken_back(store: TraceStore) -> None:
    id_ = store.record(GOOD)
    store.rate(id_, "down", reason=" too long ", correction="40 minutes")
    (item,) = queue.items(store).items
    assert (item.trace, item.why, item.reason, item.correction) == (id_, ("thumbs down",), "too long", "40 minutes")
    assert item.passages == GOOD.passages
    store.rate(id_, "up")
    assert whys(store) == []
    store.rate(id_, None)
    assert store.find(id_).rating is None
    unsure = store.record(trace(confidence=0.1))
    store.rate(unsure, "down")
    store.rate(unsure, None)
    assert whys(store) == [("low confidence",)]


def test_a_question_is_queued_once_however_it_is_written(store: TraceStore) -> None:
    first = store.record(trace(abstained=True))
    store.rate(first, "down", correction="forty")
    store.record(trace(question="how long, is the CROSSING", confidence=0.1))
    (item,) = queue.items(store).items
    assert item.why == ("unanswered", "thumbs down", "low confidence")
    assert (item.trace, item.times, item.correction) == (first, 2, "forty"), "what a person said is not lost to a newer answer"
    store.record(trace(abstained=True, history=(Message("user", "Is there a bus?"),)))
    assert queue.items(store).open == 2, "after something else was said it is another question"


def test_what_was_decided_is_not_asked_again_but_for_a_new_complaint(store: TraceStore) -> None:
    store.record(trace(abstained=True))
    (item,) = queue.items(store).items
    queue.decide(store, item.id, "dismissed", at="2026-11-21T00:00:00+00:00", by="ada", note="not ours")
    again = store.record(trace(abstained=True))
    page = queue.items(store)
    assert (page.items, page.open) == ((), 0)
    (closed,) = queue.items(store, "dismissed").items
    assert (closed.by, closed.note, closed.state) == ("ada", "not ours", "dismissed")
    with pytest.raises(ProjectError, match="was dismissed on 2026-11-21"):
        queue.decide(store, item.id, "accepted", at="2026-11-22T00:00:00+00:00", by="bob")
    store.rate(again, "down")
    assert whys(store) == [("thumbs down",)]
    with pytest.raises(ProjectError, match="nothing to review called"):
        queue.find(store, "re-0")


def test_who_asked_can_forget_a_trace_and_what_others_said_and_what_was_decided_stays(store: TraceStore) -> None:
    decided = store.record(trace(abstained=True, question="Who is Mallory?"))
    (item,) = queue.items(store).items
    queue.decide(store, item.id, "dismissed", at="2026-11-21T00:00:00+00:00", by="ada", note="not ours")
    theirs, own, alone = store.record(GOOD), store.record(GOOD), store.record(trace(abstained=True, question="When?"))
    store.rate(theirs, "down", reason="slow")
    store.rate(own, "down", reason="wrong")
    for id_ in (decided, own, alone):
        store.delete(id_)
    (left,) = queue.items(store).items
    assert (left.trace, left.reason, left.why) == (theirs, "slow", ("thumbs down",))
    kept = queue.find(store, item.id)
    assert (kept.state, kept.by, kept.note, kept.question, kept.answer, kept.passages) == ("dismissed", "ada", "not ours", "", "", ())
    store.record(trace(abstained=True, question="Who is Mallory?"))
    assert queue.items(store).open == 1, "what was decided is not asked again"
    store.days = 0
    store.tidy()
    assert queue.items(store, None).total == 0


def test_a_judge_can_clear_what_counting_words_found_and_find_more(store: TraceStore) -> None:
    other_words = store.record(trace(answer="two thirds of an hour"))
    invented = store.record(trace(question="Is it dear?"))
    assert whys(store) == [("low groundedness",)]
    store.ground(other_words, 1.0, "judge")
    store.ground(invented, 0.25, "judge")
    (item,) = queue.items(store).items
    assert (item.trace, item.why) == (invented, ("low groundedness",))
    assert store.find(other_words).grounded_by == "judge"


@pytest.mark.parametrize(
    ("changes", "support"),
    [
        ({}, 1.0),
        ({"answer": "forty long minutes"}, 0.6667),
        ({"unsupported": ("It flies.",)}, 0.5),
        ({"citations": (), "unsupported": ("It flies.",)}, 0.0),
        ({"citations": (), "answer": "crossing times"}, 1.0),  # nothing is quoted: the passage and its heading
        ({"citations": (), "passages": (), "answer": "forty"}, None),  # a plain chat
        ({"abstained": True}, None),
        ({"answer": "…"}, None),
    ],
)
def test_quote_support_is_the_share_of_words_that_are_quoted(changes: dict, support: float | None) -> None:
    assert quote_support(trace(**changes)) == support
