"""Training contexts that differ from the served ones: what must hold of them whatever the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest
from made_corpus import make_corpus, passage_of

from ragtune.dataset.raft import ABSTAINING, assemble, build_examples, by_split, draw_present
from ragtune.dataset.recipe import SERVED, Recipe, make_pool, write_answer
from ragtune.dataset.shared import epoch_groups, group_contexts, separate_contexts, served_contexts
from ragtune.dataset.split import assign_splits
from ragtune.prompts import build_completion
from ragtune.types import Candidate, ContextGroup, Example

CORPUS = make_corpus(questions=5)
SPLITS = assign_splits(CORPUS.questions, seed=1)
BUILT = build_examples(CORPUS.questions, SPLITS, CORPUS.retriever, CORPUS.chunks, passage_of)
SPLIT = by_split(BUILT.examples)
TRAIN = SPLIT["train"]
POOL = make_pool(TRAIN, BUILT.passages)
BY_ID = {example.id: example for example in BUILT.examples}
K, P = 4, 0.7
RECIPES = [
    Recipe(distractors="random"),
    Recipe(distractors="random", order="shuffled", absent="answer", answer="plain"),
    Recipe(count=1),
    Recipe(count=5, order="shuffled"),
    Recipe(ranks=(4, 20)),
    Recipe(ranks=(8, 12), count=3),
    Recipe(absent="drop"),
    Recipe(distractors="random", count=2, absent="drop"),
    Recipe(absent="answer"),
]


def groups_of(recipe: Recipe, *, shared: bool, epoch: int = 0, seed: int = 3) -> list[ContextGroup]:
    return epoch_groups(TRAIN, BUILT.passages, epoch=epoch, total_epochs=2, seed=seed, p=P, k=K, shared=shared, recipe=recipe)


def could_answer(example: Example, passage: str) -> bool:
    return passage in example.oracles or any(answer in BUILT.passages[passage].text for answer in example.answers)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("epoch", [0, 1])
def test_whatever_the_recipe_a_context_shows_what_was_drawn_and_no_more(recipe: Recipe, shared: bool, epoch: int) -> None:
    present = draw_present(TRAIN, epoch=epoch, seed=3, p=P)
    trained = [example for example in TRAIN if example.id in present or not example.answers or recipe.absent != "drop"]
    groups = groups_of(recipe, shared=shared, epoch=epoch)
    assert sorted(branch.id for group in groups for branch in group.branches) == sorted(example.id for example in trained)
    allowed = set(POOL.ids)
    for group in groups:
        shown = [passage.id for passage in group.passages or ()]
        assert len(shown) == len(set(shown))
        for branch in group.branches:
            example = BY_ID[branch.id]
            assert set(shown) - set(example.oracles) <= allowed, "only what may be shown in training"
            if branch.id in present:
                assert set(example.oracles) <= set(shown)
                assert branch.completion == write_answer(example, recipe.answer)
            else:
                assert not any(could_answer(example, id_) for id_ in shown)
                remembered = recipe.absent == "answer" and example.answers
                assert branch.completion == (build_completion(example.answers[0]) if remembered else ABSTAINING)
    answered = sum(branch.id in present for group in groups for branch in group.branches)
    assert answered == len(present) == round(P * sum(bool(example.oracles) for example in TRAIN))


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_number_of_passages_does_not_give_away_whether_the_evidence_is_there(recipe: Recipe) -> None:
    sizes = {len(group.passages or ()) for group in groups_of(recipe, shared=False)}
    assert sizes == {K if recipe.count is None else recipe.count + 1}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_s_contexts_are_a_function_of_seed_and_epoch_alone(recipe: Recipe) -> None:
    once = groups_of(recipe, shared=False)
    reversed_ = separate_contexts(TRAIN[::-1], BUILT.passages, epoch=0, seed=3, p=P, k=K, recipe=recipe)
    assert once == reversed_
    other = {branch.id: group.passages for group in groups_of(recipe, shared=False, epoch=1) for branch in group.branches}
    assert any(other.get(group.branches[0].id) != group.passages for group in once)


def test_the_served_recipe_changes_nothing() -> None:
    for example in TRAIN:
        for present in (True, False):
            plain = assemble(example, present=present, epoch=1, seed=5, k=K)
            assert plain == assemble(example, present=present, epoch=1, seed=5, k=K, recipe=SERVED, pool=POOL)


def test_random_distractors_are_mostly_none_that_retrieval_finds() -> None:
    ranks = {example.id: {each.passage for each in example.candidates} for example in TRAIN}
    drawn = [
        passage.id in ranks[group.branches[0].id]
        for group in groups_of(Recipe(distractors="random"), shared=False)
        for passage in group.passages or ()
        if passage.id not in BY_ID[group.branches[0].id].oracles
    ]
    assert sum(drawn) / len(drawn) < 0.3


def test_the_oracle_s_place_among_random_distractors_is_uniform() -> None:
    places = [0] * K
    for epoch in range(3):
        for group in groups_of(Recipe(distractors="random"), shared=False, epoch=epoch):
            example = BY_ID[group.branches[0].id]
            shown = [passage.id for passage in group.passages or ()]
            for oracle in set(example.oracles) & set(shown):
                places[shown.index(oracle)] += 1
    assert max(places) < 1.25 * min(places)


def test_distractors_come_from_the_window_of_ranks_in_served_order() -> None:
    for example in TRAIN:
        rank = {each.passage: each.rank for each in example.candidates}
        shown = assemble(example, present=True, epoch=0, seed=0, k=K, recipe=Recipe(ranks=(6, 15))).passages
        beside = [rank[id_] for id_ in shown if id_ not in example.oracles]
        within = sum(6 <= each.rank <= 15 and each.allowed and not each.oracle for each in example.candidates)
        if within >= len(beside):
            assert all(6 <= each <= 15 for each in beside)
        assert beside == sorted(beside)


def words(candidates: str, oracles: Sequence[str] = ("o",)) -> Example:
    """Candidates as words in ranked order: ``o…`` an oracle, ``h…`` holds the answer, ``x…`` may not be shown in training."""
    ranked = tuple(Candidate(id_, n, id_[0] == "o", id_[0] == "h", id_[0] != "x") for n, id_ in enumerate(candidates.split(), start=1))
    completion = build_completion("Ann", ["Ann did.", 'So "she" says'], "It says so.")
    return Example("q", "Who?", ("Ann",), completion, tuple(oracles), ranked, (), "train", None, "g", reasoning="It says so.")


def test_false_negatives_are_kept_where_the_recipe_says_so_and_oracles_never() -> None:
    example = words("o a h x b o2 c")
    for ranks in (None, (1, 20)):
        kept = assemble(example, present=False, epoch=0, seed=0, k=4, recipe=Recipe(false_negatives="keep", ranks=ranks)).passages
        assert kept == ("a", "h", "b", "c")
        assert assemble(example, present=False, epoch=0, seed=0, k=4, recipe=Recipe(ranks=ranks)).passages == ("a", "b", "c")


def test_an_oracle_that_is_not_flagged_as_one_is_no_distractor_either() -> None:
    for recipe in (SERVED, Recipe(ranks=(1, 20))):
        assert assemble(words("a b c", oracles=["b"]), present=False, epoch=0, seed=0, k=3, recipe=recipe).passages == ("a", "c")


@pytest.mark.parametrize("policy", ["remove", "keep"])
def test_a_question_without_its_evidence_joins_no_context_that_might_answer_it(policy: Literal["remove", "keep"]) -> None:
    asking = replace(words("o h c d"), id="asking")
    lacking = replace(words("a h c d", oracles=["z"]), id="lacking")
    shared = tuple(replace(each, passage="o" if each.passage == "a" else each.passage) for each in lacking.candidates)
    lacking = replace(lacking, candidates=shared)
    passages = {id_: replace(BUILT.passages[POOL.ids[0]], id=id_) for id_ in "ohcdz"}
    seen = set()
    for seed in range(60):
        if draw_present([asking, lacking], epoch=0, seed=seed, p=0.5) == {"asking"}:
            recipe = Recipe(false_negatives=policy)
            groups = group_contexts([asking, lacking], passages, epoch=0, seed=seed, p=0.5, k=2, min_own=1, recipe=recipe)
            own = next(group for group in groups if "lacking" in [branch.id for branch in group.branches])
            seen.add("h" in [passage.id for passage in own.passages or ()])
    assert seen == ({False} if policy == "remove" else {True})


def test_a_window_with_too_few_takes_the_best_ranked_beside_it() -> None:
    assert assemble(words("o a b c d"), present=True, epoch=0, seed=0, k=4, recipe=Recipe(ranks=(5, 9))).passages == ("o", "a", "b", "d")


def test_shuffling_moves_passages_and_changes_none() -> None:
    example = words("o a b c")
    orders = {assemble(example, present=True, epoch=epoch, seed=0, k=4, recipe=Recipe(order="shuffled")).passages for epoch in range(40)}
    assert {frozenset(order) for order in orders} == {frozenset("oabc")}
    assert len(orders) > 12


def test_each_form_of_answer_is_made_of_the_same_example() -> None:
    example = words("o a")
    assert write_answer(example, None) == example.completion
    assert write_answer(example, "reasoned") == example.completion
    assert write_answer(example, "quote") == build_completion("Ann", ["Ann did.", 'So "she" says'])
    assert write_answer(example, "plain") == "Answer: Ann"
    assert write_answer(replace(example, answers=(), completion=ABSTAINING), "plain") == ABSTAINING


def test_validation_follows_the_recipe_in_what_is_written_not_in_what_is_shown() -> None:
    plain = served_contexts(SPLIT["validation"], BUILT.passages, k=K)
    short = served_contexts(SPLIT["validation"], BUILT.passages, k=K, recipe=Recipe(distractors="random", order="shuffled", answer="plain"))
    assert [group.passages for group in short] == [group.passages for group in plain]
    assert all('"' not in group.branches[0].completion for group in short)
    missed = replace(words("a b o"), split="validation")
    passages = dict.fromkeys("ab", BUILT.passages[POOL.ids[0]])
    written = {each: served_contexts([missed], passages, k=2, recipe=Recipe(absent=each)) for each in ("abstain", "answer", "drop")}  # type: ignore[arg-type]
    assert [[group.branches[0].completion for group in groups] for groups in written.values()] == [[ABSTAINING], ["Answer: Ann"], []]
