"""What a dataset's manifest says about its own soundness: how close test questions are to training ones, and what is where."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragtune.conversation import search_text
from ragtune.dataset.raft import by_split, draw_present
from ragtune.types import Example

_TOKEN = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Nearest:
    """A test question and the training question most like it: Jaccard similarity of their lower-case tokens, in [0, 1]."""

    test: str
    train: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit of one dataset.

    Args:
        nearest: one for each test question that resembles any training question, the most alike first.
        near_identical: how many of them reach the threshold.
        test: how many test questions there are.
        counts: questions by ``split/stratum/kind``; ``-`` where there is none.
        realised_p: share of the answerable training questions that see their oracle in the first epoch; ``None`` without any.
    """

    nearest: tuple[Nearest, ...]
    near_identical: int
    test: int
    counts: Mapping[str, int]
    realised_p: float | None


def audit(examples: Sequence[Example], *, seed: int, p: float, threshold: float = 0.8) -> Audit:
    """Audit a dataset.

    Args:
        examples: all of them.
        seed: of the oracle draw.
        p: as it will be trained.
        threshold: similarity from which two questions count as near-identical.
    """
    splits = by_split(examples)
    train, test = splits.get("train", []), splits.get("test", [])
    nearest = sorted(_nearest(train, test), key=lambda each: (-each.similarity, each.test))
    answerable = sum(bool(example.oracles) for example in train)
    return Audit(
        nearest=tuple(nearest),
        near_identical=sum(each.similarity >= threshold for each in nearest),
        test=len(test),
        counts=dict(sorted(Counter(f"{each.split}/{each.stratum or '-'}/{each.kind or '-'}" for each in examples).items())),
        realised_p=len(draw_present(train, epoch=0, seed=seed, p=p)) / answerable if answerable else None,
    )


def _nearest(train: Sequence[Example], test: Sequence[Example]) -> list[Nearest]:
    tokens = [frozenset(_TOKEN.findall(search_text(example.question, example.history).lower())) for example in train]
    having: dict[str, list[int]] = defaultdict(list)
    for at, own in enumerate(tokens):
        for token in own:
            having[token].append(at)
    nearest = []
    for example in test:
        asked = frozenset(_TOKEN.findall(search_text(example.question, example.history).lower()))
        common = Counter(at for token in asked for at in having.get(token, ()))
        if common:
            similarity, at = max((both / (len(asked) + len(tokens[at]) - both), -at) for at, both in common.items())
            nearest.append(Nearest(example.id, train[-at].id, round(similarity, 4)))
    return nearest
