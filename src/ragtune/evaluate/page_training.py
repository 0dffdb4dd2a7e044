"""Learning curves: a chart for each figure that training wrote down, of one model or of several over each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ragtune.evaluate.charts import Line, Point, line_chart
from ragtune.page import fold, framed, safe

_MOST = 150  # points of a line; beyond, each is the mean of several steps
_ROWS = 40  # of the table beside the charts
_NO_CURVE = frozenset({"step", "epoch", "answers", "tokens", "seconds"})
_LOSS, _VALIDATION = "loss", "validation_loss"
_NAMES: Mapping[str, tuple[str, str]] = {
    _LOSS: ("Training loss", "Loss of an answer: nats ÷ 32"),
    _VALIDATION: ("Validation loss", "Loss of an answer: nats ÷ 32"),
    "validation_f1": ("F1 on a validation sample", "F1"),
    "learning_rate": ("Learning rate", "Learning rate"),
    "gradient_norm": ("Gradient norm", "Norm of the gradient, before it is clipped"),
    "answers_per_s": ("Speed", "Training answers a second"),
}

Step = Mapping[str, float]
"""A line of metrics.jsonl: ``step`` and what was measured then."""


@dataclass(frozen=True, slots=True)
class Curves:
    """What training wrote down for one model.

    Args:
        name: of the model, as a legend has it.
        style: see :class:`Line`.
        steps: lines of metrics.jsonl, in order.
    """

    name: str
    style: str
    steps: Sequence[Step]


def learning_curves(models: Sequence[Curves]) -> str:
    """A chart for each figure, and a table of the last ones; empty where nothing was written down."""
    models = [model for model in models if model.steps]
    names = [name for name in [*_NAMES, *_others(models)] if any(name in step for model in models for step in model.steps)]
    if len(models) == 1 and _LOSS in names and _VALIDATION in names:
        names.remove(_VALIDATION)  # on one pair of axes with the other, so that overfitting is seen
    figures = "".join(f"<figure><h3>{safe(_words(name)[0])}</h3>{_chart(name, models)}</figure>" for name in names)
    tables = "".join(f"{f'<h3>{safe(model.name)}</h3>' if len(models) > 1 else ''}{_table(model)}" for model in models)
    return f'<div class="curves">{figures}</div>{fold("Figures of the learning curves", tables)}' if names else ""


def _others(models: Sequence[Curves]) -> list[str]:
    """Figures that this page does not know, and shows all the same."""
    found = dict.fromkeys(name for model in models for step in model.steps for name in step)
    return [name for name in found if name not in _NO_CURVE and name not in _NAMES]


def _words(name: str) -> tuple[str, str]:
    words = name.replace("_", " ").capitalize()
    return _NAMES.get(name, (words, words))


def _chart(name: str, models: Sequence[Curves]) -> str:
    lines = [Line(model.name, model.style, _points(model.steps, name)) for model in models]
    title, unit = _words(name)
    if len(models) == 1:
        lines = [Line("training" if name == _LOSS else title, "training", lines[0].points)]
        if name == _LOSS:
            lines.append(Line("validation", "validation", _points(models[0].steps, _VALIDATION)))
        title = "Training and validation loss" if name == _LOSS else title
    lines = [line for line in lines if line.points]
    return line_chart(lines, f"{title} over optimiser steps. {' '.join(map(_ends, lines))}", "Optimiser step", unit)


def _ends(line: Line) -> str:
    """Where a line begins and ends, for who does not see it."""
    (first, start), (last, end) = line.points[0], line.points[-1]
    return f"{line.name}: {start:.3g} at step {first:.0f}, {end:.3g} at step {last:.0f}."


def _points(steps: Sequence[Step], name: str) -> list[Point]:
    points = [(float(step["step"]), float(step[name])) for step in steps if step.get(name) is not None]
    size = -(-len(points) // _MOST)
    return list(_means(points, size)) if size > 1 else points


def _means(points: Sequence[Point], size: int) -> Iterator[Point]:
    for start in range(0, len(points), size):
        part = points[start : start + size]
        yield part[-1][0], sum(y for _, y in part) / len(part)


def _table(model: Curves) -> str:
    """Some of the steps, with all that have a validation among them where these are not too many."""
    told = [step for step in model.steps if step.get(_VALIDATION) is not None]
    every = -(-len(model.steps) // _ROWS)
    spread = {id(step) for step in [*model.steps[::every], model.steps[-1], *(told if len(told) <= _ROWS else ())]}
    steps = [step for step in model.steps if id(step) in spread]
    names = [name for name in dict.fromkeys(name for step in steps for name in step) if name not in _NO_CURVE]
    head = "".join(f'<th scope="col" class="number">{safe(_words(name)[0])}</th>' for name in names)
    rows = "".join(
        f'<tr class="first"><th scope="row" class="number">{step["step"]:,.0f}</th>'
        + "".join(f'<td class="number">{"–" if step.get(name) is None else f"{step[name]:.4g}"}</td>' for name in names)
        + "</tr>"
        for step in steps
    )
    inner = f'<thead><tr><th scope="col" class="number">Step</th>{head}</tr></thead><tbody>{rows}</tbody>'
    return framed(f"Training of {model.name}: {len(steps)} of {len(model.steps)} steps", inner, "plain")
