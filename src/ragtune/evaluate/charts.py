"""Charts as inline SVG, drawn here so that the page needs no library and no network.

Horizontal places are percentages, so text keeps its size while a chart takes the width that it has. Colours are classes of page.css.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ragtune.evaluate.decide import signed
from ragtune.page import safe
from ragtune.page.charts import Axis, axis
from ragtune.types import Estimate

Point = tuple[float, float]
_CHART = 220  # height of a line chart, in pixels, without its labels
_FEW = 20  # points that are seen one by one


def interval_plot(estimate: Estimate, scale: Axis, arm: str) -> str:
    """One estimate as a dot with its interval; the figures stand beside it, so it is hidden from screen readers."""
    dot = scale.place(estimate.value)
    parts = [_grid(scale)]
    if estimate.low is not None and estimate.high is not None:
        low, high = scale.place(estimate.low), scale.place(estimate.high)
        parts.append(f'<line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="12" y2="12"/>')
    parts.append(f'<circle class="dot" cx="{dot:.2f}%" cy="12" r="5"/>')
    return f'<svg class="plot arm-{escape(arm)}" height="24" aria-hidden="true">{"".join(parts)}</svg>'


def axis_plot(scale: Axis, *, difference: bool = False) -> str:
    """The tick labels under a column of ``interval_plot``."""
    labels = "".join(_label(scale, number, 13, difference=difference) for number in range(len(scale.ticks)))
    return f'<svg class="plot ticks" height="18" aria-hidden="true">{labels}</svg>'


def difference_plot(estimate: Estimate, worse: str, better: str) -> str:
    """The difference that decides, large, against zero."""
    bounds = [0.0, estimate.value, *(bound for bound in (estimate.low, estimate.high) if bound is not None)]
    reach = max(0.1, *map(abs, bounds)) * 1.15
    scale = axis(-reach, reach, ticks=8)
    zero, dot = scale.place(0), scale.place(estimate.value)
    text = f"Difference {signed(estimate.value)}"
    parts = ['<line class="rule" x1="0" x2="100%" y1="62" y2="62"/>']
    for number, tick in enumerate(scale.ticks):
        at = scale.place(tick)
        parts.append(f'<line class="rule" x1="{at:.2f}%" x2="{at:.2f}%" y1="62" y2="67"/>')
        parts.append(_label(scale, number, 84, difference=True))
    parts.append(f'<line class="zero" x1="{zero:.2f}%" x2="{zero:.2f}%" y1="8" y2="62"/>')
    parts.append(f'<text x="0" y="14">← {escape(worse)}</text><text x="100%" y="14" text-anchor="end">{escape(better)} →</text>')
    if estimate.low is not None and estimate.high is not None:
        low, high = scale.place(estimate.low), scale.place(estimate.high)
        text += f", 95 % interval {signed(estimate.low)} to {signed(estimate.high)}"
        parts.append(f'<line class="band" x1="{low:.2f}%" x2="{high:.2f}%" y1="40" y2="40"/>')
    parts.append(f'<circle class="dot" cx="{dot:.2f}%" cy="40" r="8"/>')
    return f'<svg class="difference" height="92" role="img" aria-label="{escape(text)}">{"".join(parts)}</svg>'


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Args:
        name: as the legend has it.
        style: ``tuned``: drawn as class ``arm-tuned`` of page.css, which sets colour and dashes.
        points: ``(x, y)``, x rising.
    """

    name: str
    style: str
    points: Sequence[Point]


def line_chart(lines: Sequence[Line], label: str, x_label: str, y_label: str, *, x_axis: Axis | None = None) -> str:
    """Lines over a shared pair of axes with a legend; few points are drawn as dots, too. ``label`` is what a screen reader says."""
    points = [point for line in lines for point in line.points]
    across = x_axis or axis(min(x for x, _ in points), max(x for x, _ in points))
    up = axis(min(0.0, *(y for _, y in points)), max(max(y for _, y in points), 1e-9), ticks=4)
    parts = []
    for number, tick in enumerate(up.ticks):
        y = _CHART * (1 - up.place(tick) / 100)
        parts.append(f'<line class="rule" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        if y < _CHART + 1 and (number % 2 == 0 or len(up.ticks) < 7):
            parts.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{_tick(tick)}</text>')
    parts += [_label(across, number, _CHART + 20, difference=False) for number in range(len(across.ticks))]
    drawn = "".join(_curve(line, across, up) for line in lines)
    dots = "".join(_dots(line, across, up) for line in lines if len(line.points) <= _FEW)
    parts.append(f'<svg width="100%" height="{_CHART}" viewBox="0 0 100 100" preserveAspectRatio="none">{drawn}</svg>{dots}')
    legend = f'<ul class="legend">{"".join(map(_legend, lines))}</ul>' if len(lines) > 1 else ""
    return (
        f'{legend}<p class="axis-label">{escape(y_label)}</p>'
        f'<svg class="chart" height="{_CHART + 26}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
        f'<p class="axis-label across">{escape(x_label)}</p>'
    )


def _curve(line: Line, across: Axis, up: Axis) -> str:
    path = " ".join(f"{across.place(x):.2f},{100 - up.place(y):.2f}" for x, y in line.points)
    return f'<polyline class="curve arm-{escape(line.style)}" points="{path}" vector-effect="non-scaling-stroke"/>'


def _dots(line: Line, across: Axis, up: Axis) -> str:
    dots = "".join(f'<circle cx="{across.place(x):.2f}%" cy="{_CHART * (1 - up.place(y) / 100):.1f}" r="3.5"/>' for x, y in line.points)
    return f'<g class="points arm-{escape(line.style)}">{dots}</g>'


def _legend(line: Line) -> str:
    stroke = f'<line class="curve arm-{escape(line.style)}" x2="28" y1="5" y2="5"/>'
    return f'<li><svg class="sample" width="28" height="10" aria-hidden="true">{stroke}</svg>{safe(line.name)}</li>'


def _grid(scale: Axis) -> str:
    lines = []
    for tick in scale.ticks:
        kind = "zero" if tick == 0 and scale.low < 0 else "rule"
        lines.append(f'<line class="{kind}" x1="{scale.place(tick):.2f}%" x2="{scale.place(tick):.2f}%" y1="-30" y2="54"/>')
    return "".join(lines)


def _label(scale: Axis, number: int, y: int, *, difference: bool) -> str:
    tick = scale.ticks[number]
    zero = scale.ticks.index(0) if 0 in scale.ticks else 0
    minor = ' class="minor"' if (number - zero) % 2 else ""  # left out on a narrow screen
    return f'<text{minor} x="{scale.place(tick):.2f}%" y="{y}" text-anchor="middle">{_tick(tick, difference=difference)}</text>'


def _tick(value: float, *, difference: bool = False) -> str:
    text = f"{abs(value):,.10f}".rstrip("0").rstrip(".")
    return text if value == 0 else ("−" if value < 0 else "+" if difference else "") + text
