"""What retrieval finds of the evidence, by kind and source, what it found where it missed, and from which score on to trust it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ragtune.errors import EvaluationError
from ragtune.evaluate.intervals import bootstrap
from ragtune.evaluate.retrieval import Ranking, recall_at, retrieval_metrics
from ragtune.types import JSON, Estimate, Evidence, Example, Threshold

NO_KIND = "no kind"
FEWEST = 10
"""Questions that a threshold rests on at least."""


@dataclass(frozen=True, slots=True)
class Found:
    """A hit as a report shows it: where it stands, under which heading, and how it begins."""

    rank: int
    score: float
    source: str
    start: int
    end: int
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A question with what was retrieved for it.

    Args:
        example: of a dataset.
        passages: spans of each passage, best first.
        found: the same for people, as many as are served.
        score: of the best.
    """

    example: Example
    passages: Ranking
    found: tuple[Found, ...]
    score: float


@dataclass(frozen=True, slots=True)
class RetrievalRow:
    """``recall@k``, ``ndcg@10`` and ``mrr`` of the questions with one label."""

    label: str
    metrics: Mapping[str, Estimate]

    @property
    def n(self) -> int:
        """Questions."""
        return next(iter(self.metrics.values())).n


@dataclass(frozen=True, slots=True)
class Miss:
    """A question whose evidence is not wholly in the top k, and what is there instead."""

    id: str
    question: str
    kind: str | None
    evidence: tuple[Evidence, ...]
    found: tuple[Found, ...]


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """Args: see the names; ``stale`` questions were left out, as their evidence no longer stands where the dataset found it.

    ``sources`` are those of the evidence, the worst first; ``test_readings`` counts how often these test questions were read.
    """

    split: str
    dataset: str
    k: int
    settings: Mapping[str, JSON]
    overall: RetrievalRow
    kinds: tuple[RetrievalRow, ...]
    sources: tuple[RetrievalRow, ...]
    misses: tuple[Miss, ...]
    stale: tuple[str, ...] = ()
    test_readings: int = 0
    threshold: Threshold | None = None


def retrieval_rows(asked: Sequence[Retrieved], labels: Mapping[str, Iterable[str]], cuts: Sequence[int], seed: int) -> list[RetrievalRow]:
    """A row for each label, the most questions first.

    Args:
        asked: questions with evidence.
        labels: of each question by id; one may have several.
        cuts: the k of recall; nDCG is at the largest.
        seed: of the bootstrap.
    """
    by: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for each in asked:
        metrics = retrieval_metrics(each.example.evidence, each.passages, cuts)
        for label in labels[each.example.id]:
            by.setdefault(label, []).append((each.example.group, metrics))
    rows = []
    for label, values in sorted(by.items(), key=lambda item: (-len(item[1]), item[0])):
        groups = [group for group, _ in values]
        names = values[0][1]
        rows.append(RetrievalRow(label, {name: bootstrap([metrics[name] for _, metrics in values], groups, seed=seed) for name in names}))
    return rows


def misses(asked: Sequence[Retrieved], k: int) -> list[Miss]:
    """The questions whose evidence the top ``k`` do not wholly hold."""
    return [
        Miss(each.example.id, each.example.question, each.example.kind, each.example.evidence, each.found[:k])
        for each in asked
        if not _holds(each, k)
    ]


def choose_threshold(asked: Sequence[Retrieved], k: int, wanted: float) -> Threshold:
    """The lowest score at which the questions at or above it have their evidence in the top ``k`` often enough.

    Args:
        asked: questions that the documents answer, and such that they do not, which no score should let through.
        k: passages served.
        wanted: precision, in (0, 1].

    Raises:
        EvaluationError: no score gives it, on :data:`FEWEST` questions or more.
    """
    best: Threshold | None = None
    highest = 0.0
    ranked = sorted(((each.score, _holds(each, k)) for each in asked), reverse=True)
    held = sum(good for _, good in ranked)
    good = 0
    for place, (score, is_good) in enumerate(ranked, start=1):
        good += is_good
        if place < FEWEST or (place < len(ranked) and ranked[place][0] == score):  # equal scores pass together
            continue
        precision = good / place
        highest = max(highest, precision)
        if precision >= wanted:
            best = Threshold(score, wanted, precision, place / len(ranked), 1 - good / held, len(ranked))
    if best is None:
        raise EvaluationError(
            f"no score gives a precision of {wanted:g} on {len(ranked)} questions (the best is {highest:.2f}): "
            "ask for less, or add questions"
        )
    return best


def _holds(each: Retrieved, k: int) -> bool:
    return bool(each.example.evidence) and recall_at(k, each.example.evidence, each.passages) == 1.0
