"""What follows from the place in a run alone: the rate, when the loss is validated, and after which steps the weights are averaged."""

from __future__ import annotations

import math

_VALIDATIONS, _VALIDATIONS_TO_STOP = 3, 10
_SPACING = 20
"""Averaged weights lie a twentieth of the run apart."""


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up, then a cosine to zero; ``step`` counts from 0."""
    rising = max(1, round(steps * warmup))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def validations(early_stopping: int) -> int:
    """Times that the loss is validated in a run, its end included: more often where it may stop the run."""
    return _VALIDATIONS_TO_STOP if early_stopping else _VALIDATIONS


def is_mark(step: int, steps: int, marks: int) -> bool:
    """Whether a step, counted from 1, ends one of equal parts of a run."""
    return step == steps or step * marks // steps > (step - 1) * marks // steps


def is_averaged(step: int, steps: int, count: int) -> bool:
    """Whether the weights after a step, counted from 1, are among the last ``count`` that are averaged; those of the end always are."""
    spacing = max(1, steps // _SPACING)
    return (steps - step) % spacing == 0 and (steps - step) // spacing < count
