"""Fusing rankings of different scales into one. Pure functions over ``{row: score}`` of one question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Scores = Mapping[int, float]


def reciprocal_rank_fusion(rankings: Sequence[Scores], weights: Sequence[float], constant: int = 60) -> dict[int, float]:
    """Sum of ``weight / (constant + rank)`` (Cormack, Clarke and Büttcher, SIGIR 2009); ranks from 1, scores' sizes do not matter."""
    fused: dict[int, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, row in enumerate(ordered(ranking), start=1):
            fused[row] = fused.get(row, 0.0) + weight / (constant + rank)
    return fused


def zscore_fusion(rankings: Sequence[Scores], weights: Sequence[float]) -> dict[int, float]:
    """Weighted sum of each ranking's z-scores over its own candidates; what a ranking lacks gets its lowest score."""
    fused: dict[int, float] = dict.fromkeys((row for ranking in rankings for row in ranking), 0.0)
    for ranking, weight in zip(rankings, weights, strict=True):
        if not ranking:
            continue
        values = np.fromiter(ranking.values(), dtype=float)
        mean, deviation = float(values.mean()), float(values.std()) or 1.0
        lowest = (float(values.min()) - mean) / deviation
        for row in fused:
            fused[row] += weight * ((ranking[row] - mean) / deviation if row in ranking else lowest)
    return fused


FUSIONS = {"zscore": zscore_fusion, "rrf": reciprocal_rank_fusion}
"""By the name that ``retrieve.fusion`` knows them by."""


def ordered(scores: Scores) -> list[int]:
    """Rows by falling score, equal scores by row."""
    return sorted(scores, key=lambda row: (-scores[row], row))
