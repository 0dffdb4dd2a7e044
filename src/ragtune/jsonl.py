"""Records that ragtune wrote as JSON Lines, read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ragtune.errors import RagtuneError
from ragtune.types import Passage, Span

_T = TypeVar("_T")


def read_records(path: Path, make: Callable[[Any], _T], *, of: str, again: str, error: type[RagtuneError]) -> list[tuple[str, _T]]:
    """Each line's record with where it stands, as ``path:line``.

    Args:
        path: of the file.
        make: from a line's values to the record.
        of: what the file is a part of, for messages.
        again: what makes the file anew, for messages.
        error: to raise.

    Raises:
        RagtuneError: of the class ``error``: the file is missing, or a line is no such record.
    """
    try:
        # Not splitlines(): U+2028 and its like may stand inside a JSON string.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as reason:
        raise error(f"cannot read {path} ({reason}): {again}") from reason
    records = []
    for number, line in enumerate(lines, start=1):
        if line:
            try:
                records.append((f"{path}:{number}", make(json.loads(line))))
            except (ValueError, TypeError, KeyError) as reason:
                raise error(f"{path}:{number} is not a record of {of} ({reason!r}): {again}") from reason
    return records


def passage_of(record: Mapping[str, Any]) -> Passage:
    """A passage from its values."""
    return Passage(**{**record, "spans": tuple(Span(**span) for span in record["spans"]), "chunk_ids": tuple(record["chunk_ids"])})
