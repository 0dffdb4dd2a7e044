from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from made_corpus import WordRetriever, make_corpus, passage_of

from ragtune.dataset.raft import (
    ABSTAINING,
    assemble,
    build_examples,
    by_split,
    draw_present,
    evaluation_context,
    recall_at_k,
)
from ragtune.dataset.split import assign_splits, sections_of
from ragtune.prompts import parse_answer
from ragtune.quotes import check_quote
from ragtune.types import Candidate, Chunk, Evidence, Example, Passage, Question, Span

CORPUS = make_corpus()
SPLITS = assign_splits(CORPUS.questions, seed=1)
BUILT = build_examples(CORPUS.questions, SPLITS, CORPUS.retriever, CORPUS.chunks, passage_of)
TRAIN = by_split(BUILT.examples)["train"]


def example(candidates: str, oracles: Sequence[str] = ("o",), answers: Sequence[str] = ("Ann",), **changes: object) -> Example:
    """Candidates as words in ranked order: ``o…`` an oracle, ``h…`` holds the answer, ``x…`` is of a held-out document."""
    ranked = tuple(Candidate(id_, n, id_[0] == "o", id_[0] == "h", id_[0] != "x") for n, id_ in enumerate(candidates.split(), start=1))
    made = Example("q", "Who?", tuple(answers), '"Ann."\nAnswer: Ann', tuple(oracles), ranked, (), "train", None, "g")
    return replace(made, **changes)  # type: ignore[arg-type]


def test_every_quote_is_a_span_of_an_oracle_passage() -> None:
    assert not BUILT.problems
    for each in BUILT.examples:
        parsed = parse_answer(each.completion)
        if not each.answers:
            assert each.completion == ABSTAINING
            assert parsed.abstained
            continue
        assert parsed.answer == each.answers[0]
        (quote,) = (check_quote(quote, [BUILT.passages[id_] for id_ in each.oracles]) for quote in parsed.quotes)
        (evidence,) = each.evidence
        assert quote.valid
        assert quote.start is not None
        assert quote.end is not None
        assert evidence.start <= quote.start < quote.end <= evidence.end
        assert each.answers[0] in quote.text


def test_candidates_are_the_retrievers_ranking_with_true_flags() -> None:
    hits = CORPUS.retriever.retrieve([each.question for each in BUILT.examples], 20)
    for each, ranking in zip(BUILT.examples, hits, strict=True):
        assert [(c.passage, c.rank) for c in each.candidates] == [(hit.chunk.id, hit.rank) for hit in ranking]
        for candidate in each.candidates:
            passage = BUILT.passages[candidate.passage]
            assert candidate.oracle == (candidate.passage in each.oracles)
            assert candidate.allowed == (passage.document not in SPLITS.held_out)
            if not candidate.oracle:
                assert candidate.holds_answer == any(answer in passage.text for answer in each.answers)
    assert any(candidate.holds_answer for each in BUILT.examples for candidate in each.candidates)


def test_no_training_context_shows_a_held_out_document_or_section() -> None:
    few = make_corpus(documents=6)
    for corpus, sections in ((CORPUS, None), (few, sections_of(few.chunks))):
        splits = assign_splits(corpus.questions, sections=sections, seed=1)
        assert splits.held_out
        built = build_examples(corpus.questions, splits, corpus.retriever, corpus.chunks, passage_of)
        train = by_split(built.examples)["train"]
        assert any(not candidate.allowed for each in train for candidate in each.candidates)
        for each in train:
            for present in (True, False):
                for id_ in assemble(each, present=present, epoch=0, seed=0, k=5).passages:
                    (span,) = built.passages[id_].spans
                    assert not any(s.start < span.end and span.start < s.end for s in splits.held_out.get(span.document, ()))


@pytest.mark.parametrize("p", [0.0, 0.37, 0.9, 1.0])
def test_the_share_that_sees_its_oracle_is_exactly_p_in_each_epoch(p: float) -> None:
    answerable = [each for each in TRAIN if each.answers]
    draws = [draw_present(TRAIN, epoch=epoch, seed=0, p=p) for epoch in range(3)]
    for present in draws:
        assert len(present) == int(p * len(answerable) + 0.5)
        assert present <= {each.id for each in answerable}
    assert draws[0] == draw_present(TRAIN[::-1], epoch=0, seed=0, p=p)
    if 0 < p < 1:
        assert draws[0] != draws[1]


def test_p_outside_its_range_is_an_error() -> None:
    with pytest.raises(ValueError, match="p must be in"):
        draw_present(TRAIN, epoch=0, seed=0, p=1.2)


def test_the_oracle_is_there_where_it_is_drawn_and_nothing_that_answers_where_it_is_not() -> None:
    for each in TRAIN:
        flags = {candidate.passage: candidate for candidate in each.candidates}
        shown = assemble(each, present=True, epoch=0, seed=0, k=5)
        hidden = assemble(each, present=False, epoch=0, seed=0, k=5)
        assert len(shown.passages) == len(hidden.passages) == 5
        assert shown.oracle_present == bool(each.answers)
        assert (shown.completion == ABSTAINING) == (not each.answers)
        assert set(each.oracles) <= set(shown.passages)
        assert not hidden.oracle_present
        assert hidden.completion == ABSTAINING
        for id_ in hidden.passages:
            assert not flags[id_].oracle
            assert not flags[id_].holds_answer
            assert not any(answer in BUILT.passages[id_].text for answer in each.answers)


def test_contexts_keep_the_served_order_and_the_next_ranked_fill_up() -> None:
    made = example("a h x o b c d")
    assert assemble(made, present=True, epoch=0, seed=0, k=4).passages == ("a", "h", "o", "b")
    assert assemble(made, present=False, epoch=0, seed=0, k=4).passages == ("a", "b", "c", "d")


def test_a_missed_oracle_takes_a_distractors_place_at_a_drawn_rank() -> None:
    made = example("a b c d e")
    ranks: Counter[int] = Counter()
    for epoch in range(400):
        shown = assemble(made, present=True, epoch=epoch, seed=0, k=4).passages
        assert sorted([*shown, "abcd"[shown.index("o")]]) == ["a", "b", "c", "d", "o"]
        ranks[shown.index("o")] += 1
    assert min(ranks[rank] for rank in range(4)) > 60
    assert assemble(example("o1 a b c d", ["o1", "o2"]), present=True, epoch=3, seed=0, k=2).passages == ("o1", "o2")
    short = assemble(example("a"), present=True, epoch=0, seed=0, k=4).passages
    assert sorted(short) == ["a", "o"]
    assert set(assemble(example("a b", ["o1", "o2", "o3"]), present=True, epoch=0, seed=0, k=2).passages) >= {"o1", "o2", "o3"}


def test_no_place_tells_which_passage_is_an_oracle_that_was_missed() -> None:
    ranks: Counter[int] = Counter()
    for number in range(400):
        shown = evaluation_context(example("a b c d o", id=f"q{number}"), "oracle+distractors", 4).passages or ()
        assert [id_ for id_ in shown if id_ != "o"] == ["a", "b", "c"]
        ranks[shown.index("o")] += 1
    assert min(ranks[rank] for rank in range(4)) > 60


def test_evaluation_contexts_are_those_of_the_four_names() -> None:
    hit = example("a x o h b", split="test")
    assert evaluation_context(hit, "closed-book", 3).passages is None
    assert evaluation_context(hit, "oracle", 3).passages == ("o",)
    assert evaluation_context(hit, "retrieved", 3).passages == ("a", "x", "o")
    assert evaluation_context(hit, "retrieved", 3).answerable
    assert evaluation_context(hit, "oracle+distractors", 3) == evaluation_context(hit, "retrieved", 3)
    missed = example("a b o1 c o2", ["o1", "o2"], split="test")
    assert not evaluation_context(missed, "retrieved", 4).answerable
    shown = evaluation_context(missed, "oracle+distractors", 4)
    assert [id_ for id_ in shown.passages or () if id_ != "o2"] == ["a", "b", "o1"]
    assert len(shown.passages or ()) == 4
    assert shown.answerable
    assert sorted(evaluation_context(missed, "oracle+distractors", 2).passages or ()) == ["o1", "o2"]
    assert sorted(evaluation_context(example("a"), "oracle+distractors", 3).passages or ()) == ["a", "o"]
    unanswerable = example("a b", (), ())
    assert evaluation_context(unanswerable, "oracle+distractors", 2) == evaluation_context(unanswerable, "retrieved", 2)
    assert not evaluation_context(unanswerable, "retrieved", 2).answerable
    assert evaluation_context(example("a h", ()), "retrieved", 2).answerable


def test_recall_is_the_share_of_questions_whose_whole_evidence_is_served() -> None:
    examples = [example("a o b"), example("a b o"), example("o1 a", ["o1", "o2"]), example("o a", ()), example("a", (), ())]
    assert recall_at_k(examples, 2) == pytest.approx(1 / 3)
    assert recall_at_k(examples[3:], 2) is None


def test_a_question_that_cannot_be_quoted_is_dropped_from_training_and_kept_in_the_test() -> None:
    ghost = Evidence("valley/place-00.md", 10**6, 10**6 + 4, "text")
    lost = [Question(f"lost-{split}", "Who?", ("Ann",), (ghost,), split=split) for split in ("train", "test")]
    bare = Question("bare", "Who?", ("Ann",), (), split="validation")
    questions = [*lost, bare]
    built = build_examples(questions, assign_splits(questions), CORPUS.retriever, CORPUS.chunks, passage_of)
    assert [each.id for each in built.examples] == ["lost-test"]
    assert built.examples[0].oracles == ()
    assert [(problem.source, problem.reason) for problem in built.problems] == [
        ("lost-train", "dropped from train: no passage of valley/place-00.md holds its evidence as a span"),
        ("lost-test", "scored on its answer only: no passage of valley/place-00.md holds its evidence as a span"),
        ("bare", "dropped from validation: it has no evidence"),
    ]


def test_evidence_in_two_documents_gives_two_oracles_and_two_quotes() -> None:
    first, second = CORPUS.questions[0], CORPUS.questions[40]
    both = Question("both", "Who built which?", ("Ina",), (*first.evidence, *second.evidence))
    (made,) = build_examples([both], assign_splits([both]), CORPUS.retriever, CORPUS.chunks, passage_of).examples
    assert len(made.oracles) == 2
    quotes = parse_answer(made.completion).quotes
    assert [check_quote(quote, list(BUILT.passages.values())).valid for quote in quotes] == [True, True]


def test_chunks_shown_as_one_passage_are_one_candidate() -> None:
    chunks = CORPUS.chunks["valley/place-00.md"]

    def section_of(chunk: Chunk) -> Passage:
        own = [each for each in chunks if each.headings == chunk.headings]
        spans = tuple(Span(each.document, each.start, each.end) for each in own)
        text = "\n".join(each.text for each in own)
        return Passage(chunk.headings[0], chunk.document, "", "", text, spans, tuple(each.id for each in own))

    questions = [question for question in CORPUS.questions if question.id.startswith("q00")]
    only_these = WordRetriever(chunks)
    (made, *_) = build_examples(questions, assign_splits(questions), only_these, {chunks[0].document: chunks}, section_of).examples
    order = dict.fromkeys(section_of(hit.chunk).id for hit in only_these.retrieve([made.question], 20)[0])
    assert [(c.passage, c.rank) for c in made.candidates] == [(id_, rank) for rank, id_ in enumerate(order, start=1)]
    assert len(made.candidates) == 3
    assert made.oracles == ("Part 0",)
