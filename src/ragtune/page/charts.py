"""Axes and bars as inline SVG, drawn here so that a page needs no library and no network.

Horizontal places are percentages, so text keeps its size while a chart takes the width that it has. Colours are classes of page.css.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

_HEIGHT = 150  # of a histogram, in pixels, without its labels
_MOST_LABELS = 12  # of a histogram's bars


@dataclass(frozen=True, slots=True)
class Axis:
    """A range with round ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value lies, in percent of the width, kept inside."""
        return 100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def axis(low: float, high: float, *, ticks: int = 5) -> Axis:
    """The smallest axis with round ticks that holds ``low`` to ``high``, which may be one value: two arms can answer all alike."""
    if high - low < 1e-6:
        low, high = low - 0.05, high + 0.05
    span = high - low
    magnitude = 10.0 ** math.floor(math.log10(span / ticks))
    step = next(m * magnitude for m in (1, 2, 5, 10) if span / (m * magnitude) <= ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last * step, tuple(round(i * step, 10) for i in range(first, last + 1)))


def histogram(edges: Sequence[float], counts: Sequence[int], label: str, marks: Sequence[tuple[float, str]] = ()) -> str:
    """Bars of equal width, whatever their ranges; the figures stand in a table beside it.

    Args:
        edges: one more than there are bars, rising.
        counts: heights of the bars.
        label: what a screen reader says of it.
        marks: values that are marked by a line, with their words.
    """
    width = 100 / len(counts)
    most = max([*counts, 1])
    top = 18 * len(marks)
    parts = []
    for number, count in enumerate(counts):
        height = max(_HEIGHT * count / most, 1.5 if count else 0)
        at = top + 14 + _HEIGHT - height
        parts.append(f'<rect class="bar" x="{number * width + 0.15:.2f}%" width="{width - 0.3:.2f}%" y="{at:.1f}" height="{height:.1f}"/>')
        if count and len(counts) <= _MOST_LABELS:
            parts.append(f'<text class="minor" x="{(number + 0.5) * width:.2f}%" y="{at - 4:.1f}" text-anchor="middle">{count:,}</text>')
    floor = top + 14 + _HEIGHT
    parts.append(f'<line class="zero" x1="0" x2="100%" y1="{floor}" y2="{floor}"/>')
    every = -(-len(edges) // (_MOST_LABELS + 1))
    for number, edge in enumerate(edges):
        if number % every == 0:
            minor = ' class="minor"' if (number // every) % 2 else ""
            parts.append(f'<text{minor} x="{number * width:.2f}%" y="{floor + 16}" text-anchor="middle">{short(edge)}</text>')
    for number, (value, words) in enumerate(marks):
        at, y = _place(edges, value), 12 + 18 * number
        end = ' text-anchor="end"' if at > 60 else ""
        parts.append(f'<line class="limit" x1="{at:.2f}%" x2="{at:.2f}%" y1="{y - 10}" y2="{floor}"/>')
        parts.append(f'<text class="limit" x="{at:.2f}%" dx="{-6 if end else 6}" y="{y}"{end}>{escape(words)}</text>')
    return f'<svg class="histogram" height="{floor + 22}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def share_bar(value: float, most: float) -> str:
    """One bar for a table's cell; the figure stands beside it, so it is hidden from screen readers."""
    return (
        '<svg class="plot" height="12" aria-hidden="true">'
        f'<rect class="bar" x="0" y="1" width="{100 * value / max(most, 1):.2f}%" height="10"/></svg>'
    )


def short(value: float) -> str:
    """A number for a small place: 20,000 is 20k."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size and (value >= 10 * size or value % (size / 10) == 0):
            return f"{value / size:,.1f}".removesuffix(".0") + letter
    return f"{value:,.0f}"


def _place(edges: Sequence[float], value: float) -> float:
    """In percent of the width, among bars of equal width."""
    number = next((i for i, (low, high) in enumerate(pairwise(edges)) if low <= value < high), len(edges) - 2)
    low, high = edges[number], edges[number + 1]
    return 100 * (number + min(1.0, max(0.0, (value - low) / (high - low)))) / (len(edges) - 1)
