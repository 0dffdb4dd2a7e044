"""Context groups of invented passages, for the tests of training."""

from __future__ import annotations

import random

from ragtune.prompts import build_completion
from ragtune.types import Branch, ContextGroup, Passage, Span

_WORDS = ("bell", "harbour", "lantern", "stone", "winter", "crossing", "keeper", "tide", "granite", "rope", "gull", "ferry")


def passage(number: int) -> Passage:
    rng = random.Random(number)
    text = " ".join(rng.choice(_WORDS) for _ in range(rng.randint(5, 30)))
    return Passage(f"p{number}", "a.md", "A", f"Place {number}", text, (Span("a.md", 0, len(text)),), (f"p{number}",))


def branch(number: int) -> Branch:
    rng = random.Random(1000 + number)
    quote = " ".join(rng.choice(_WORDS) for _ in range(rng.randint(1, 9)))
    return Branch(f"q{number}", f"What is {rng.choice(_WORDS)} {number}?", build_completion(rng.choice(_WORDS), [quote]))


def group(*branches: int, passages: tuple[int, ...] = (1, 2, 3)) -> ContextGroup:
    return ContextGroup(tuple(passage(each) for each in passages), tuple(branch(each) for each in branches))


def epoch_groups(epoch: int) -> list[ContextGroup]:
    """Fourteen answers: shared and separate contexts, another order each epoch."""
    groups = [group(1, 2, 3), group(4, passages=(4,)), group(5, 6, passages=(2, 5)), group(7), group(8, 9, 10, 11, passages=(6, 7)),
              group(12, passages=(8,)), group(13, 14)]  # fmt: skip
    random.Random(epoch).shuffle(groups)
    return groups
