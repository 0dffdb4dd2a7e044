"""Retrieval metrics: independent of chunking, and equal to ir-measures where hits and evidence correspond one to one."""

from __future__ import annotations

import random

import ir_measures
import pytest
from ir_measures import RR, R, nDCG

from ragtune.evaluate.retrieval import covered_by_rank, ndcg_at, recall_at, reciprocal_rank, retrieval_metrics
from ragtune.types import Evidence, Span


def evidence(start: int, text: str = "gold words", document: str = "d") -> Evidence:
    return Evidence(document, start, start + len(text), text)


def hit(start: int, end: int, document: str = "d") -> tuple[Span, ...]:
    return (Span(document, start, end),)


def test_evidence_cut_by_a_chunk_border_is_covered_once_both_chunks_are_there() -> None:
    gold = [evidence(100)]
    assert covered_by_rank(gold, [hit(0, 104), hit(200, 300), hit(105, 200)]) == [0, 0, 1]  # the space at 104 is in no chunk


def test_recall_does_not_depend_on_chunking() -> None:
    gold = [evidence(100), evidence(400)]
    whole = [hit(0, 500)]
    small = [hit(start, start + 50) for start in range(0, 500, 50)]
    assert recall_at(1, gold, whole) == recall_at(10, gold, small) == 1
    assert recall_at(3, gold, small) == 0.5


def test_the_same_offsets_of_another_document_cover_nothing() -> None:
    assert recall_at(1, [evidence(0)], [hit(0, 50, "other")]) == 0


def test_a_passage_of_several_spans_counts_with_each_of_them() -> None:
    assert recall_at(1, [evidence(0), evidence(300)], [(Span("d", 0, 20), Span("d", 290, 320))]) == 1


def test_no_evidence_found_or_nothing_retrieved_is_zero() -> None:
    assert retrieval_metrics([evidence(0)], [], (1, 5)) == {"recall@1": 0, "recall@5": 0, "ndcg@5": 0, "mrr": 0}


def test_the_same_evidence_found_twice_gains_once() -> None:
    gold = [evidence(0), evidence(300)]
    assert ndcg_at(2, gold, [hit(0, 20), hit(0, 25)]) == pytest.approx(1 / (1 + 1 / 1.584962500721156))


@pytest.mark.parametrize("seed", range(5))
def test_one_span_a_hit_equals_ir_measures(seed: int) -> None:
    rng = random.Random(seed)
    places = [i * 100 for i in range(12)]
    relevant = rng.sample(places, 3)
    ranked = rng.sample(places, 10)
    gold = [evidence(place) for place in relevant]
    ranking = [hit(place, place + 50) for place in ranked]
    qrels = [ir_measures.Qrel("q", str(place), 1) for place in relevant]
    run = [ir_measures.ScoredDoc("q", str(place), -rank) for rank, place in enumerate(ranked)]
    expected = ir_measures.calc_aggregate([R @ 3, R @ 5, nDCG @ 5, nDCG @ 10, RR], qrels, run)
    assert recall_at(3, gold, ranking) == pytest.approx(expected[R @ 3])
    assert recall_at(5, gold, ranking) == pytest.approx(expected[R @ 5])
    assert ndcg_at(5, gold, ranking) == pytest.approx(expected[nDCG @ 5])
    assert ndcg_at(10, gold, ranking) == pytest.approx(expected[nDCG @ 10])
    assert reciprocal_rank(gold, ranking) == pytest.approx(expected[RR])
