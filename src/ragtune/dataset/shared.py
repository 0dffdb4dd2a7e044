"""Context groups: what is trained as one sequence, each epoch anew.

Questions whose served contexts overlap share one context: the context is read once, and each question and its answer is a branch that
sees the context and itself. A question is admitted to another's context only where that context could have been served to it.
Everything is a pure function of seed and epoch, so a resumed run sees what an undisturbed one saw.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragtune.dataset.draws import draw
from ragtune.dataset.raft import Assembled, assemble, draw_present, evaluation_context
from ragtune.dataset.recipe import SERVED, Pool, Recipe, make_pool, write_answer, write_without_evidence
from ragtune.types import Branch, ContextGroup, Example, Passage

_CONTEXTS_TRIED = 8
"""Near questions whose contexts are tried for a group.

Of the training questions of squadshifts, served three passages, 1.42 share a context with none tried, 1.55 with four, 1.56 with more.
"""


@dataclass(frozen=True, slots=True)
class _Admission:
    """What decides whether a question may join a context: passages it may see, must see and must not see."""

    bounded: frozenset[str]
    required: frozenset[str]
    forbidden: frozenset[str]


def group_contexts(
    examples: Sequence[Example],
    passages: Mapping[str, Passage],
    *,
    epoch: int,
    seed: int,
    p: float,
    k: int,
    max_branches: int = 12,
    rank_bound: int = 20,
    min_own: int = 2,
    recipe: Recipe = SERVED,
) -> list[ContextGroup]:
    """Cover each question once with shared contexts.

    Args:
        examples: the training split.
        passages: by id.
        epoch: from 0.
        seed: of the draw.
        p: share of the answerable questions that see their oracle.
        k: passages a context.
        max_branches: questions a context, at most.
        rank_bound: every distractor in a question's context is within this rank of its own ranking.
        min_own: passages of its own served context that a question must find in the one it joins.
        recipe: what a context is made of.
    """
    served = _served(examples, passages, epoch=epoch, seed=seed, p=p, k=k, recipe=recipe)
    return _group(_trained(examples, served), served, passages, (seed, epoch), max_branches, rank_bound, min_own, recipe)


def separate_contexts(
    examples: Sequence[Example],
    passages: Mapping[str, Passage],
    *,
    epoch: int,
    seed: int,
    p: float,
    k: int,
    recipe: Recipe = SERVED,
) -> list[ContextGroup]:
    """Each question alone in its own served context, in a drawn order."""
    served = _served(examples, passages, epoch=epoch, seed=seed, p=p, k=k, recipe=recipe)
    return _separate(_shuffled(_trained(examples, served), (seed, epoch)), served, passages)


def epoch_groups(
    examples: Sequence[Example],
    passages: Mapping[str, Passage],
    *,
    epoch: int,
    total_epochs: float,
    seed: int,
    p: float,
    k: int,
    shared: bool,
    exact_tail: float = 0.2,
    max_branches: int = 12,
    rank_bound: int = 20,
    min_own: int = 2,
    recipe: Recipe = SERVED,
) -> list[ContextGroup]:
    """The context groups of one epoch in the order they are trained.

    Args:
        examples: the training split.
        passages: by id.
        epoch: from 0.
        total_epochs: of the run, possibly broken.
        seed: of the draw.
        p: as in :func:`group_contexts`, and so are ``k``, ``max_branches``, ``rank_bound`` and ``min_own``.
        k: passages a context.
        shared: whether contexts are shared at all.
        exact_tail: share of the run, at its end, in which every question has its own served context of ``k`` passages.
        max_branches: questions a context, at most.
        rank_bound: lowest rank of a distractor.
        min_own: passages of its own context that a question must find.
        recipe: what a context is made of.
    """
    served = _served(examples, passages, epoch=epoch, seed=seed, p=p, k=k, recipe=recipe)
    order = _shuffled(_trained(examples, served), (seed, epoch))
    share = min(1.0, max(0.0, (1 - exact_tail) * total_epochs - epoch))
    cut = int(share * len(order) + 0.5)
    if not shared:
        return _separate(order, served, passages)
    grouped = _group(order[:cut], served, passages, (seed, epoch), max_branches, rank_bound, min_own, recipe)
    return grouped + _separate(order[cut:], served, passages)


def served_contexts(examples: Sequence[Example], passages: Mapping[str, Passage], *, k: int, recipe: Recipe = SERVED) -> list[ContextGroup]:
    """Validation contexts: each question alone with its top k exactly as served, whatever the recipe shows in training.

    The completion abstains where nothing shown could answer, or does what the recipe says instead; a question of which only a part of
    the evidence, or another passage with the answer, is shown has no one right completion and is left out.
    """
    groups = []
    for example in examples:
        shown = evaluation_context(example, "retrieved", k)
        could_answer = any(each.oracle or each.holds_answer for each in example.candidates[:k])
        complete = bool(example.oracles) and shown.answerable
        if complete or (not could_answer and not (recipe.absent == "drop" and example.answers)):
            completion = write_answer(example, recipe.answer) if complete else write_without_evidence(example, recipe)
            groups.append(
                ContextGroup(
                    tuple(passages[id_] for id_ in shown.passages or ()),
                    (Branch(example.id, example.question, completion, example.history),),
                )
            )
    return groups


def _served(
    examples: Sequence[Example], passages: Mapping[str, Passage], *, epoch: int, seed: int, p: float, k: int, recipe: Recipe
) -> dict[str, Assembled]:
    """By question what it is served in this epoch; a question that the recipe drops is not among them."""
    present = draw_present(examples, epoch=epoch, seed=seed, p=p)
    pool: Pool | None = make_pool(examples, passages) if recipe.distractors == "random" else None
    return {
        example.id: assemble(example, present=example.id in present, epoch=epoch, seed=seed, k=k, recipe=recipe, pool=pool)
        for example in examples
        if example.id in present or not (recipe.absent == "drop" and example.answers)
    }


def _trained(examples: Sequence[Example], served: Mapping[str, Assembled]) -> list[Example]:
    return [example for example in examples if example.id in served]


def _shuffled(examples: Sequence[Example], key: tuple[int, int]) -> list[Example]:
    return sorted(examples, key=lambda example: (draw("order", *key, example.id), example.id))


def _group(
    examples: Sequence[Example],
    served: Mapping[str, Assembled],
    passages: Mapping[str, Passage],
    key: tuple[int, int],
    max_branches: int,
    rank_bound: int,
    min_own: int,
    recipe: Recipe,
) -> list[ContextGroup]:
    order = _shuffled(examples, key)
    place = {example.id: at for at, example in enumerate(order)}
    by_id = {example.id: example for example in order}
    admission = {example.id: _admission(example, served[example.id], rank_bound, recipe) for example in order}
    asking: dict[str, list[str]] = defaultdict(list)
    for example in order:
        for passage in served[example.id].passages:
            asking[passage].append(example.id)
    uncovered = set(by_id)

    def near(context: Sequence[str]) -> list[str]:
        """Questions that ask for enough of these passages, those closest to their own served context first."""
        own = Counter(id_ for passage in context for id_ in asking[passage] if id_ in uncovered)
        return sorted((id_ for id_, count in own.items() if count >= min_own), key=lambda id_: (-own[id_], place[id_]))

    def members(owner: str, first: str) -> list[str]:
        """Who would share the context that ``owner`` is served, ``owner`` and ``first`` before the others; nobody if ``first`` may not."""
        context = served[owner].passages
        shown = frozenset(context)
        admitted = [id_ for id_ in near(context) if _admits(admission[id_], shown)]
        if first not in (owner, *admitted):
            return []
        return list(dict.fromkeys((owner, first, *admitted)))[:max_branches]

    groups = []
    for first in order:
        if first.id not in uncovered:
            continue
        # The question's own context or a near question's, whichever is shared by more.
        owners = [first.id, *(near(served[first.id].passages)[:_CONTEXTS_TRIED] if max_branches > 1 else ())]
        joined = max((members(owner, first.id) for owner in dict.fromkeys(owners)), key=len)
        uncovered.difference_update(joined)
        branches = tuple(_branch(by_id[id_], served[id_]) for id_ in joined)
        groups.append(ContextGroup(tuple(passages[id_] for id_ in served[joined[0]].passages), branches))
    return groups


def _admission(example: Example, own: Assembled, rank_bound: int, recipe: Recipe) -> _Admission:
    oracles = frozenset(example.oracles)
    first, last = recipe.ranks or (1, rank_bound)
    bounded = oracles | {each.passage for each in example.candidates if first <= each.rank <= min(last, rank_bound)}
    if own.oracle_present:
        return _Admission(bounded, oracles, frozenset())
    filtered = recipe.false_negatives == "remove"
    answering = {each.passage for each in example.candidates if each.oracle or (filtered and each.holds_answer)}
    return _Admission(bounded, frozenset(), oracles | answering)


def _admits(question: _Admission, shown: frozenset[str]) -> bool:
    return question.required <= shown <= question.bounded and question.forbidden.isdisjoint(shown)


def _separate(order: Sequence[Example], served: Mapping[str, Assembled], passages: Mapping[str, Passage]) -> list[ContextGroup]:
    return [
        ContextGroup(tuple(passages[id_] for id_ in served[example.id].passages), (_branch(example, served[example.id]),))
        for example in order
    ]


def _branch(example: Example, own: Assembled) -> Branch:
    return Branch(example.id, example.question, own.completion, example.history)
