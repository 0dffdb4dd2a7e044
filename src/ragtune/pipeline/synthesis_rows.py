"""What became of each question that a teacher was asked for: a line of JSON, on disk before the next is begun."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragtune.dataset.filters import Filter


@dataclass(frozen=True, slots=True)
class Row:
    """One question as it was written and judged; all but whether it is like another, which depends on what else is used.

    Args:
        number: of its task.
        entry: the line for the question file; ``None`` where nothing was written.
        dropped: the filter that it fell to.
        detail: what that filter found.
        calls: of the teacher.
        prompt_tokens: read by it.
        completion_tokens: written by it.
        dollars: what the calls cost when they were made; ``None`` where no price is known.
    """

    number: int
    entry: Mapping[str, Any] | None
    dropped: Filter | None
    detail: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    dollars: float | None


class Rows:
    """A synthesis's rows in one file, which any number of sittings add to.

    Args:
        path: of the JSON Lines file; made with the first row.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        whole = path.read_bytes() if path.is_file() else b""
        self._size = whole.rfind(b"\n") + 1  # a line that a killed run left unfinished is written over
        self._rows = {row.number: row for row in (Row(**json.loads(line)) for line in whole[: self._size].splitlines())}

    def __contains__(self, number: int) -> bool:
        return number in self._rows

    def __getitem__(self, number: int) -> Row:
        return self._rows[number]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def ids(self) -> set[str]:
        """Ids of the questions that no filter dropped."""
        return {row.entry["id"] for row in self._rows.values() if row.entry is not None and row.dropped is None}

    def add(self, row: Row) -> None:
        """Put a row on disk."""
        line = (json.dumps(asdict(row), ensure_ascii=False) + "\n").encode()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.seek(self._size)
            file.truncate()
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(line)
        self._rows[row.number] = row
