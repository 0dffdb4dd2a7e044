"""Sections for figures that this page has no words for: whatever a report holds in rows of labels and estimates becomes a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from ragtune.evaluate.decide import signed
from ragtune.evaluate.report import ARM_WORDS
from ragtune.page import framed, safe

_FIGURE = {"value", "low", "high", "n"}
_WORDS: dict[str, str] = {"p": "p", "p_holm": "p (Holm)", "f1": "F1"} | {str(arm): str(arm) for arm in ARM_WORDS}
_SIGNED = ("difference", "change")
_SLUG = re.compile(r"[a-z]+(_[a-z]+)+")


def words_of(name: str) -> str:
    """``new_documents`` as ``New documents``; what has a name of its own keeps it."""
    if name in _WORDS:
        return _WORDS[name]
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def block(title: str, value: Any) -> str:
    """The tables of a value of report.json; empty where it holds no figure.

    Args:
        title: what it is about, for who does not see where it stands.
        value: a list of rows, or an object of such lists, or of such objects. A row is an object whose estimates (``value``, ``low``,
            ``high``, ``n``, alone or under names of their own) and numbers are columns; its other values say what the row is about. An
            object of estimates and plain values is a row for each name.
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
    elif _is_figure(value):
        yield value
    elif (
        isinstance(value, Mapping)
        and value
        and all(_is_figure(each) or not isinstance(each, Mapping | list | tuple) for each in value.values())
    ):
        yield from ({"name": words_of(str(name)), "value": each} for name, each in value.items())


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
    head = "".join(f'<th scope="col"{" class=number" if name in numeric else ""}>{safe(words_of(name))}</th>' for name in columns)
    body = "".join(
        f'<tr class="first">{"".join(_cell(name, row.get(name), name in numeric, name == columns[0]) for name in columns)}</tr>'
        for row in rows
    )
    kind = "plain" if len(columns) > 2 else "plain pairs"
    return framed(title, f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>", kind)


def _cell(name: str, value: Any, numeric: bool, first: bool) -> str:
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    return f"<{tag}{scope}{' class=number' if numeric else ''}>{_shown(value, plus=name in _SIGNED)}</{tag}>"


def _shown(value: Any, *, plus: bool) -> str:
    if value is None:
        return "–"
    if _is_figure(value):
        low, high = value["low"], value["high"]
        interval = "" if low is None or high is None else f"[{signed(low, plus=False)}, {signed(high, plus=False)}]"
        return f'<span class="figure"><b>{signed(value["value"], plus=plus)}</b> <i>{interval}</i> <small>n {value["n"]}</small></span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return safe(value.replace("_", " ") if _SLUG.fullmatch(value) else value)
    return f"{value:,.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else safe(str(value))


def _is_figure(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and value.keys() >= _FIGURE


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(_is_number(each) for row in rows for each in row.values())
