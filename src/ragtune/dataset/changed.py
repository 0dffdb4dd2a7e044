"""A question's served context, changed: other k, other order, passages from other documents between, typos in the question.

What a model answers in these says whether it reads, or leans on where passages stand. Every change is a pure function of a seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ragtune.dataset.draws import draw, draw_unit
from ragtune.dataset.matching import holds_answer, normalise
from ragtune.types import Example, Passage

Change = Literal["one_passage", "twice_as_many", "shuffled", "reversed", "oracle_first", "oracle_last", "noise", "typos"]
CHANGES: tuple[Change, ...] = get_args(Change)

_TYPO_SHARE = 0.25
_SHORTEST = 4
"""Letters of a word that gets a typo."""
_TRIES = 50


@dataclass(frozen=True, slots=True)
class ChangedContext:
    """What is asked and shown instead: the question's text, passage ids in order, and whether all evidence is among them."""

    question: str
    passages: tuple[str, ...]
    answerable: bool


def changed_context(example: Example, change: Change, *, k: int, passages: Mapping[str, Passage], seed: int) -> ChangedContext | None:
    """The changed context of a question; ``None`` where the change has no meaning for it.

    Args:
        example: with its ranking.
        change: which. ``oracle_first`` and ``oracle_last`` need the evidence in the served context. ``noise`` puts a passage of a document
            that is not served and does not hold the answer behind each served one.
        k: passages served.
        passages: by id, to draw noise from.
        seed: of the draws.
    """
    served = [each.passage for each in example.candidates[:k]]
    oracles = [id_ for id_ in served if id_ in example.oracles]
    others = [id_ for id_ in served if id_ not in example.oracles]
    if not served or (change.startswith("oracle") and not oracles):
        return None
    question, shown = example.question, served
    if change == "one_passage":
        shown = served[:1]
    elif change == "twice_as_many":
        shown = [each.passage for each in example.candidates[: 2 * k]]
    elif change == "shuffled":
        shown = sorted(served, key=lambda id_: draw("shuffle", seed, example.id, id_))
    elif change == "reversed":
        shown = served[::-1]
    elif change == "oracle_first":
        shown = [*oracles, *others]
    elif change == "oracle_last":
        shown = [*others, *oracles]
    elif change == "noise":
        shown = [id_ for pair in zip(served, _noise(example, served, passages, seed), strict=False) for id_ in pair]
        if len(shown) < 2 * len(served):
            return None
    else:
        question = with_typos(example.question, seed, example.id)
    known = set(example.oracles) <= set(shown) if example.oracles else any(c.holds_answer for c in example.candidates if c.passage in shown)
    return ChangedContext(question, tuple(shown), known)


def with_typos(question: str, *key: object) -> str:
    """The question with about a quarter of its longer words mistyped, at least one: letters swapped, left out or doubled."""
    words = question.split()
    long = [at for at, word in enumerate(words) if sum(letter.isalpha() for letter in word) >= _SHORTEST]
    chosen = [at for at in long if draw_unit("typo", *key, at) < _TYPO_SHARE] or sorted(long, key=lambda at: draw("typo", *key, at))[:1]
    for at in chosen:
        words[at] = _mistyped(words[at], *key, at)
    return " ".join(words)


def _mistyped(word: str, *key: object) -> str:
    # Within the word, and where a swap shows.
    places = [at for at in range(1, len(word) - 2) if word[at].isalpha() and word[at + 1].isalpha() and word[at] != word[at + 1]]
    if not places:
        return word
    at = places[draw("place", *key) % len(places)]
    kind = draw("kind", *key) % 3
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :] if kind == 1 else word[:at] + word[at] + word[at:]


def _noise(example: Example, served: Sequence[str], passages: Mapping[str, Passage], seed: int) -> list[str]:
    near = {passages[id_].document for id_ in served} | {each.document for each in example.evidence}
    ids = sorted(id_ for id_, passage in passages.items() if passage.document not in near)
    found: list[str] = []
    for number in range(_TRIES * len(served)):
        if not ids or len(found) == len(served):
            break
        id_ = ids[draw("noise", seed, example.id, number) % len(ids)]
        if id_ not in found and not holds_answer(example.answers, normalise(f"{passages[id_].prefix} {passages[id_].text}")):
            found.append(id_)
    return found
