"""Examples after RAFT (Zhang et al., arXiv 2403.10131), with the serving retriever's own distractors, and the contexts made of them.

``build_examples`` retrieves once and keeps the ranking with each question; ``assemble`` (training) and ``evaluation_context`` (scoring)
are pure functions of what it kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ragtune.conversation import search_text
from ragtune.dataset.draws import draw
from ragtune.dataset.matching import holds_answer, normalise
from ragtune.dataset.oracles import cut_quote, find_oracles, touches
from ragtune.dataset.recipe import ABSTAINING, SERVED, Pool, Recipe, draw_distractors, write_answer, write_without_evidence
from ragtune.dataset.split import Splits
from ragtune.prompts import build_completion
from ragtune.protocols import Retriever
from ragtune.types import Candidate, Chunk, Context, Example, Hit, Passage, Question, Reason, Span


@dataclass(frozen=True, slots=True)
class Built:
    """Examples with the passages they refer to.

    Args:
        examples: in the order of the questions.
        passages: by id, every candidate and every oracle.
        problems: questions dropped from training or validation, or scored on their answer only, with the reason.
    """

    examples: list[Example]
    passages: dict[str, Passage]
    problems: list[Reason]


@dataclass(frozen=True, slots=True)
class Assembled:
    """One question's training context: passage ids in the order shown, whether the evidence is in it, and what to write."""

    passages: tuple[str, ...]
    oracle_present: bool
    completion: str


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """What an arm is shown: passage ids in order (``None``: closed-book), and whether all evidence is among them."""

    passages: tuple[str, ...] | None
    answerable: bool


def build_examples(
    questions: Sequence[Question],
    splits: Splits,
    retriever: Retriever,
    chunks: Mapping[str, Sequence[Chunk]],
    passage_of: Callable[[Chunk], Passage],
    *,
    candidates: int = 20,
    quote_words: int = 30,
    reasoning: bool = False,
) -> Built:
    """Make an example of each question.

    Args:
        questions: anchored questions.
        splits: of the same questions.
        retriever: the one that will serve.
        chunks: the corpus by document.
        passage_of: what the model is shown for a chunk.
        candidates: how deep the ranking is that is kept.
        quote_words: a quote's length at most, in words.
        reasoning: write a question's reasoning, where it has one, between quotes and answer.
    """
    shown: dict[str, Passage] = {}

    def show(chunk: Chunk) -> Passage:
        if chunk.id not in shown:
            shown[chunk.id] = passage_of(chunk)
        return shown[chunk.id]

    corpus: dict[str, list[Passage]] = {}
    normalised: dict[str, str] = {}
    used: dict[str, Passage] = {}
    examples: list[Example] = []
    problems: list[Reason] = []
    rankings = retriever.retrieve([search_text(each.question, each.history) for each in questions], candidates) if questions else []
    for question, hits in zip(questions, rankings, strict=True):
        ranking = _ranking(hits, show)
        rank = {passage.id: at for at, passage in enumerate(ranking, start=1)}
        oracles: dict[str, Passage] = {}
        quotes: list[str | None] = []
        for evidence in question.evidence:
            if evidence.document not in corpus:
                corpus[evidence.document] = [show(chunk) for chunk in chunks.get(evidence.document, ())]
            own = find_oracles(evidence, corpus[evidence.document], rank)
            oracles |= {passage.id: passage for passage in own}
            quotes.append(cut_quote(evidence, own, question.answers, quote_words))
        assignment = splits.assignments[question.id]
        trouble = _trouble(question, quotes)
        if trouble and assignment.split != "test":
            problems.append(Reason(question.id, f"dropped from {assignment.split}: {trouble}"))
            continue
        if trouble:
            problems.append(Reason(question.id, f"scored on its answer only: {trouble}"))
        for passage in [*ranking, *oracles.values()]:
            used[passage.id] = passage
            if passage.id not in normalised:
                normalised[passage.id] = normalise(f"{passage.prefix} {passage.text}")
        written = list(dict.fromkeys(quote for quote in quotes if quote))
        examples.append(
            Example(
                id=question.id,
                question=question.question,
                answers=question.answers,
                completion=_completion(question, written, reasoning),
                oracles=tuple(oracles) if not trouble else (),
                candidates=tuple(_candidate(p, rank[p.id], question, splits, normalised[p.id]) for p in ranking),
                evidence=question.evidence,
                split=assignment.split,
                stratum=assignment.stratum,
                group=assignment.group,
                kind=question.kind,
                reasoning=question.reasoning,
                history=question.history,
            )
        )
    return Built(examples, used, problems)


def recall_at_k(examples: Sequence[Example], k: int) -> float | None:
    """Share of the questions with known evidence whose whole evidence is in the top k as served; ``None`` where there are none.

    On the validation split it is the default share of training contexts that show the oracle.
    """
    known = [example for example in examples if example.oracles]
    if not known:
        return None
    return sum(evaluation_context(example, "retrieved", k).answerable for example in known) / len(known)


def draw_present(examples: Sequence[Example], *, epoch: int, seed: int, p: float) -> frozenset[str]:
    """Ids of the questions that see their oracle in this epoch: exactly the share ``p`` of the answerable ones, up to rounding.

    Raises:
        ValueError: ``p`` is not in [0, 1].
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p must be in [0, 1], not {p}")
    ids = sorted((example.id for example in examples if example.oracles), key=lambda id_: (draw(seed, "present", epoch, id_), id_))
    return frozenset(ids[: int(p * len(ids) + 0.5)])


def assemble(
    example: Example, *, present: bool, epoch: int, seed: int, k: int, recipe: Recipe = SERVED, pool: Pool | None = None
) -> Assembled:
    """One question's training context, by default in served order.

    Where the oracle is present, one that retrieval missed takes a distractor's place at a drawn rank. Where it is absent, every passage
    that could answer is removed, the next ranked fill up, and the completion abstains.

    Args:
        example: of the training split.
        present: as :func:`draw_present` drew it; ignored for a question that the documents do not answer.
        epoch: from 0.
        seed: of the draw.
        k: passages in the context; more where the evidence itself needs more.
        recipe: what is done otherwise.
        pool: of random distractors.
    """
    present = present and bool(example.oracles)
    size = recipe.size(example, k)
    if recipe.distractors == "random" or recipe.ranks is not None:
        count = max(0, size - len(example.oracles)) if present else size
        passages = draw_distractors(example, recipe, pool, count, absent=not present, key=(seed, epoch))
        if present:
            passages = _among(example, passages, recipe, (seed, epoch))
    elif present:
        passages = _served_with_evidence(example, size, (seed, epoch))
    else:
        passages = _served_without_evidence(example, size, keep=recipe.false_negatives == "keep")
    if recipe.order == "shuffled":
        passages.sort(key=lambda id_: draw(seed, "order of passages", epoch, example.id, id_))
    completion = write_answer(example, recipe.answer) if present else write_without_evidence(example, recipe)
    return Assembled(tuple(passages), present, completion)


def _served_without_evidence(example: Example, size: int, *, keep: bool) -> list[str]:
    clean = [each.passage for each in example.candidates if each.allowed and not (each.oracle or (each.holds_answer and not keep))]
    # An oracle is flagged among the candidates, but a dataset written by other hands might not.
    return [id_ for id_ in clean if id_ not in example.oracles][:size]


def _served_with_evidence(example: Example, size: int, key: tuple[int, int]) -> list[str]:
    seed, epoch = key
    top = [each.passage for each in example.candidates if each.allowed or each.passage in example.oracles][:size]
    missing = [id_ for id_ in example.oracles if id_ not in top]
    places = [at for at, id_ in enumerate(top) if id_ not in example.oracles]
    places.sort(key=lambda at: draw(seed, "rank", epoch, example.id, at))
    for id_ in missing:
        if len(top) < size or not places:
            top.insert(draw(seed, "rank", epoch, example.id, id_) % (len(top) + 1), id_)
            places = []  # Inserting moves the ranks that were drawn, and happens only where no distractor need go.
        else:
            top[places.pop(0)] = id_
    return top


def _among(example: Example, distractors: Sequence[str], recipe: Recipe, key: tuple[int, int]) -> list[str]:
    """Evidence and drawn distractors together: by rank where all have one; what has none stands at a drawn place."""
    rank = {each.passage: each.rank for each in example.candidates} if recipe.distractors == "retrieved" else {}
    shown = sorted([*distractors, *(id_ for id_ in example.oracles if id_ in rank)], key=lambda id_: rank.get(id_, 0))
    for id_ in example.oracles:
        if id_ not in rank:
            shown.insert(draw(key[0], "rank", key[1], example.id, id_) % (len(shown) + 1), id_)
    return shown


def evaluation_context(example: Example, context: Context, k: int) -> EvaluationContext:
    """What an arm is shown for a question.

    ``retrieved`` is the top k exactly as served. ``oracle+distractors`` is the same with missed oracles in place of the lowest ranked
    distractors, each moved up to a rank that is drawn from the question's id: always at the end, it would be found by its place. Both
    are identical where retrieval found the evidence. Without known evidence the oracle contexts show what
    they can: ``oracle`` nothing, ``oracle+distractors`` what ``retrieved`` shows. ``distractors`` is what ``retrieved`` would show were
    there no passage that could answer: every answer to it but an abstention is wrong.

    Args:
        example: of the validation or test split.
        context: which of them.
        k: passages shown.
    """
    if context == "closed-book":
        return EvaluationContext(None, False)
    if context == "oracle":
        return EvaluationContext(example.oracles, bool(example.oracles))
    if context == "distractors":
        wrong = [each.passage for each in example.candidates if not (each.oracle or each.holds_answer or each.passage in example.oracles)]
        return EvaluationContext(tuple(wrong[:k]), False)
    top = [each.passage for each in example.candidates[:k]]
    if context == "oracle+distractors":
        missing = [id_ for id_ in example.oracles if id_ not in top]
        lowest = [id_ for id_ in reversed(top) if id_ not in example.oracles][: max(0, len(missing) - (k - len(top)))]
        top = [id_ for id_ in top if id_ not in lowest]
        for id_ in missing:
            top.insert(draw("rank", example.id, id_) % (len(top) + 1), id_)
    if example.oracles:
        return EvaluationContext(tuple(top), set(example.oracles) <= set(top))
    # No evidence is known: the answer's text in a shown passage is the best that can be said.
    return EvaluationContext(tuple(top), any(each.holds_answer for each in example.candidates[:k]))


def _completion(question: Question, quotes: Sequence[str], reasoning: bool) -> str:
    if not question.answerable:
        return ABSTAINING
    return build_completion(question.answers[0], quotes, question.reasoning if reasoning else None)


def _ranking(hits: Sequence[Hit], show: Callable[[Chunk], Passage]) -> list[Passage]:
    """Passages in served order; chunks of one passage count once, where the first of them stands."""
    return list({passage.id: passage for passage in (show(hit.chunk) for hit in hits)}.values())


def _candidate(passage: Passage, rank: int, question: Question, splits: Splits, normalised: str) -> Candidate:
    oracle = any(touches(passage, evidence) for evidence in question.evidence)
    return Candidate(
        passage=passage.id,
        rank=rank,
        oracle=oracle,
        holds_answer=not oracle and holds_answer(question.answers, normalised),
        allowed=not any(_overlap(span, stretch) for span in passage.spans for stretch in splits.held_out.get(span.document, ())),
    )


def _overlap(a: Span, b: Span) -> bool:
    return a.start < b.end and b.start < a.end


def _trouble(question: Question, quotes: Sequence[str | None]) -> str | None:
    if not question.answerable:
        return None
    if not question.evidence:
        return "it has no evidence"
    for evidence, quote in zip(question.evidence, quotes, strict=True):
        if quote is None:
            return f"no passage of {evidence.document} holds its evidence as a span"
    return None


def by_split(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """Examples by split, in their order."""
    splits: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        splits[example.split].append(example)
    return splits
