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
        path: of the JSON Lines file; a line that a killed run left unfinished is cut off.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        self._file.seek(0)
        whole = self._file.read()
        kept = whole[: whole.rfind(b"\n") + 1]
        self._file.truncate(len(kept))
        self._rows = {row.number: row for row in (Row(**json.loads(line)) for line in kept.splitlines())}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

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
        self._file.write((json.dumps(asdict(row), ensure_ascii=False) + "\n").encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._rows[row.number] = row
