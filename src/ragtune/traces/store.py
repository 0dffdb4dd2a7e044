"""``traces.db``: what was asked and answered, what people thought of it, and the queue of what a person should look at.

Any number of threads and processes may share the file. What ``traces.redact`` names is blanked before anything is written, and what is
older than ``traces.days`` is overwritten. The queue refers to traces and holds no text of its own but notes: who forgets a trace forgets
all of its text, and what was decided on it stays.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ragtune.errors import ProjectError
from ragtune.sqlite import BUSY_SECONDS, use_wal
from ragtune.traces import queue
from ragtune.traces.groundedness import quote_support
from ragtune.traces.records import LEFT, Asker, GroundedBy, Rating, Trace, TracePage, TraceRecord
from ragtune.types import Message, Usage

FORMAT = 1
BLANK = "▮▮▮"
CUT = "…"
LONGEST = 10_000
"""Letters of a text that are kept where something is to be redacted."""
_NEAR_CUT = 200
_TABLES = (
    "CREATE TABLE IF NOT EXISTS traces (id TEXT PRIMARY KEY, at TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, conversation TEXT, "
    "question TEXT NOT NULL, answer TEXT NOT NULL, content TEXT NOT NULL, abstained INTEGER NOT NULL, withheld INTEGER NOT NULL, "
    "confidence REAL, groundedness REAL, grounded_by TEXT, top_score REAL, prompt_tokens INTEGER NOT NULL, "
    "completion_tokens INTEGER NOT NULL, cost REAL, seconds_retrieval REAL NOT NULL, seconds_first_token REAL, "
    "seconds_total REAL NOT NULL, error TEXT)",
    "CREATE INDEX IF NOT EXISTS traces_at ON traces (at)",
    "CREATE TABLE IF NOT EXISTS feedback (trace TEXT PRIMARY KEY REFERENCES traces ON DELETE CASCADE, at TEXT NOT NULL, "
    "rating TEXT NOT NULL, reason TEXT, correction TEXT)",
    "CREATE TABLE IF NOT EXISTS review (id TEXT PRIMARY KEY, trace TEXT NOT NULL, "
    "asked TEXT NOT NULL, why TEXT NOT NULL, state TEXT NOT NULL, at TEXT NOT NULL, times INTEGER NOT NULL, decided TEXT, decided_by TEXT, "
    "note TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS review_asked ON review (asked)",
    "CREATE INDEX IF NOT EXISTS review_trace ON review (trace)",
    "CREATE TRIGGER IF NOT EXISTS review_forgets AFTER DELETE ON traces BEGIN "
    "DELETE FROM review WHERE trace = OLD.id AND state = 'open'; END",
)
_CONTENT = ("markdown", "raw", "history", "citations", "passages", "unsupported", "scores")
_JOINED = "SELECT t.*, f.rating, f.reason, f.correction FROM traces t LEFT JOIN feedback f ON f.trace = t.id"


class TraceStore:
    """A project's traces.

    Args:
        path: the SQLite file; made when it is first written to.
        keep: keep texts; without, only counts, times and names of models and keys are.
        days: after which a trace is forgotten.
        redact: regular expressions; what fits one in something that was asked, answered or said of an answer is not kept.

    Raises:
        ProjectError: the file was written by a newer ragtune.
    """

    def __init__(self, path: Path, *, keep: bool = True, days: float = 90.0, redact: Sequence[str] = ()) -> None:
        self.path = path
        self.keep = keep
        self.days = days
        self._patterns = [re.compile(pattern) for pattern in redact]
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as db:
            use_wal(db)
            (found,) = db.execute("PRAGMA user_version").fetchone()
            if found > FORMAT:
                raise ProjectError(f"{path} is of format {found}, which this version of ragtune cannot read: update ragtune")
            for table in _TABLES:
                db.execute(table)
            db.execute(f"PRAGMA user_version = {FORMAT}")

    def record(self, record: TraceRecord) -> str:
        """Keep a trace, and queue it for review where it should be looked at; gives its id."""
        id_ = f"tr-{secrets.token_hex(8)}"
        support = quote_support(record)
        record = replace(record, at=_time(record.at))
        kept = self.kept(record)
        content = {name: value for name, value in _plain(kept).items() if name in _CONTENT}
        with self.writing() as db:
            db.execute(
                f"INSERT INTO traces VALUES ({', '.join('?' * 21)})",  # noqa: S608 - a number of question marks
                (
                    id_, record.at, record.key, record.model, kept.conversation, kept.question, kept.answer,
                    json.dumps(content, ensure_ascii=False), record.abstained, record.withheld, record.confidence, support,
                    None if support is None else "quotes", max(record.scores, default=None), record.usage.prompt_tokens,
                    record.usage.completion_tokens, record.cost, record.seconds_retrieval, record.seconds_first_token,
                    record.seconds_total, kept.error,
                ),
            )  # fmt: skip
            if self.keep:
                queue.add(db, id_, kept, queue.reasons(kept, support))
        return id_

    def kept(self, record: TraceRecord) -> TraceRecord:
        """What of a record may be kept: with what is to be redacted blanked, or without its texts."""
        return self._redacted(record) if self.keep else _bare(record)

    def find(self, id_: str, *, of: Asker | None = None) -> Trace:
        """One trace.

        Args:
            id_: as :meth:`record` gave it.
            of: whose trace it must be; ``None`` is anyone's.

        Raises:
            ProjectError: there is none.
        """
        with self.reading() as db:
            row = db.execute(f"{_JOINED} WHERE t.id = ?", (id_,)).fetchone()
        if row is None or (of is not None and (row["key"] != of.key or row["at"] < _time(of.since))):
            raise ProjectError(f"there is no trace {id_}: it may be older than traces.days, or deleted")
        return _trace(row)

    def list(
        self,
        *,
        offset: int = 0,
        limit: int = 50,
        query: str = "",
        rating: Rating | None = None,
        model: str | None = None,
        since: str | None = None,
        of: Asker | None = None,
    ) -> TracePage:
        """Traces, the newest first.

        Args:
            offset: passed over.
            limit: given at most.
            query: what stands in the question or the answer, in whatever case.
            rating: only those that were rated so.
            model: only its answers.
            since: ISO 8601; only those asked then or later.
            of: only those that it asked.
        """
        text = query.strip().casefold()
        found = "(instr(casefold(t.question), ?) OR instr(casefold(t.answer), ?))"
        wanted: list[tuple[str, Any]] = [(found, (text, text))] if text else []
        for name, value in (("f.rating", rating), ("t.model", model), ("t.key", of and of.key)):
            wanted += [(f"{name} = ?", (value,))] if value is not None else []
        wanted += [("t.at >= ?", (_time(since),))] if since is not None else []
        wanted += [("t.at >= ?", (_time(of.since),))] if of is not None else []
        where = f" WHERE {' AND '.join(condition for condition, _ in wanted)}" if wanted else ""
        values = [each for _, own in wanted for each in own]
        with self.reading() as db:
            db.create_function("casefold", 1, str.casefold, deterministic=True)  # SQLite's own lower() knows ASCII alone
            counted = f"SELECT COUNT(*) FROM traces t LEFT JOIN feedback f ON f.trace = t.id{where}"  # noqa: S608 - of constants
            (total,) = db.execute(counted, values).fetchone()
            rows = db.execute(f"{_JOINED}{where} ORDER BY t.at DESC, t.rowid DESC LIMIT ? OFFSET ?", [*values, limit, offset]).fetchall()
        return TracePage(tuple(_trace(row) for row in rows), total)

    def rate(self, id_: str, rating: Rating | None, *, reason: str | None = None, correction: str | None = None) -> Trace:
        """Keep what the asker thinks of an answer; ``None`` takes it back. A thumbs down is queued for review.

        Raises:
            ProjectError: there is no such trace.
        """
        found = self.find(id_)
        said = [self._blank(text.strip()) if self.keep and text and text.strip() else None for text in (reason, correction)]
        with self.writing() as db:
            if rating is None:
                db.execute("DELETE FROM feedback WHERE trace = ?", (id_,))
            else:
                at = _time(None)
                db.execute("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?)", (id_, at, rating, *said))
            if rating == "down" and self.keep:
                queue.add(db, id_, found.record, ["thumbs down"])
            elif rating != "down":
                queue.withdraw(db, id_, "thumbs down")
        return replace(found, rating=rating, reason=said[0] if rating else None, correction=said[1] if rating else None)

    def ground(self, id_: str, value: float, by: GroundedBy) -> None:
        """Keep how far an answer rests on its passages, and queue it for review where that is not far.

        Raises:
            ProjectError: there is no such trace.
        """
        found = self.find(id_)
        with self.writing() as db:
            db.execute("UPDATE traces SET groundedness = ?, grounded_by = ? WHERE id = ?", (value, by, id_))
            if queue.is_low(value):
                queue.add(db, id_, found.record, ["low groundedness"])
            else:
                queue.withdraw(db, id_, "low groundedness")

    def delete(self, id_: str) -> None:
        """Forget one trace, with its feedback and its place in the queue; that something was decided on it stays, without its text.

        Raises:
            ProjectError: there is none.
        """
        self.find(id_)
        with self.writing() as db:
            queue.hand_over(db, id_)
            db.execute("DELETE FROM traces WHERE id = ?", (id_,))

    def tidy(self) -> int:
        """Forget what is older than ``days``; how many traces those were."""
        before = (datetime.now(UTC) - timedelta(days=self.days)).isoformat(timespec="microseconds")
        with self.writing() as db:
            db.execute("DELETE FROM review WHERE at < ?", (before,))
            return db.execute("DELETE FROM traces WHERE at < ?", (before,)).rowcount

    def texts(self) -> Iterator[Any]:
        """What traces hold of documents: their passages and citations, as they are kept."""
        with self.reading() as db:
            for (content,) in db.execute("SELECT content FROM traces"):
                yield json.loads(content)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with."""
        with closing(self._connect()) as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection within a transaction, which an exception undoes."""
        with closing(self._connect()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
        return db

    def _blank(self, text: str, longest: int = LONGEST) -> str:
        """With what is to be redacted blanked.

        Patterns may take time that grows with the square of a text's length, so long ones are cut first. What stands just before the cut
        goes too, since a pattern may have seen half of what it is for.
        """
        if not self._patterns:
            return text
        kept = text[:longest]
        for pattern in self._patterns:
            kept = pattern.sub(BLANK, kept)
        return kept if len(text) <= longest else f"{kept[:-_NEAR_CUT]}{CUT}"

    def _blank_history(self, history: Sequence[Message]) -> tuple[Message, ...]:
        """What was said last, as much of it as of any one text."""
        kept: list[Message] = []
        left = LONGEST
        for turn in reversed(history):
            if left <= 0:
                break
            kept.insert(0, Message(turn.role, self._blank(turn.content, left)))
            left -= len(turn.content)
        return tuple(kept)

    def _redacted(self, record: TraceRecord) -> TraceRecord:
        """What people and models wrote, blanked; passages are the documents' own text, which stands in the corpus as well."""
        if not self._patterns:
            return record
        return replace(
            record,
            question=self._blank(record.question),
            history=self._blank_history(record.history),
            answer=self._blank(record.answer),
            markdown=self._blank(record.markdown),
            raw=self._blank(record.raw),
            citations=tuple({**each, "quote": self._blank(str(each["quote"]))} for each in record.citations),
            unsupported=tuple(map(self._blank, record.unsupported)),
            error=None if record.error is None else self._blank(record.error),
            conversation=None if record.conversation is None else self._blank(record.conversation),
        )


def _bare(record: TraceRecord) -> TraceRecord:
    """Without a text."""
    scores, error = record.scores, record.error if record.error in (None, LEFT) else "error"
    return replace(
        record,
        question="",
        history=(),
        answer="",
        markdown="",
        raw="",
        citations=(),
        unsupported=(),
        passages=(),
        scores=scores,
        error=error,
        conversation=None,
    )


def _plain(record: TraceRecord) -> dict[str, Any]:
    history = [{"role": turn.role, "content": turn.content} for turn in record.history]
    return {**{name: getattr(record, name) for name in _CONTENT}, "history": history}


def _time(at: str | None) -> str:
    """ISO 8601 in UTC to the microsecond, so that the order of texts is that of times; ``None`` is now.

    Raises:
        ProjectError: it is no time.
    """
    try:
        parsed = datetime.now(UTC) if at is None else datetime.fromisoformat(at)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):  # of a time that is none in UTC, as on the first day of the year 1
        raise ProjectError(f"{at!r} is no time: write it like 2026-01-31T12:00:00Z") from None


def _trace(row: sqlite3.Row) -> Trace:
    content = json.loads(row["content"])
    record = TraceRecord(
        at=row["at"],
        model=row["model"],
        question=row["question"],
        key=row["key"],
        history=tuple(Message(**turn) for turn in content["history"]),
        answer=row["answer"],
        markdown=content["markdown"],
        raw=content["raw"],
        abstained=bool(row["abstained"]),
        withheld=bool(row["withheld"]),
        confidence=row["confidence"],
        citations=tuple(content["citations"]),
        unsupported=tuple(content["unsupported"]),
        passages=tuple(content["passages"]),
        scores=tuple(content["scores"]),
        usage=Usage(row["prompt_tokens"], row["completion_tokens"]),
        cost=row["cost"],
        seconds_retrieval=row["seconds_retrieval"],
        seconds_first_token=row["seconds_first_token"],
        seconds_total=row["seconds_total"],
        error=row["error"],
        conversation=row["conversation"],
    )
    return Trace(row["id"], record, row["groundedness"], row["grounded_by"], row["rating"], row["reason"], row["correction"])
