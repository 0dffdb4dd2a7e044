"""The queue of questions that a person should look at: who gets in and why, each question once, and what was decided.

A question that was decided on is not queued again for what ragtune notices by itself, and it is when a person rates it down anew.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ragtune.conversation import search_text
from ragtune.errors import ProjectError
from ragtune.traces.groundedness import LOW
from ragtune.traces.records import ItemState, ReviewItem, ReviewPage, TraceRecord, Why
from ragtune.types import Message

if TYPE_CHECKING:
    from ragtune.traces.store import TraceStore

UNSURE = 0.5
"""Probability that the passages hold the answer below which an answer is worth a look: it is likelier that they do not."""
_WORD = re.compile(r"\w+")
_ITEMS = (
    "SELECT r.*, t.question, t.answer, t.content, f.reason, f.correction FROM review r LEFT JOIN traces t ON t.id = r.trace "
    "LEFT JOIN feedback f ON f.trace = r.trace"
)


def reasons(record: TraceRecord, groundedness: float | None) -> list[Why]:
    """Why a person should look at an answer; nothing where nobody need."""
    if record.error is not None or not record.review:
        return []
    if record.abstained or record.withheld:
        return ["unanswered"]
    why: list[Why] = []
    if groundedness is not None and is_low(groundedness):
        why.append("low groundedness")
    if record.confidence is not None and record.confidence < UNSURE:
        why.append("low confidence")
    return why


def is_low(groundedness: float) -> bool:
    """Whether an answer rests on too little."""
    return groundedness < LOW


def add(db: sqlite3.Connection, trace: str, record: TraceRecord, why: Sequence[Why]) -> None:
    """Queue a question, or add to why it is there; within a transaction."""
    if not why:
        return
    asked = _asked(record)
    found = db.execute("SELECT * FROM review WHERE asked = ? ORDER BY state = 'open' DESC LIMIT 1", (asked,)).fetchone()
    if found is None or (found["state"] != "open" and "thumbs down" in why):
        values = (f"re-{secrets.token_hex(6)}", trace, asked, json.dumps(list(why)), record.at)
        db.execute("INSERT INTO review VALUES (?, ?, ?, ?, 'open', ?, 1, NULL, NULL, '')", values)
    elif found["state"] == "open":
        both = list(dict.fromkeys([*json.loads(found["why"]), *why]))
        # What a person said of an answer is shown rather than a newer answer that nobody said anything of.
        rated = db.execute("SELECT 1 FROM feedback WHERE trace = ? AND rating = 'down'", (found["trace"],)).fetchone()
        shown = found["trace"] if rated and "thumbs down" not in why else trace
        again = trace != found["trace"]
        db.execute(
            "UPDATE review SET why = ?, trace = ?, at = MAX(at, ?), times = times + ? WHERE id = ?",
            (json.dumps(both), shown, record.at, again, found["id"]),
        )


def withdraw(db: sqlite3.Connection, trace: str, why: Why) -> None:
    """Take back one reason for which a trace was queued; without any other it leaves the queue. Within a transaction."""
    for row in db.execute("SELECT id, why FROM review WHERE trace = ? AND state = 'open'", (trace,)).fetchall():
        left = [each for each in json.loads(row["why"]) if each != why]
        if left:
            db.execute("UPDATE review SET why = ? WHERE id = ?", (json.dumps(left), row["id"]))
        else:
            db.execute("DELETE FROM review WHERE id = ?", (row["id"],))


def hand_over(db: sqlite3.Connection, trace: str) -> None:
    """Before a trace is forgotten, have what is open on it show another that asked the same and was rated down. Within a transaction."""
    for item in db.execute("SELECT id, asked FROM review WHERE trace = ? AND state = 'open'", (trace,)).fetchall():
        others = db.execute(
            "SELECT t.id, t.question, t.content FROM traces t JOIN feedback f ON f.trace = t.id WHERE f.rating = 'down' AND t.id != ? "
            "ORDER BY t.at DESC",
            (trace,),
        )
        for other in others:
            history = [Message(**turn) for turn in json.loads(other["content"])["history"]]
            if _hash(other["question"], history) == item["asked"]:
                db.execute("UPDATE review SET trace = ?, why = ? WHERE id = ?", (other["id"], json.dumps(["thumbs down"]), item["id"]))
                break


def items(store: TraceStore, state: ItemState | None = "open", *, offset: int = 0, limit: int = 50) -> ReviewPage:
    """The queue, what was asked last first.

    Args:
        store: of the traces.
        state: only items in it; ``None`` is any.
        offset: passed over.
        limit: given at most.
    """
    where, values = ("", ()) if state is None else (" WHERE r.state = ?", (state,))
    with store.reading() as db:
        rows = db.execute(f"{_ITEMS}{where} ORDER BY r.at DESC, r.rowid DESC LIMIT ? OFFSET ?", (*values, limit, offset)).fetchall()
        counts = dict(db.execute("SELECT state, COUNT(*) FROM review GROUP BY state").fetchall())
    total = sum(counts.values()) if state is None else counts.get(state, 0)
    return ReviewPage(tuple(map(_item, rows)), total, counts.get("open", 0))


def find(store: TraceStore, id_: str) -> ReviewItem:
    """One item.

    Raises:
        ProjectError: there is none.
    """
    with store.reading() as db:
        row = db.execute(f"{_ITEMS} WHERE r.id = ?", (id_,)).fetchone()
    if row is None:
        raise ProjectError(f"there is nothing to review called {id_}: 'ragtune review list' shows what there is")
    return _item(row)


def decide(store: TraceStore, id_: str, state: Literal["accepted", "dismissed"], *, at: str, by: str, note: str = "") -> ReviewItem:
    """Close an item.

    Raises:
        ProjectError: there is none, or it is closed already.
    """
    with store.writing() as db:
        closed = db.execute(
            "UPDATE review SET state = ?, decided = ?, decided_by = ?, note = ? WHERE id = ? AND state = 'open'", (state, at, by, note, id_)
        ).rowcount
    found = find(store, id_)
    if not closed:
        raise ProjectError(f"{id_} was {found.state} on {(found.decided or '')[:10]}: 'ragtune review list' shows what is open")
    return found


def _asked(record: TraceRecord) -> str:
    return _hash(record.question, record.history)


def _hash(question: str, history: Sequence[Message]) -> str:
    """Hash of the words that were asked, so that case and punctuation make no other question of it, nor is its text kept twice."""
    words = " ".join(_WORD.findall(search_text(question, history).casefold()))
    return hashlib.sha256(words.encode()).hexdigest()[:32]


def _item(row: sqlite3.Row) -> ReviewItem:
    forgotten = row["content"] is None  # by who asked, after it was decided on
    content = {"history": (), "passages": ()} if forgotten else json.loads(row["content"])
    return ReviewItem(
        id=row["id"],
        trace=row["trace"],
        question=row["question"] or "",
        history=tuple(Message(**turn) for turn in content["history"]),
        answer=row["answer"] or "",
        why=tuple(json.loads(row["why"])),
        reason=row["reason"],
        correction=row["correction"],
        passages=tuple(content["passages"]),
        state=row["state"],
        at=row["at"],
        times=row["times"],
        decided=row["decided"],
        by=row["decided_by"],
        note=row["note"],
    )
