"""Lists to tune a retriever on: each question with a chunk that answers it, and chunks that are found for it and do not.

A chunk that is found and might answer all the same is a *false negative*, and is left out: one that touches any of the question's evidence,
holds its answer, or says what the evidence says. So is what a question's list must not know: the evidence of questions held out.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragtune.conversation import search_text
from ragtune.corpus import embedding_text
from ragtune.dataset.draws import draw
from ragtune.dataset.matching import holds_answer, normalise
from ragtune.dataset.oracles import find_oracles
from ragtune.passages import to_passage
from ragtune.types import Chunk, Evidence, Example, Hit, RankingList

FEWEST = 2
"""Negatives below which a question teaches nothing about ranking."""


@dataclass(frozen=True, slots=True)
class Mined:
    """What was mined for one question.

    Args:
        example: the question.
        positive: the chunk that answers it; of several, the one that is found first.
        negatives: chunks that were found and do not, best first.
        false: how many were found that might answer all the same.
    """

    example: Example
    positive: Chunk
    negatives: tuple[Chunk, ...]
    false: int


def mine(examples: Sequence[Example], rankings: Sequence[Sequence[Hit]], chunks: Mapping[str, Sequence[Chunk]]) -> list[Mined]:
    """Positives and hard negatives of each question that has evidence in some chunk.

    Args:
        examples: with evidence that stands in the corpus as it is now.
        rankings: what was found for each, best first.
        chunks: the corpus by document.
    """
    normalised: dict[str, str] = {}

    def words(chunk: Chunk) -> str:
        if chunk.id not in normalised:
            normalised[chunk.id] = normalise(embedding_text(chunk))
        return normalised[chunk.id]

    mined = []
    for example, hits in zip(examples, rankings, strict=True):
        positive = _positive(example, hits, chunks)
        if positive is None:
            continue
        said = [normalise(gold.text) for gold in example.evidence]
        others = [hit.chunk for hit in hits if not any(_touches(hit.chunk, gold) for gold in example.evidence)]
        might = [holds_answer(example.answers, words(each)) or any(text in words(each) for text in said) for each in others]
        negatives = tuple(each for each, answers in zip(others, might, strict=True) if not answers)
        mined.append(Mined(example, positive, negatives, sum(might)))
    return mined


def ranking_lists(mined: Sequence[Mined], held_out: Sequence[Evidence], *, size: int, seed: int) -> list[RankingList]:
    """A list of each question: its positive first, then a seeded sample of its negatives.

    Args:
        mined: of the questions that are learnt from.
        held_out: evidence of questions that are not: no chunk that touches it is a negative.
        size: texts in a list, at most.
        seed: of the sample.
    """
    by_document: dict[str, list[Evidence]] = {}
    for gold in held_out:
        by_document.setdefault(gold.document, []).append(gold)
    lists = []
    for each in mined:
        free = [chunk for chunk in each.negatives if not any(_touches(chunk, gold) for gold in by_document.get(chunk.document, ()))]
        if len(free) >= FEWEST:
            chosen = random.Random(draw(seed, "negatives", each.example.id)).sample(free, min(size - 1, len(free)))  # noqa: S311
            lists.append(
                RankingList(
                    search_text(each.example.question, each.example.history),
                    tuple(embedding_text(chunk) for chunk in (each.positive, *chosen)),
                )
            )
    return lists


def fold_lists(
    mined: Sequence[Mined], held_out: Sequence[Evidence], fold_of: Mapping[str, int], *, size: int, seed: int
) -> dict[int | None, list[RankingList]]:
    """The lists of all questions under ``None``, and of each fold those of the questions outside it, whose evidence is held out too.

    Args:
        mined: of all training questions.
        held_out: evidence of questions that are not trained on at all.
        fold_of: by document group the fold that it is left out of.
        size: texts in a list, at most.
        seed: of the samples.
    """
    lists: dict[int | None, list[RankingList]] = {None: ranking_lists(mined, held_out, size=size, seed=seed)}
    for fold in sorted(set(fold_of.values())):
        inside = [each for each in mined if fold_of[each.example.group] != fold]
        outside = [gold for each in mined if fold_of[each.example.group] == fold for gold in each.example.evidence]
        lists[fold] = ranking_lists(inside, [*held_out, *outside], size=size, seed=seed)
    return lists


def assign_folds(examples: Sequence[Example], folds: int, seed: int) -> dict[str, int]:
    """By document group the fold that it is left out of: as many questions in each as can be, the largest groups first."""
    sizes: dict[str, int] = {}
    for example in examples:
        sizes[example.group] = sizes.get(example.group, 0) + 1
    filled = [0] * folds
    fold_of = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], draw(seed, "fold", name))):
        fold_of[group] = filled.index(min(filled))
        filled[fold_of[group]] += sizes[group]
    return fold_of


def _positive(example: Example, hits: Sequence[Hit], chunks: Mapping[str, Sequence[Chunk]]) -> Chunk | None:
    rank = {hit.chunk.id: hit.rank for hit in hits}
    found: dict[str, Chunk] = {}
    for gold in example.evidence:
        own = {chunk.id: chunk for chunk in chunks.get(gold.document, ())}
        passages = [to_passage(chunk) for chunk in own.values()]
        found |= {passage.id: own[passage.id] for passage in find_oracles(gold, passages, rank)}
    return min(found.values(), key=lambda chunk: rank.get(chunk.id, len(rank) + 1), default=None)


def _touches(chunk: Chunk, gold: Evidence) -> bool:
    return chunk.document == gold.document and chunk.start < gold.end and gold.start < chunk.end
