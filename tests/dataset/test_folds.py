"""Folds: every question held out once, and nothing of a held-out document trained on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from ragtune.dataset.folds import fold_dataset, fold_of_groups
from ragtune.dataset.store import Dataset
from ragtune.types import Candidate, Evidence, Example, Passage, Span

FOLDS = 3
DOCUMENTS = [f"doc{n}" for n in range(8)]
PASSAGES = {
    f"{document}-{part}": Passage(f"{document}-{part}", document, document, "", "x" * 50, (Span(document, 50 * part, 50 * part + 50),), ())
    for document in DOCUMENTS
    for part in (0, 1)
}


def example(document: str, number: int, split: str) -> Example:
    oracle = f"{document}-0"
    candidates = tuple(Candidate(id_, rank, id_ == oracle, holds_answer=False, allowed=True) for rank, id_ in enumerate(PASSAGES, 1))
    return Example(
        id=f"{document}/{number}", question="?", answers=("x",), completion="Answer: x", oracles=(oracle,), candidates=candidates,
        evidence=(Evidence(document, 5, 9, "xxxx"),), split=split, stratum=None if split == "train" else "new_questions", group=document,
    )  # fmt: skip


@pytest.fixture
def data() -> Dataset:
    made = {split: [example(d, n, split) for d in DOCUMENTS for n in numbers] for split, numbers in
            (("train", range(3)), ("validation", range(3, 4)), ("test", range(4, 6)))}  # fmt: skip
    return Dataset(made["train"], made["validation"], made["test"], PASSAGES)


@pytest.fixture
def folds(data: Dataset) -> list[Dataset]:
    fold_of = fold_of_groups([*data.train, *data.validation, *data.test], FOLDS, seed=0)
    return [fold_dataset(data, fold_of, number, whole_documents=True) for number in range(FOLDS)]


def test_every_question_is_held_out_by_one_fold_and_trained_on_by_the_others(data, folds) -> None:
    every = {each.id for each in (*data.train, *data.validation, *data.test)}
    assert Counter(each.id for fold in folds for each in fold.test) == Counter(every)
    for fold in folds:
        held, trained = {each.group for each in fold.test}, {each.group for each in (*fold.train, *fold.validation)}
        assert not held & trained
        assert held | trained == set(DOCUMENTS)
        assert {each.id for each in fold.validation} <= {each.id for each in data.validation}
        assert {each.split for each in fold.train} == {"train"}
        assert {(each.split, each.stratum) for each in fold.test} == {("test", "new_documents")}
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 6, "at most one document more"


def test_no_passage_of_a_held_out_document_is_a_training_distractor(folds) -> None:
    for fold in folds:
        held = {each.group for each in fold.test}
        for each in fold.train:
            assert {c.passage.split("-")[0] for c in each.candidates if c.allowed} == set(DOCUMENTS) - held


def test_of_sections_what_touches_held_out_evidence_is_closed(data) -> None:
    fold_of = fold_of_groups([*data.train, *data.validation, *data.test], FOLDS, seed=0)
    fold = fold_dataset(data, fold_of, 0, whole_documents=False)
    held = {each.group for each in fold.test}
    closed = {c.passage for c in fold.train[0].candidates if not c.allowed}
    assert closed == {f"{document}-0" for document in held}


def test_folds_depend_on_the_seed_and_not_on_the_order_of_questions() -> None:
    some = [example(d, n, "train") for d in DOCUMENTS for n in range(2)]
    assert fold_of_groups(some, 4, 0) == fold_of_groups(some[::-1], 4, 0)
    assert fold_of_groups(some, 4, 0) != fold_of_groups(some, 4, 1)


def test_a_reviewed_question_is_trained_on_and_never_tested(data) -> None:
    reviewed = data.train[0].id
    known = replace(data, fields={reviewed: {"reviewed": "2026-01-01T00:00:00Z"}})
    fold_of = fold_of_groups([*data.train, *data.validation, *data.test], FOLDS, seed=0)
    folds = [fold_dataset(known, fold_of, number, whole_documents=True) for number in range(FOLDS)]
    assert reviewed not in {each.id for fold in folds for each in fold.test}
    assert sum(reviewed in {each.id for each in fold.train} for fold in folds) == FOLDS - 1, "where its document is held out it is left out"


def test_no_passage_of_a_document_like_a_held_out_one_is_a_training_distractor(data) -> None:
    fold_of = dict.fromkeys(DOCUMENTS, 1) | {"doc0": 0}
    fold = fold_dataset(data, fold_of, 0, whole_documents=True, alike=[("doc0", "doc3"), ("doc5", "doc3"), ("doc1", "doc2")])
    closed = {c.passage.split("-")[0] for c in fold.train[0].candidates if not c.allowed}
    assert closed == {"doc0", "doc3", "doc5"}
