"""Several evaluations in a terminal: a row each, then who is better, what differs and what to know."""

from __future__ import annotations

import json

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ragtune.evaluate.decide import signed
from ragtune.evaluate.several import Result, Several, verdict
from ragtune.types import JSON, Estimate

_COLOURS = {"better": "green", "worse": "red", "undecided": "yellow"}
_SHOWN = 12  # settings that differ
_MOST = 40  # characters of a setting's value


def several_table(found: Several) -> RenderableType:
    """The comparison; fits 80 columns. ``p`` is corrected, ``quotes`` are those that are real, ``s`` and ``tokens`` are of an answer."""
    title = f"Answer F1 [95 % interval] on {found.answerable} common questions, {found.context}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("evaluation", overflow="fold")
    for name in ("F1", "less the first", "p", "quotes", "s", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in found.results:
        table.add_row(*_row(result, found))
    lines: list[RenderableType] = [Padding(table, (1, 0)), Text(f"{found.sentence}.", style="bold")]
    if found.settings:
        lines.append(Text("Settings that differ:"))
    for name, values in list(found.settings.items())[:_SHOWN]:
        lines.append(Text(f"  {name}: {' | '.join(map(_words, values))}"))
    if len(found.settings) > _SHOWN:
        lines.append(Text(f"  … and {len(found.settings) - _SHOWN} more, in report.html", style="dim"))
    lines += [Text(f"Note: {note}", style="yellow") for note in found.notes]
    return Group(*lines)


def _row(result: Result, found: Several) -> list[RenderableType]:
    tokens = [result.metrics[name].value for name in ("prompt_tokens", "completion_tokens") if name in result.metrics]
    quotes, seconds = result.metrics.get("quotes_valid"), result.metrics.get("seconds")
    return [
        Text(result.name),
        _figure(result.f1.get(found.context)),
        Text("–", style="dim") if result.difference is None else _difference(result.difference, _COLOURS[verdict(result)]),
        Text("–" if result.p is None else "< 0.001" if result.p < 0.001 else f"{result.p:.3f}"),
        Text("–" if quotes is None else f"{100 * quotes.value:.0f} %"),
        Text("–" if seconds is None else f"{seconds.value:.2g}"),
        Text(f"{sum(tokens):,.0f}" if tokens else "–"),
    ]


def _figure(estimate: Estimate | None) -> Text:
    if estimate is None:
        return Text("–", style="dim")
    return _with_interval(f"{estimate.value:.2f}", estimate, "")


def _difference(estimate: Estimate, style: str) -> Text:
    return _with_interval(signed(estimate.value), estimate, style)


def _with_interval(value: str, estimate: Estimate, style: str) -> Text:
    text = Text(value, style=style)
    if estimate.low is not None and estimate.high is not None:
        text.append(f"\n[{signed(estimate.low, plus=False)}, {signed(estimate.high, plus=False)}]", style="not bold dim")
    return text


def _words(value: JSON) -> str:
    text = "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"
