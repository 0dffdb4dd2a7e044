"""Changed contexts: what each shows, and that nothing but the named thing changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragtune.dataset.changed import CHANGES, ChangedContext, changed_context, with_typos
from ragtune.types import Candidate, Evidence, Example, Passage, Span

K = 3


def passage(id_: str, document: str, text: str = "nothing here") -> Passage:
    return Passage(id_, document, document, "", text, (Span(document, 0, len(text)),), (id_,))


PASSAGES = {
    each.id: each
    for each in (
        *(passage(f"p{n}", f"doc{n}") for n in range(6)),
        *(passage(f"far{n}", f"elsewhere{n}") for n in range(4)),
        passage("holds", "elsewhere9", "It was built by Willow Heron, they say."),
    )
}
EXAMPLE = Example(
    id="q",
    question="Who built the lighthouse of Ardmoor in stone?",
    answers=("Willow Heron",),
    completion="",
    oracles=("p1",),
    candidates=tuple(Candidate(f"p{n}", n + 1, n == 1, holds_answer=False, allowed=True) for n in range(6)),
    evidence=(Evidence("doc1", 0, 7, "nothing"),),
    split="test",
    stratum="new_documents",
    group="doc1",
)


def changed(change: str, example: Example = EXAMPLE, seed: int = 0) -> ChangedContext | None:
    return changed_context(example, change, k=K, passages=PASSAGES, seed=seed)


@pytest.mark.parametrize(
    ("change", "shown", "answerable"),
    [
        ("one_passage", ("p0",), False),
        ("twice_as_many", ("p0", "p1", "p2", "p3", "p4", "p5"), True),
        ("reversed", ("p2", "p1", "p0"), True),
        ("oracle_first", ("p1", "p0", "p2"), True),
        ("oracle_last", ("p0", "p2", "p1"), True),
        ("typos", ("p0", "p1", "p2"), True),
    ],
)
def test_what_is_shown(change: str, shown: tuple[str, ...], answerable: bool) -> None:
    made = changed(change)
    assert (made.passages, made.answerable) == (shown, answerable)
    assert (made.question == EXAMPLE.question) is (change != "typos")


def test_a_shuffle_is_seeded_and_shows_the_same_passages() -> None:
    orders = {changed("shuffled", seed=seed).passages for seed in range(20)}
    assert {frozenset(order) for order in orders} == {frozenset({"p0", "p1", "p2"})}
    assert len(orders) > 3
    assert changed("shuffled", seed=4) == changed("shuffled", seed=4)


def test_noise_comes_from_documents_that_are_not_served_and_never_holds_the_answer() -> None:
    for seed in range(20):
        shown = changed("noise", seed=seed).passages
        assert shown[::2] == ("p0", "p1", "p2"), "the served passages stay in order"
        noise = shown[1::2]
        assert len(set(noise)) == K
        assert not {"p0", "p1", "p2", "holds"} & set(noise)
    near = {id_: each for id_, each in PASSAGES.items() if id_ in ("p0", "p1", "p2", "holds")}
    assert changed_context(EXAMPLE, "noise", k=K, passages=near, seed=0) is None, "there is none to be had"


def test_the_oracle_is_moved_only_where_it_is_served() -> None:
    missed = replace(EXAMPLE, oracles=("p5",))
    assert changed("oracle_first", missed) is None
    assert changed("oracle_last", missed) is None
    assert changed("twice_as_many", missed).answerable
    assert all(changed(change, replace(EXAMPLE, candidates=())) is None for change in CHANGES)


def test_typos_change_some_letters_of_longer_words_and_are_seeded() -> None:
    question = EXAMPLE.question
    seen = set()
    for seed in range(50):
        made = with_typos(question, seed)
        seen.add(made)
        assert made != question
        assert made == with_typos(question, seed)
        pairs = list(zip(question.split(), made.split(), strict=True))
        assert all(a == b for a, b in pairs if len(a) < 4)
        for a, b in pairs:
            assert abs(len(a) - len(b)) <= 1
            assert (a[0], a[-1]) == (b[0], b[-1]), "first and last letters stay"
    assert len(seen) > 25
    assert with_typos("Is it so?", 1) == "Is it so?"
