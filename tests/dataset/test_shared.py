from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from made_corpus import make_corpus, passage_of

from ragtune.dataset.raft import ABSTAINING, assemble, build_examples, by_split, draw_present
from ragtune.dataset.shared import epoch_groups, group_contexts, separate_contexts, served_contexts
from ragtune.dataset.split import assign_splits
from ragtune.types import ContextGroup, Example

CORPUS = make_corpus(questions=5)
SPLITS = assign_splits(CORPUS.questions, seed=1)
BUILT = build_examples(CORPUS.questions, SPLITS, CORPUS.retriever, CORPUS.chunks, passage_of)
TRAIN = by_split(BUILT.examples)["train"]
BY_ID = {example.id: example for example in BUILT.examples}
K = 4


def shown(group: ContextGroup) -> list[str]:
    return [passage.id for passage in group.passages or ()]


def ids(groups: Sequence[ContextGroup]) -> list[str]:
    return [branch.id for group in groups for branch in group.branches]


def check(groups: Sequence[ContextGroup], examples: Sequence[Example], *, epoch: int, seed: int, p: float, rank_bound: int = 20) -> None:
    """The invariants of any grouping of an epoch."""
    assert sorted(ids(groups)) == sorted(example.id for example in examples)
    present = draw_present(examples, epoch=epoch, seed=seed, p=p)
    for group in groups:
        context = shown(group)
        assert len(context) == len(set(context))
        for branch in group.branches:
            example = BY_ID[branch.id]
            flags = {candidate.passage: candidate for candidate in example.candidates}
            assert branch.question == example.question
            if branch.id in present:
                assert set(example.oracles) <= set(context)
                assert branch.completion == example.completion
            else:
                assert branch.completion == ABSTAINING
                for id_ in context:
                    assert id_ not in example.oracles
                    assert not flags[id_].oracle
                    assert not flags[id_].holds_answer
            for id_ in set(context) - set(example.oracles):
                assert flags[id_].rank <= rank_bound
                assert flags[id_].allowed
    assert sum(branch.completion != ABSTAINING for group in groups for branch in group.branches) == len(present)


@pytest.mark.parametrize("p", [0.0, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("epoch", [0, 1])
def test_the_invariants_hold_for_shared_and_separate_contexts(p: float, epoch: int) -> None:
    shared = group_contexts(TRAIN, BUILT.passages, epoch=epoch, seed=7, p=p, k=K)
    check(shared, TRAIN, epoch=epoch, seed=7, p=p)
    separate = separate_contexts(TRAIN, BUILT.passages, epoch=epoch, seed=7, p=p, k=K)
    check(separate, TRAIN, epoch=epoch, seed=7, p=p)
    assert all(len(group.branches) == 1 for group in separate)
    assert len(shared) < 0.8 * len(separate)


def test_the_bounds_on_branches_ranks_and_own_passages_are_kept() -> None:
    groups = group_contexts(TRAIN, BUILT.passages, epoch=0, seed=0, p=0.9, k=K, max_branches=3, rank_bound=8, min_own=3)
    present = draw_present(TRAIN, epoch=0, seed=0, p=0.9)
    assert max(len(group.branches) for group in groups) == 3
    for group in groups:
        for branch in group.branches[1:]:
            flags = {candidate.passage: candidate for candidate in BY_ID[branch.id].candidates}
            assert all(id_ in BY_ID[branch.id].oracles or flags[id_].rank <= 8 for id_ in shown(group))
            own = assemble(BY_ID[branch.id], present=branch.id in present, epoch=0, seed=0, k=K).passages
            assert len(set(own) & set(shown(group))) >= 3
    alone = group_contexts(TRAIN, BUILT.passages, epoch=0, seed=0, p=0.9, k=K, max_branches=1)
    assert alone == separate_contexts(TRAIN, BUILT.passages, epoch=0, seed=0, p=0.9, k=K)


def test_the_first_branch_of_a_group_has_exactly_its_served_context() -> None:
    groups = group_contexts(TRAIN, BUILT.passages, epoch=0, seed=0, p=0.9, k=K)
    present = draw_present(TRAIN, epoch=0, seed=0, p=0.9)
    for group in groups:
        first = BY_ID[group.branches[0].id]
        assert tuple(shown(group)) == assemble(first, present=first.id in present, epoch=0, seed=0, k=K).passages


def test_groups_are_a_function_of_seed_and_epoch_alone() -> None:
    groups = group_contexts(TRAIN, BUILT.passages, epoch=2, seed=0, p=0.8, k=K)
    assert groups == group_contexts(TRAIN[::-1], BUILT.passages, epoch=2, seed=0, p=0.8, k=K)
    assert ids(groups) != ids(group_contexts(TRAIN, BUILT.passages, epoch=1, seed=0, p=0.8, k=K))
    assert ids(groups) != ids(group_contexts(TRAIN, BUILT.passages, epoch=2, seed=1, p=0.8, k=K))


@pytest.mark.parametrize("total", [1, 2, 2.5, 5])
def test_the_last_fifth_of_the_run_uses_exact_served_contexts(total: float) -> None:
    run: list[tuple[int, int]] = []  # questions in the group, epoch
    epochs = int(total + 0.5)
    for epoch in range(epochs):
        groups = epoch_groups(TRAIN, BUILT.passages, epoch=epoch, total_epochs=total, seed=0, p=0.9, k=K, shared=True)
        check(groups, TRAIN, epoch=epoch, seed=0, p=0.9)
        own = {branch.id: shown(group) for group in separate_contexts(TRAIN, BUILT.passages, epoch=epoch, seed=0, p=0.9, k=K)
               for branch in group.branches}  # fmt: skip
        for group in groups:
            run += [(len(group.branches), epoch)] * len(group.branches)
            if len(group.branches) == 1:
                assert shown(group) == own[group.branches[0].id]
    start = round(0.8 * total * len(TRAIN))
    assert {size for size, _ in run[start + 1 :]} == {1}
    assert sum(size > 1 for size, _ in run[:start]) > 0.3 * start


def test_without_sharing_every_question_stands_alone() -> None:
    groups = epoch_groups(TRAIN, BUILT.passages, epoch=0, total_epochs=2, seed=0, p=0.9, k=K, shared=False)
    assert groups == separate_contexts(TRAIN, BUILT.passages, epoch=0, seed=0, p=0.9, k=K)


def test_validation_contexts_are_as_served_and_answer_only_what_they_show() -> None:
    examples = [each for split in ("validation", "test") for each in by_split(BUILT.examples)[split]]
    groups = served_contexts(examples, BUILT.passages, k=2)
    kinds: Counter[bool] = Counter()
    for group in groups:
        (branch,) = group.branches
        example = BY_ID[branch.id]
        assert shown(group) == [candidate.passage for candidate in example.candidates[:2]]
        abstains = branch.completion == ABSTAINING
        kinds[abstains] += 1
        if abstains:
            assert not any(candidate.oracle or candidate.holds_answer for candidate in example.candidates[:2])
        else:
            assert set(example.oracles) <= set(shown(group))
    assert min(kinds.values()) > 3
