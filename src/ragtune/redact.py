"""Find and blank what stands in some texts and in no others, in JSON, pages and SQLite files.

A run of words counts where it is of the texts to be forgotten and of none that stay: five words, two, or a single one that is long enough
to say something. So names go that only a forgotten text had, and what other documents say as well is left.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from ragtune.sqlite import BUSY_SECONDS, forget_pages
from ragtune.workspace import write_bytes

BLANK = "[purged]"
_WORD = re.compile(r"\w+")
_LONG, _SHORT = (5,), (2, 1)  # words in a run
_LETTERS = {1: 4, 2: 7}  # a run of so few words needs as many letters
# names and numbers that files refer to each other by
_REFERENCES = frozenset(
    {"id", "key", "group", "document", "source", "oracles", "passages", "passage", "chunk_ids", "split", "stratum", "kind", "model", "arm"}
    | {"context", "name", "file", "format"}
)
_FIGURES = frozenset({"manifest.json", "report.json", "job.json", "plan.json", "ingest.json"})  # little but figures: long runs only
_CACHES = {"generations": "generation", "replies": "reply"}  # rows that are made again where they are missed
_SPOKEN = {  # of traces, what was said: an answer is often but a name
    "traces": {"question", "answer", "content", "error"},
    "feedback": {"reason", "correction"},
    "review": {"note"},
}
_RETRIEVAL = "retrieval-"  # folders of reports that show what was found, headings and first words
_WORDS = re.compile(r"(<style.*?</style>|<script.*?</script>)|(?<=>)([^<>]+)(?=<)", re.DOTALL)
_DATA = re.compile(r'(<script type="application/json"[^>]*>)(.*?)(</script>)', re.DOTALL)
_PLAIN = re.compile(r"<noscript>.*?</noscript>", re.DOTALL)  # what a page shows without a script: the same texts as its data
_TEXTS = frozenset({".html", ".md", ".txt", ".csv"})

_Run = tuple[str, ...]


class Forgotten:
    """What is to be forgotten.

    Args:
        texts: that hold it.
        others: texts that stay; read once, one at a time.
    """

    def __init__(self, texts: Iterable[str], others: Iterable[str]) -> None:
        self._runs: set[_Run] = set()
        self._whole: set[_Run] = set()  # texts too short for a long run
        for text in texts:
            words = _words(text)
            self._runs.update(run for size in _LONG + _SHORT for run in _runs(words, size))
            if len(words) < min(_LONG):
                self._whole.add(tuple(words))
        for text in others:
            words = _words(text)
            for size in {*_LONG, *_SHORT, *map(len, self._whole)}:
                found = set(_runs(words, size, every=True))
                self._runs -= found
                self._whole -= found

    def blank(self, text: str, *, short: bool = True) -> tuple[str, int]:
        """The text with every such run blanked, and how many stretches there were.

        Args:
            text: any.
            short: count runs of one and two words, too.
        """
        matches = list(_WORD.finditer(text))
        words = [match[0].casefold() for match in matches]
        marked = [False] * len(words)
        for runs, sizes in ((self._runs, _LONG + _SHORT if short else _LONG), (self._whole, tuple({len(run) for run in self._whole}))):
            for size in sizes:
                for at in range(len(words) - size + 1):
                    if tuple(words[at : at + size]) in runs:
                        marked[at : at + size] = [True] * size
        parts, end, count = [], 0, 0
        at = 0
        while at < len(words):
            if not marked[at]:
                at += 1
                continue
            last = at
            while last + 1 < len(words) and marked[last + 1]:
                last += 1
            parts += [text[end : matches[at].start()], BLANK]
            end, count, at = matches[last].end(), count + 1, last + 1
        return ("".join([*parts, text[end:]]), count) if count else (text, 0)

    def blank_file(self, path: Path, *, write: bool) -> int:
        """Blank a file of a workspace, whole or not at all; how many stretches there are.

        Args:
            path: JSON, JSON Lines, a page, a text or a SQLite file; others are passed over.
            write: change it; else only count.
        """
        if path.suffix == ".db":
            return self._blank_database(path, write=write)
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            return 0
        retrieval = path.parent.name.startswith(_RETRIEVAL)
        short = path.name not in _FIGURES or retrieval
        if path.suffix == ".jsonl":
            lines = [self._blank_json(line, short=short) for line in text.split("\n")]
            new, count = "\n".join(line for line, _ in lines), sum(n for _, n in lines)
        elif path.suffix == ".json":
            new, count = self._blank_json(text, short=short)
        elif path.suffix in _TEXTS:
            new, count = self._blank_page(text, words=retrieval)
        else:
            return 0
        if count and write:
            write_bytes(path, new.encode())
        return count

    def _blank_page(self, text: str, *, words: bool) -> tuple[str, int]:
        """Data in a page as JSON, and its plain list; of the rest long runs only, for it speaks of other things as well.

        Args:
            text: of the page.
            words: short runs, too, in what it shows.
        """
        count = 0

        def blank_words(match: re.Match[str]) -> str:
            nonlocal count
            if match[1]:
                return match[1]
            new, n = self.blank(match[2])
            count += n
            return new

        def blank_data(match: re.Match[str]) -> str:
            nonlocal count
            new, n = self._blank_json(match[2], short=True)
            for character in "<>&\u2028\u2029":
                new = new.replace(character, f"\\u{ord(character):04x}") if n else new
            count += n
            return f"{match[1]}{new}{match[3]}"

        if words:
            text = _WORDS.sub(blank_words, text)
        else:
            text = _PLAIN.sub(lambda plain: _WORDS.sub(blank_words, plain[0]), text)
        new, n = self.blank(_DATA.sub(blank_data, text), short=False)
        return new, count + n

    def _blank_json(self, text: str, *, short: bool) -> tuple[str, int]:
        try:
            value = json.loads(text)
        except ValueError:
            return self.blank(text, short=short)
        new, count = self._blank_value(value, short=short)
        indent = 1 if "\n" in text.strip() else None
        return (json.dumps(new, ensure_ascii=False, indent=indent) + ("\n" if text.endswith("\n") else ""), count) if count else (text, 0)

    def _blank_value(self, value: Any, *, short: bool) -> tuple[Any, int]:
        if isinstance(value, str):
            return self.blank(value, short=short)
        if isinstance(value, list):
            items = [self._blank_value(item, short=short) for item in value]
            return [item for item, _ in items], sum(n for _, n in items)
        if isinstance(value, dict):
            made = {name: self._blank_value(item, short=short and not _refers(name, item)) for name, item in value.items()}
            return {name: item for name, (item, _) in made.items()}, sum(n for _, n in made.values())
        return value, 0

    def _blank_database(self, path: Path, *, write: bool) -> int:
        """Rows of caches go; other cells are blanked; then nothing of them is left in the file or beside it."""
        count = 0
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as db:
            for table, columns in _tables(db):
                cached = _CACHES.get(table)
                for column in [cached] if cached in columns else columns:
                    found = []
                    for key, text in db.execute(f'SELECT {_key(db, table)}, "{column}" FROM "{table}" WHERE typeof("{column}") = \'text\''):  # noqa: S608
                        new, n = self._blank_json(text, short=cached is not None or column in _SPOKEN.get(table, ()))
                        count += n
                        if n:
                            found.append((new, key))
                    if write and cached:
                        db.executemany(f'DELETE FROM "{table}" WHERE {_key(db, table)} = ?', [(key,) for _, key in found])  # noqa: S608
                    elif write:
                        db.executemany(f'UPDATE "{table}" SET "{column}" = ? WHERE {_key(db, table)} = ?', found)  # noqa: S608
            if write and count:
                forget_pages(db)
        return count


def _refers(name: str, value: Any) -> bool:
    return name in _REFERENCES and (isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value)))


def _tables(db: sqlite3.Connection) -> list[tuple[str, list[str]]]:
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]
    return [(name, [column[1] for column in db.execute(f'PRAGMA table_info("{name}")')]) for name in names]


def _key(db: sqlite3.Connection, table: str) -> str:
    """The column that tells rows apart: the row id, or a WITHOUT ROWID table's key."""
    keys = [column[1] for column in db.execute(f'PRAGMA table_info("{table}")') if column[5]]
    return f'"{keys[0]}"' if len(keys) == 1 else "rowid"


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _runs(words: list[str], size: int, *, every: bool = False) -> Iterator[_Run]:
    least = 0 if every else _LETTERS.get(size, 0)
    for at in range(len(words) - size + 1):
        run = tuple(words[at : at + size])
        if sum(map(len, run)) >= least:
            yield run
