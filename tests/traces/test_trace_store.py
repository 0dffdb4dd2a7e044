"""Traces: what goes in comes back, what must not be kept is nowhere in the file, and any number of writers share it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from made_traces import GOOD, trace
from ragtune.config import load_settings
from ragtune.errors import ConfigError, ProjectError
from ragtune.traces import queue, summary
from ragtune.traces.records import Asker
from ragtune.traces.store import BLANK, LONGEST, TraceStore
from ragtune.types import Message
from waiting import PATIENCE_S


@pytest.fixture
def store(tmp_path: Path) -> TraceStore:
    return TraceStore(tmp_path / "traces.db", days=36500)


def bytes_of(store: TraceStore) -> str:
    return "".join(path.read_bytes().decode(errors="replace") for path in store.path.parent.glob("traces.db*"))


def test_a_trace_comes_back_as_it_was_recorded(store: TraceStore) -> None:
    made = trace(history=(Message("user", "Is there a ferry?"), Message("assistant", "Yes.")), unsupported=("It flies.",))
    found = store.find(store.record(made))
    assert found.record == trace(at="2026-11-20T10:15:00.000000+00:00", history=made.history, unsupported=made.unsupported), (
        "times are brought into one form"
    )
    assert (found.groundedness, found.grounded_by) == (0.5, "quotes"), "one of two quotes is real"
    assert found.whole()["seconds"] == {"retrieval": 0.02, "first_token": 0.1, "total": 0.5}
    assert found.summary()["tokens"] == 212


def test_traces_are_listed_by_what_is_asked_for(store: TraceStore) -> None:
    first = store.record(trace(at="2026-11-20T10:00:00Z", question="Is it 100% wool?", key="a"))
    second = store.record(trace(at="2026-11-21T10:00:00Z", model="base", answer="a b_c", key="b"))
    store.rate(second, "up")

    def listed(**asked: object) -> list[str]:
        page = store.list(**asked)  # type: ignore[arg-type]
        assert page.total == len(page.traces)
        return [each.id for each in page.traces]

    assert listed() == [second, first]
    assert listed(query="100%") == [first]
    assert listed(query="b_c") == [second]
    assert listed(query="_") == [second], "no wildcard of SQL's"
    umlaut = store.record(trace(question="Wer hat Ärger mit der Fähre?"))
    assert listed(query="Ärger") == listed(query="ÄRGER") == listed(query="fäHRE") == [umlaut]
    store.delete(umlaut)
    assert listed(rating="up") == [second]
    assert listed(model="tuned") == [first]
    assert listed(of=Asker("a", "2026-11-20T12:00:00+02:00")) == [first]
    assert listed(of=Asker("a", "2026-11-20T10:00:01Z")) == [], "of an earlier key of that name"
    assert listed(since="2026-11-20T12:00:00") == [second]
    assert [each.id for each in store.list(offset=1, limit=1).traces] == [first]
    assert store.list(offset=1, limit=1).total == 2
    with pytest.raises(ProjectError, match="no time"):
        store.list(since="yesterday")


def test_another_keys_trace_is_not_there(store: TraceStore) -> None:
    id_ = store.record(GOOD)
    with pytest.raises(ProjectError, match="there is no trace"):
        store.find(id_, of=Asker("other", "2026-01-01T00:00:00+00:00"))
    with pytest.raises(ProjectError, match="there is no trace"):
        store.find(id_, of=Asker("desk", "2026-11-20T10:15:01+00:00"))
    assert store.find(id_, of=Asker("desk", "2026-11-20T10:15:00+00:00")).id == id_
    store.delete(id_)
    with pytest.raises(ProjectError, match="there is no trace"):
        store.find(id_)


def test_what_is_to_be_redacted_is_never_written(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces.db", redact=(r"\d{4}-\d{4}", "(?i)mallory"))
    said = "Card 1234-5678 of Mallory"
    quoted = {"number": 1, "quote": said, "document": "a.md", "title": "", "start": 0, "end": 5, "page": None}
    id_ = store.record(
        trace(
            question=said, answer=said, markdown=said, raw=said, history=(Message("user", said),), citations=(quoted,), unsupported=(said,)
        )
    )
    store.record(trace(question=said, error=f"no answer to {said}", conversation=said))
    store.rate(id_, "down", reason=said, correction=said)
    text = bytes_of(store).lower()
    assert "mallory" not in text
    assert "1234-5678" not in text
    assert store.find(id_).record.question == f"Card {BLANK} of {BLANK}"
    assert store.find(id_).correction == f"Card {BLANK} of {BLANK}"


def test_a_pattern_sees_no_more_of_a_text_than_is_kept(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces.db", redact=(r"\d{4}-\d{4}",))
    long = "a" * (LONGEST - 7) + "1234-5678"
    turns = (Message("user", "first"), Message("user", long), Message("assistant", "last"))
    found = store.find(store.record(trace(question=long, raw="b" * 500_000, history=turns))).record
    assert found.question == "a" * (LONGEST - 200) + "…", "of what the cut falls into, nothing is kept"
    assert len(found.raw) <= LONGEST
    assert [(turn.role, turn.content[-1]) for turn in found.history] == [("user", "…"), ("assistant", "t")]
    assert sum(len(turn.content) for turn in found.history) <= LONGEST
    assert "1234" not in bytes_of(store)
    untouched = TraceStore(tmp_path / "other" / "traces.db")
    assert untouched.find(untouched.record(trace(question=long))).record.question == long


@pytest.mark.parametrize(("pattern", "message"), [("(", "no regular expression"), ("a*", "fits everywhere")])
def test_a_pattern_that_cannot_be_meant_is_refused(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(tmp_path, [f'traces.redact=["{pattern}"]'])


def test_without_keep_only_figures_are_there(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces.db", keep=False)
    id_ = store.record(trace(abstained=True, history=(Message("user", "Is there a ferry?"),)))
    store.record(trace(error="the model said: crossing", conversation="about the ferry"))
    store.rate(id_, "down", reason="the ferry is slow", correction="forty")
    text = bytes_of(store)
    for words in ("crossing", "ferry", "forty"):
        assert words not in text
    found = store.find(id_)
    assert (found.record.seconds_total, found.record.usage, found.rating, found.record.scores) == (0.5, GOOD.usage, "down", (1.5, 0.4))
    assert queue.items(store).total == 0, "a queue without questions helps nobody"


def test_what_is_too_old_is_forgotten_and_overwritten(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    store = TraceStore(tmp_path / "traces.db", days=30)
    old = store.record(trace(at=(now - timedelta(days=29)).isoformat(), question="Where is the quillwort?", abstained=True))
    store.rate(old, "down", correction="by the quillwort")
    store.record(trace(at=now.isoformat()))
    store.days = 28
    assert store.tidy() == 1
    assert [each.record.question for each in store.list().traces] == [GOOD.question]
    assert queue.items(store, None).total == 0
    with closing(sqlite3.connect(store.path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert "quillwort" not in bytes_of(store)


def test_threads_and_another_process_write_at_once(store: TraceStore) -> None:
    code = (
        "import sys; from pathlib import Path; from made_traces import trace; from ragtune.traces.store import TraceStore\n"
        "store = TraceStore(Path(sys.argv[1]), days=36500)\n"
        "for n in range(40): store.rate(store.record(trace(question=f'other {n}?')), 'down')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", code, str(store.path)], env=environment) as other:
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(lambda n: store.record(trace(question=f"question {n}?", abstained=True)), range(80)))
        assert other.wait(PATIENCE_S) == 0
    assert len(set(ids)) == 80
    assert store.list().total == 120
    assert queue.items(store).total == 120


def test_a_file_of_a_newer_version_is_refused(store: TraceStore) -> None:
    with closing(sqlite3.connect(store.path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ProjectError, match="update ragtune"):
        TraceStore(store.path)


def test_hours_count_what_was_asked_in_them(store: TraceStore) -> None:
    for second in range(20):
        store.record(trace(at=f"2026-11-20T10:00:{second:02}Z", seconds_total=float(second)))
    store.record(trace(at="2026-11-20T10:30:00Z", abstained=True, seconds_total=0.5))
    store.rate(store.record(trace(at="2026-11-20T12:00:00Z")), "up")
    store.record(trace(at="2026-11-20T12:01:00Z", error="busy"))
    hours, totals = summary.hours(store, datetime(2026, 11, 20, 9, tzinfo=UTC), datetime(2026, 11, 20, 13, 30, tzinfo=UTC))
    assert [(hour.at[11:13], hour.answers, hour.abstained, hour.errors) for hour in hours] == [
        ("10", 21, 1, 0), ("11", 0, 0, 0), ("12", 1, 0, 1), ("13", 0, 0, 0),
    ]  # fmt: skip
    assert (hours[0].seconds_p50, hours[0].seconds_p95, hours[1].seconds_p50) == (9.0, 18.0, None)
    assert hours[0].cost == pytest.approx(0.021)
    assert (totals["answers"], totals["up"], totals["tokens"]) == (22, 1, 22 * 212)
    assert totals["groundedness"] == 1.0
    assert totals["top_score"] == 1.5
