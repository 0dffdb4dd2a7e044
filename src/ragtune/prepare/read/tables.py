"""Rows to a Markdown pipe table."""

from __future__ import annotations

from collections.abc import Sequence


def pipe_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the header, short rows are filled up.

    >>> print(pipe_table([["Hut", "Beds"], ["Marl", "60"]]))
    | Hut | Beds |
    | --- | --- |
    | Marl | 60 |
    """
    width = max(map(len, rows))
    lines = ["| " + " | ".join([_cell(cell) for cell in row] + [""] * (width - len(row))) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")
