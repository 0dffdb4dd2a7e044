"""Has tuning cost the model what it knew before? Its negative log-likelihood of general text that no project trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ragtune.evaluate.intervals import bootstrap_statistic, divide
from ragtune.types import Arm, Estimate

GENERAL: tuple[tuple[str, str], ...] = (
    (
        "Why are leaves green?",
        "Leaves look green because they hold chlorophyll, a pigment that takes in red and blue light and sends most of the green "
        "light back. The plant uses the light that it keeps to make sugar from water and carbon dioxide.",
    ),
    (
        "How does a bicycle stay upright?",
        "A moving bicycle stays up because the rider, and to a smaller degree the bicycle itself, steers towards the side to "
        "which it leans. That brings the wheels back under the weight. At a standstill there is no such correction, and it falls.",
    ),
    (
        "Write a short note that thanks a neighbour for watering the plants.",
        "Dear Anna, thank you so much for looking after our plants while we were away. They look better than when we left. Please "
        "come over for a cup of coffee one of these days, and tell us when we can do the same for you.",
    ),
    (
        "What is the difference between weather and climate?",
        "Weather is what the air is doing at one place at one time: rain this morning, wind tonight. Climate is the pattern of "
        "weather over many years. A single cold week says little about the climate, while thirty years of records say a great "
        "deal.",
    ),
    (
        "Explain what a prime number is.",
        "A prime number is a whole number greater than one that can be divided without a remainder only by one and by itself. The "
        "first few are two, three, five, seven and eleven. Every other whole number above one is a product of primes.",
    ),
    (
        "Give three tips for sleeping better.",
        "Go to bed and get up at the same time every day, also at weekends. Keep the bedroom dark, quiet and cool. Put screens "
        "and coffee away some hours before you want to sleep, and read a few pages of a book instead.",
    ),
    (
        "Why does bread rise?",
        "Bread rises because yeast eats the sugars in the dough and gives off carbon dioxide. The gas is caught in bubbles by "
        "gluten, an elastic net of protein that forms when flour and water are kneaded. In the oven the bubbles grow once more "
        "before the crust sets.",
    ),
    (
        "Describe a harbour at dawn.",
        "The first boats come in while the water is still grey. Gulls circle over the quay, ropes creak, and somewhere a radio "
        "plays softly. Then the sun clears the roofs, and for a minute every window along the shore is on fire.",
    ),
    (
        "What does a compiler do?",
        "A compiler translates a program from the language in which people write it into instructions that a machine can run. On "
        "the way it checks that names and types fit together, reports mistakes, and often rearranges the work so that it takes "
        "less time.",
    ),
    (
        "How can I remember names of new people?",
        "Repeat the name when you hear it, and use it once or twice in the conversation. Tie it to something that you can "
        "picture, such as a friend with the same name. Before you leave, say goodbye by name, and write it down later in the day.",
    ),
)
"""Questions and answers of general kind, written for this purpose."""


@dataclass(frozen=True, slots=True)
class ForgettingCell:
    """One arm's negative log-likelihood of general answers.

    Args:
        arm: whose weights.
        nll: nats a token, n answers.
        change: less the base model's, paired by answer; ``None`` for the base itself.
    """

    arm: Arm
    nll: Estimate
    change: Estimate | None


def forgetting(sums: Mapping[Arm, Sequence[tuple[float, int]]], *, seed: int = 0) -> tuple[ForgettingCell, ...]:
    """Figures from each arm's summed negative log-likelihoods and token counts, one for each of :data:`GENERAL`.

    Args:
        sums: of ``base`` and of the arms with other weights.
        seed: of the resampling, which draws answers.
    """
    base = sums["base"]
    cells = []
    for arm, own in sums.items():
        change = None if arm == "base" else _mean([value - before for (value, _), (before, _) in zip(own, base, strict=True)], own, seed)
        cells.append(ForgettingCell(arm, _mean([value for value, _ in own], own, seed), change))
    return tuple(cells)


def _mean(values: Sequence[float], tokens: Sequence[tuple[float, int]], seed: int) -> Estimate:
    sums, counts = np.array(values), np.array([count for _, count in tokens], dtype=np.float64)
    return bootstrap_statistic(lambda drawn: divide(drawn @ sums, drawn @ counts), len(values), len(values), seed=seed).estimate
