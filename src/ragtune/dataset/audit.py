"""What a dataset's manifest says about its own soundness: how close test questions are to training ones, and what is where."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragtune.conversation import search_text
from ragtune.dataset.raft import by_split, draw_present
from ragtune.highlights import is_unspaced, terms
from ragtune.types import Example

_TOKEN = re.compile(r"\w+")
NEAR = 0.8
"""Similarity from which two questions count as near-identical."""
TRAINED = 0.5
"""Share of its evidence from which a question counts as one whose evidence was trained on."""
_WORDS = 8
"""Of a stretch that two texts share by copying, not by chance."""
_FEWEST = 3


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
        trained: by test question, the share of its evidence that training completions quote, where there is any; most first.
        test: how many test questions there are.
        counts: questions by ``split/stratum/kind``; ``-`` where there is none.
        realised_p: share of the answerable training questions that see their oracle in the first epoch; ``None`` without any.
    """

    nearest: tuple[Nearest, ...]
    near_identical: int
    trained: Mapping[str, float]
    test: int
    counts: Mapping[str, int]
    realised_p: float | None


def audit(examples: Sequence[Example], *, seed: int, p: float, threshold: float = NEAR) -> Audit:
    """Audit a dataset.

    Args:
        examples: all of them.
        seed: of the oracle draw.
        p: as it will be trained.
        threshold: similarity from which two questions count as near-identical.
    """
    splits = by_split(examples)
    train, test = splits.get("train", []), splits.get("test", [])
    nearest = nearest_questions(train, test)
    answerable = sum(bool(example.oracles) for example in train)
    return Audit(
        nearest=tuple(nearest),
        near_identical=sum(each.similarity >= threshold for each in nearest),
        trained=trained_evidence(train, test),
        test=len(test),
        counts=dict(sorted(Counter(f"{each.split}/{each.stratum or '-'}/{each.kind or '-'}" for each in examples).items())),
        realised_p=len(draw_present(train, epoch=0, seed=seed, p=p)) / answerable if answerable else None,
    )


def trained_evidence(train: Sequence[Example], asked: Sequence[Example]) -> dict[str, float]:
    """By question, the share of its evidence that stands in what training teaches to write; those without are left out, most first.

    Counted in runs of eight words, of shorter evidence in one run of all its words; evidence of fewer than three words is left out.
    """
    completions = [_tokens(example.completion) for example in train]
    grams: dict[int, set[tuple[str, ...]]] = {}
    shares = {}
    for example in asked:
        own: list[tuple[str, ...]] = []
        for evidence in example.evidence:
            words = _tokens(evidence.text)
            own += _runs(words, min(_WORDS, len(words))) if len(words) >= _FEWEST else []
        for size in {len(run) for run in own} - grams.keys():
            grams[size] = {run for words in completions for run in _runs(words, size)}
        share = sum(run in grams[len(run)] for run in own) / len(own) if own else 0.0
        if share:
            shares[example.id] = round(share, 4)
    return dict(sorted(shares.items(), key=lambda each: (-each[1], each[0])))


def nearest_questions(train: Sequence[Example], test: Sequence[Example]) -> list[Nearest]:
    """For each test question that resembles any training question the one most like it, the most alike first."""
    known, asked = ([(each.id, search_text(each.question, each.history)) for each in own] for own in (train, test))
    # What a conversation asked before is trained on with its answer, and may be a test question.
    before = [(each.id, said.content) for each in train for said in each.history if said.role == "user"]
    return nearest_texts([*known, *before], asked)


def nearest_texts(train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]]) -> list[Nearest]:
    """The same of questions as ids and texts, what was said before each included (:func:`ragtune.conversation.search_text`)."""
    return sorted(_nearest(train, test), key=lambda each: (-each.similarity, each.test))


def _runs(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]


def _nearest(train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]]) -> list[Nearest]:
    tokens = [frozenset(_tokens(text)) for _, text in train]
    having: dict[str, list[int]] = defaultdict(list)
    for at, own in enumerate(tokens):
        for token in own:
            having[token].append(at)
    nearest = []
    for id_, text in test:
        asked = frozenset(_tokens(text))
        common = Counter(at for token in asked for at in having.get(token, ()))
        if common:
            similarity, at = max((both / (len(asked) + len(tokens[at]) - both), -at) for at, both in common.items())
            nearest.append(Nearest(id_, train[-at][0], round(similarity, 4)))
    return nearest


def _tokens(text: str) -> list[str]:
    """The words of a text; of scripts without spaces, every two neighbouring characters."""
    return [part for word in _TOKEN.findall(text.lower()) for part in (terms(word) if is_unspaced(word) else (word,))]
