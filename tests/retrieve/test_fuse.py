"""Fusion against values worked out by hand, and what must hold for any rankings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.retrieve.fuse import ordered, reciprocal_rank_fusion, zscore_fusion

BOTH = (0.5, 0.5)
scores = st.dictionaries(st.integers(0, 30), st.integers(-1000, 1000).map(lambda n: n / 100), max_size=12)


def test_reciprocal_rank_fusion_by_hand() -> None:
    fused = reciprocal_rank_fusion([{1: 0.9, 2: 0.8}, {2: 12.0, 3: 4.0}], (1.0, 1.0), constant=60)
    assert fused == pytest.approx({1: 1 / 61, 2: 1 / 62 + 1 / 61, 3: 1 / 62})
    assert ordered(fused) == [2, 1, 3]


def test_zscore_fusion_by_hand() -> None:
    # First ranking: mean 2, standard deviation 1: z = 1, -1. Second: mean 4, deviation sqrt(8/3): z = 1.2247, 0, -1.2247.
    fused = zscore_fusion([{1: 3.0, 2: 1.0}, {1: 6.0, 3: 4.0, 4: 2.0}], BOTH)
    z = (3 / 2) ** 0.5
    assert fused == pytest.approx({1: (1 + z) / 2, 2: (-1 - z) / 2, 3: (-1 + 0) / 2, 4: (-1 - z) / 2})


def test_zscores_do_not_depend_on_a_rankings_scale() -> None:
    one = zscore_fusion([{1: 0.9, 2: 0.5, 3: 0.1}, {3: 7.0, 4: 1.0}], BOTH)
    other = zscore_fusion([{1: 91.0, 2: 51.0, 3: 11.0}, {3: 7.0, 4: 1.0}], BOTH)
    assert one == pytest.approx(other)


def test_weight_one_is_the_first_ranking_alone() -> None:
    first, second = {1: 0.9, 2: 0.5}, {2: 9.0, 3: 4.0}
    assert ordered(zscore_fusion([first, second], (1.0, 0.0)))[:2] == [1, 2]
    assert ordered(reciprocal_rank_fusion([first, second], (1.0, 0.0)))[:2] == [1, 2]


def test_equal_scores_come_by_row() -> None:
    assert ordered({7: 1.0, 3: 1.0, 5: 2.0}) == [5, 3, 7]


@given(first=scores, second=scores)
def test_fusion_keeps_every_candidate_and_ignores_the_order_of_insertion(first: dict[int, float], second: dict[int, float]) -> None:
    for fuse in (reciprocal_rank_fusion, zscore_fusion):
        fused = fuse([first, second], BOTH)
        assert fused.keys() == first.keys() | second.keys()
        turned = fuse([dict(reversed(first.items())), dict(reversed(second.items()))], BOTH)
        assert turned == pytest.approx(fused)


@given(ranking=scores)
def test_a_ranking_fused_with_nothing_keeps_its_order(ranking: dict[int, float]) -> None:
    assert ordered(reciprocal_rank_fusion([ranking, {}], BOTH)) == ordered(ranking)
    found = zscore_fusion([ranking, {}], BOTH)
    values = [ranking[row] for row in ordered(found)]
    assert values == sorted(values, reverse=True)
