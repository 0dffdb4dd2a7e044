"""Sections for figures that this page has no words for: whatever a report holds in rows of labels and estimates becomes a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from ragtune.page import framed, safe

_FIGURE = {"value", "low", "high", "n"}
_SLUG = re.compile(r"[a-z]+(_[a-z]+)+")


def words_of(name: str) -> str:
    """``new_documents`` as ``New documents``."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def block(title: str, value: Any) -> str:
    """The tables of a value of report.json; empty where it holds no figure.

    Args:
        title: what it is about, for who does not see where it stands.
        value: a list of rows, or an object of such lists, or of such objects. A row is an object whose estimates (``value``, ``low``,
            ``high``, ``n``, alone or under names of their own) and numbers are columns; its other values say what the row is about. An
            object of estimates or of plain numbers is a row for each name.
    """
    rows = [row for row in map(_flat, _rows(value)) if row]
    if any(_is_figure(cell) for row in rows for cell in row.values()) or (rows and _numbers(rows)):
        return _table(title, rows)
    if isinstance(value, Mapping):
        parts = [(words_of(str(name)), block(f"{title}, {words_of(str(name)).lower()}", part)) for name, part in value.items()]
        return "".join(f"<h3>{safe(name)}</h3>{shown}" for name, shown in parts if shown)
    return ""


def _rows(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        yield from (row for row in value if isinstance(row, Mapping))
    elif isinstance(value, Mapping) and value and all(_is_figure(each) for each in value.values()):
        yield from ({"": words_of(str(name)), "value": each} for name, each in value.items())
    elif isinstance(value, Mapping) and value and all(_is_number(each) or isinstance(each, str) or each is None for each in value.values()):
        yield value


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One level: what lies in an object of estimates stands beside the others; longer lists, such as curves, are left to scripts."""
    if _is_figure(row):
        return {**{name: each for name, each in row.items() if name not in _FIGURE}, "value": {name: row[name] for name in _FIGURE}}
    flat: dict[str, Any] = {}
    for name, each in row.items():
        if isinstance(each, Mapping) and not _is_figure(each):
            flat |= {inner: figure for inner, figure in each.items() if _is_figure(figure) or _is_number(figure)}
        elif not isinstance(each, list | tuple):
            flat[name] = each
    return flat


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    numeric = {
        name for name in columns if all(_is_figure(row.get(name)) or _is_number(row.get(name)) or row.get(name) is None for row in rows)
    }
    columns = [name for name in columns if name not in numeric] + [name for name in columns if name in numeric]
    head = "".join(f'<th scope="col"{" class=number" if name in numeric else ""}>{safe(words_of(name)) or "Name"}</th>' for name in columns)
    body = "".join(f'<tr class="first">{"".join(_cell(row.get(c), c in numeric, c == columns[0]) for c in columns)}</tr>' for row in rows)
    return framed(title, f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>", "plain")


def _cell(value: Any, numeric: bool, first: bool) -> str:
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    return f"<{tag}{scope}{' class=number' if numeric else ''}>{_shown(value)}</{tag}>"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if _is_figure(value):
        interval = "" if value["low"] is None or value["high"] is None else f"[{value['low']:.2f}, {value['high']:.2f}]"
        return f'<span class="figure"><b>{value["value"]:,.2f}</b> <i>{interval}</i> <small>n {value["n"]}</small></span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else safe(words_of(value) if isinstance(value, str) and _SLUG.fullmatch(value) else str(value))
    )


def _is_figure(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and value.keys() >= _FIGURE


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(_is_number(each) for row in rows for each in row.values())
