"""Did retrieval find the evidence? Measured on characters of documents, so that any chunking can be compared with any other.

A span of evidence is *covered* at rank r when the hits up to r together hold every character of it, white space aside: evidence
that a chunk border cuts in two is covered once both chunks are there. Everything here follows from that one count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ragtune.types import Evidence, Span

Ranking = Sequence[Sequence[Span]]
"""Hits, best first; each the spans of document text that it shows."""


def covered_by_rank(evidence: Sequence[Evidence], ranking: Ranking) -> list[int]:
    """How many spans of evidence are covered after rank 1, 2, …, never falling."""
    missing = [{gold.start + i for i, c in enumerate(gold.text) if not c.isspace()} for gold in evidence]
    counts = []
    for hit in ranking:
        for span in hit:
            for gold, left in zip(evidence, missing, strict=True):
                if left and gold.document == span.document and span.start < gold.end and gold.start < span.end:
                    left.difference_update(range(max(span.start, gold.start), min(span.end, gold.end)))
        counts.append(sum(not left for left in missing))
    return counts


def recall_at(k: int, evidence: Sequence[Evidence], ranking: Ranking) -> float:
    """Share of the evidence spans that the top ``k`` cover, in [0, 1]."""
    counts = covered_by_rank(evidence, ranking[:k])
    return counts[-1] / len(evidence) if counts and evidence else 0.0


def ndcg_at(k: int, evidence: Sequence[Evidence], ranking: Ranking) -> float:
    """Normalised discounted cumulative gain of the top ``k`` (Järvelin and Kekäläinen, 2002), in [0, 1].

    A hit gains the number of spans that it newly covers, so the same evidence found twice counts once. The ideal is one span at each
    rank; a hit that holds several at once cannot score above it.
    """
    gain = last = 0
    total = 0.0
    for rank, count in enumerate(covered_by_rank(evidence, ranking[:k]), start=1):
        gain, last = count - last, count
        total += gain / math.log2(rank + 1)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(evidence)) + 1))
    return min(1.0, total / ideal) if ideal else 0.0


def reciprocal_rank(evidence: Sequence[Evidence], ranking: Ranking) -> float:
    """One over the rank at which the first span of evidence is covered; 0 where none is. Its mean is MRR."""
    for rank, count in enumerate(covered_by_rank(evidence, ranking), start=1):
        if count:
            return 1 / rank
    return 0.0


def retrieval_metrics(evidence: Sequence[Evidence], ranking: Ranking, cuts: Sequence[int]) -> dict[str, float]:
    """``recall@k`` for each cut, ``ndcg@k`` at the largest, and ``mrr``, of one question."""
    metrics = {f"recall@{k}": recall_at(k, evidence, ranking) for k in cuts}
    metrics[f"ndcg@{max(cuts)}"] = ndcg_at(max(cuts), evidence, ranking)
    metrics["mrr"] = reciprocal_rank(evidence, ranking)
    return metrics
