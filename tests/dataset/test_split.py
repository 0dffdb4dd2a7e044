from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from made_corpus import Corpus, make_corpus

from ragtune.dataset.split import Assignment, Splits, assign_splits, planned_sizes, sections_of
from ragtune.types import Question

CORPUS = make_corpus()


def documents_of(corpus: Corpus, splits: Splits, split: str, stratum: str | None) -> set[str]:
    return {
        evidence.document
        for question in corpus.questions
        for evidence in question.evidence
        if (splits.assignments[question.id].split, splits.assignments[question.id].stratum) == (split, stratum)
    }


def moved(first: Splits, second: Splits) -> int:
    return sum(first.assignments[id_].split != second.assignments[id_].split for id_ in first.assignments)


def test_the_strata_are_what_their_names_say() -> None:
    splits = assign_splits(CORPUS.questions, seed=3)
    trained = documents_of(CORPUS, splits, "train", None)
    for split in ("validation", "test"):
        assert documents_of(CORPUS, splits, split, "new_questions") <= trained
        assert documents_of(CORPUS, splits, split, "new_documents").isdisjoint(trained)
    assert documents_of(CORPUS, splits, "test", "new_documents").isdisjoint(documents_of(CORPUS, splits, "validation", "new_documents"))
    held_out = documents_of(CORPUS, splits, "test", "new_documents") | documents_of(CORPUS, splits, "validation", "new_documents")
    assert set(splits.held_out) == held_out
    assert splits.unit == "document"


def test_a_documents_last_question_stays_in_training() -> None:
    corpus = make_corpus(paragraphs=1, questions=2, unanswerable=0)
    splits = assign_splits(corpus.questions, test_fraction=0.8, validation_fraction=0.1, new_document_fraction=0.2)
    assert documents_of(corpus, splits, "test", "new_questions") <= documents_of(corpus, splits, "train", None)
    # 48 are asked for, a fifth of them of held-out documents; no more documents than that are emptied to reach the number.
    strata = Counter(assignment.stratum for assignment in splits.assignments.values() if assignment.split == "test")
    assert strata["new_documents"] == 10
    assert strata["new_questions"] < 38


def test_the_shares_are_those_asked_for() -> None:
    answerable = [question for question in CORPUS.questions if question.answerable]
    splits = assign_splits(CORPUS.questions, test_fraction=0.4, validation_fraction=0.1, new_document_fraction=0.5)
    counts = Counter((splits.assignments[question.id].split, splits.assignments[question.id].stratum) for question in answerable)
    n, a_document = len(answerable), 18
    assert sum(count for (split, _), count in counts.items() if split == "test") == round(0.4 * n)
    assert sum(count for (split, _), count in counts.items() if split == "validation") == round(0.1 * n)
    assert abs(counts["test", "new_documents"] - 0.2 * n) <= a_document
    capped = assign_splits(CORPUS.questions, max_test=50, max_validation=10)
    kept = Counter(capped.assignments[question.id].split for question in answerable)
    assert (kept["test"], kept["validation"]) == (50, 10)


def test_the_forecast_of_the_sizes_is_about_what_is_drawn() -> None:
    counts: Counter[str] = Counter(assignment.split for assignment in assign_splits(CORPUS.questions).assignments.values())
    planned = planned_sizes(len(CORPUS.questions), sum(question.answerable for question in CORPUS.questions))
    assert sum(planned) == len(CORPUS.questions)
    for split, size in planned._asdict().items():
        assert abs(counts[split] - size) <= 8
    assert planned_sizes(10, 0) == (5, 1, 4)


def test_unanswerable_questions_are_spread_over_the_splits() -> None:
    corpus = make_corpus(unanswerable=300)
    splits = assign_splits(corpus.questions)
    counts = Counter(splits.assignments[question.id].split for question in corpus.questions if not question.answerable)
    assert 90 <= counts["test"] <= 150
    assert 10 <= counts["validation"] <= 45
    assert all(splits.assignments[question.id].stratum is None for question in corpus.questions if not question.answerable)


@pytest.mark.parametrize("count", range(3, 9))
def test_no_split_goes_without_the_few_unanswerable_questions_that_there_are(count: int) -> None:
    corpus = make_corpus(unanswerable=count)
    for seed in range(12):
        splits = assign_splits(corpus.questions, seed=seed)
        counts = Counter(splits.assignments[question.id].split for question in corpus.questions if not question.answerable)
        assert set(counts) == {"train", "validation", "test"}
        assert counts.total() == count


@pytest.mark.parametrize(("validation", "test", "count"), [(0.8, 0.1, 3), (0.6, 0.3, 3), (0.7, 0.2, 4), (0.9, 0.05, 3)])
def test_nor_where_shares_are_large(validation: float, test: float, count: int) -> None:
    corpus = make_corpus(unanswerable=count)
    splits = assign_splits(corpus.questions, validation_fraction=validation, test_fraction=test)
    assert {splits.assignments[question.id].split for question in corpus.questions if not question.answerable} == {
        "train", "validation", "test"
    }  # fmt: skip


def test_the_same_seed_gives_the_same_splits_in_any_order_and_another_seed_others() -> None:
    splits = assign_splits(CORPUS.questions, seed=5)
    assert dict(splits.assignments) == dict(assign_splits(CORPUS.questions[::-1], seed=5).assignments)
    assert moved(splits, assign_splits(CORPUS.questions, seed=6)) > 100


def test_added_questions_move_few_of_those_that_were_there() -> None:
    few = [question for at, question in enumerate(CORPUS.questions) if at % 10]
    splits = assign_splits(few, seed=1)
    assert moved(splits, assign_splits(CORPUS.questions, seed=1)) <= 0.1 * len(few)


def test_documents_that_a_question_joins_and_near_duplicates_are_never_parted() -> None:
    by_document: dict[str, Question] = {}
    for question in CORPUS.questions:
        for evidence in question.evidence:
            by_document.setdefault(evidence.document, question)
    pairs = [("valley/place-00.md", "valley/place-01.md"), ("valley/place-04.md", "valley/place-05.md")]
    joining = [
        Question(f"j{n}", "Which?", ("both",), (*by_document[a].evidence, *by_document[b].evidence)) for n, (a, b) in enumerate(pairs)
    ]
    near = [("valley/place-10.md", "valley/place-11.md"), ("valley/place-12.md", "an unasked copy.md")]
    for seed in range(12):
        splits = assign_splits([*CORPUS.questions, *joining], near_duplicates=near, seed=seed)
        assert splits.groups == 27
        held_out = set(splits.held_out)
        for a, b in [*pairs, *near]:
            assert (a in held_out) == (b in held_out)


def test_with_few_groups_sections_stand_for_documents() -> None:
    corpus = make_corpus(documents=6)
    sections = sections_of(corpus.chunks)
    splits = assign_splits(corpus.questions, sections=sections, seed=2)
    assert (splits.unit, splits.groups) == ("section", 18)
    new = [question for question in corpus.questions if splits.assignments[question.id].stratum == "new_documents"]
    trained = [question for question in corpus.questions if splits.assignments[question.id].split == "train" and question.evidence]
    assert new
    for question in trained:
        (evidence,) = question.evidence
        assert not any(s.start < evidence.end and evidence.start < s.end for s in splits.held_out.get(evidence.document, ()))
    assert {e.document for q in new for e in q.evidence} & {e.document for q in trained for e in q.evidence}
    assert assign_splits(corpus.questions, seed=2).unit == "document"


def test_a_near_duplicate_is_held_out_whole_even_where_sections_stand_for_documents() -> None:
    corpus = make_corpus(documents=6)
    pair = ("valley/place-01.md", "valley/place-04.md")
    for seed in range(8):
        splits = assign_splits(corpus.questions, sections=sections_of(corpus.chunks), near_duplicates=[pair], seed=seed)
        assert splits.unit == "section"
        of_pair = {splits.assignments[q.id].group for q in corpus.questions for e in q.evidence if e.document in pair}
        assert len(of_pair) == 1
        assert (pair[0] in splits.held_out) == (pair[1] in splits.held_out)


def test_sections_cut_no_chunk_and_cover_the_document() -> None:
    chunks = CORPUS.chunks["valley/place-00.md"]
    sections = sections_of(CORPUS.chunks)["valley/place-00.md"]
    assert len(sections) == 3
    assert sections[0].start == 0
    for chunk in chunks:
        assert sum(section.start < chunk.end and chunk.start < section.end for section in sections) == 1


def test_a_test_set_of_the_users_own_is_kept_and_nothing_is_added_to_it() -> None:
    mine = {question.id for question in CORPUS.questions if question.id.startswith(("q00", "q01")) or question.id.startswith("q02-0")}
    fixed = [replace(question, split="test") if question.id in mine else question for question in CORPUS.questions]
    splits = assign_splits(fixed, seed=4)
    assert {id_ for id_, assignment in splits.assignments.items() if assignment.split == "test"} == mine
    strata = {id_[:3]: splits.assignments[id_].stratum for id_ in mine}
    assert strata == {"q00": "new_documents", "q01": "new_documents", "q02": "new_questions"}
    assert {"valley/place-00.md", "valley/place-01.md"} <= set(splits.held_out)
    assert "valley/place-02.md" not in splits.held_out
    assert any(assignment.split == "validation" for assignment in splits.assignments.values())


def test_questions_without_evidence_are_tested_and_never_trained_on() -> None:
    bare = [Question(f"b{n}", "Who?", ("Ann",)) for n in range(5)]
    splits = assign_splits([*CORPUS.questions, *bare])
    assert {splits.assignments[question.id].split for question in bare} == {"test"}


def test_a_question_without_evidence_belongs_to_the_document_that_it_names() -> None:
    known = [f"valley/place-{n:02d}.md" for n in range(4)]
    bare = [Question(f"b{n}-{of}", "Who?", ("Ann",), documents=(document,)) for n, document in enumerate(known) for of in range(2)]
    unasked = [Question(f"c{of}", "Who?", ("Ann",), documents=("unasked.md",)) for of in range(2)]
    rows = [Question(f"r{of}", "Who?", ("Ann",), documents=("huts.csv#1", "huts.csv#2")) for of in range(2)]
    without = Question("none", "Who?", (), documents=("unasked.md",))
    splits = assign_splits([*CORPUS.questions, *bare, *unasked, *rows, without], seed=3)
    trained = documents_of(CORPUS, splits, "train", None)
    group_of = {e.document: splits.assignments[q.id].group for q in CORPUS.questions for e in q.evidence}
    for question in bare:
        (document,) = question.documents
        stratum = "new_questions" if document in trained else "new_documents"
        assert splits.assignments[question.id] == Assignment("test", stratum, group_of[document])
    assert {splits.assignments[question.id] for question in unasked} == {Assignment("test", "new_documents", "unasked.md")}
    assert {splits.assignments[question.id] for question in rows} == {Assignment("test", "new_documents", "huts.csv")}
    assert splits.assignments["none"].group == "question:none"
    assert {"unasked.md", "huts.csv#1", "huts.csv#2"} <= set(splits.held_out), "they are no distractors in training either"


def test_one_document_or_no_question_is_no_error() -> None:
    corpus = make_corpus(documents=1, unanswerable=0)
    splits = assign_splits(corpus.questions)
    assert {assignment.stratum for assignment in splits.assignments.values()} == {None, "new_questions"}
    assert not splits.held_out
    assert assign_splits([]).groups == 0


def reviewed(question: Question, id_: str, **changes: object) -> Question:
    """A question of the same evidence that came from a review."""
    return replace(question, id=id_, question=f"{question.question} ({id_})", reviewed=True, **changes)  # type: ignore[arg-type]


def test_reviewed_questions_move_nothing_and_are_never_tested_on() -> None:
    """However many, about whatever documents: splits, strata, groups and what is held out are as they were, to the last question."""
    for corpus, sections in ((CORPUS, None), (make_corpus(documents=5), "sections")):
        cut = sections_of(corpus.chunks) if sections else None
        for seed in (0, 1, 2):
            before = assign_splits(corpus.questions, sections=cut, seed=seed)
            added = [reviewed(each, f"r{at}") for at, each in enumerate(corpus.questions)]
            # Evidence in two groups at once, which would join them to one.
            pairs = [pair for pair in zip(corpus.questions, corpus.questions[::-1], strict=True) if all(each.evidence for each in pair)]
            added += [
                reviewed(a, f"both{at}", evidence=(*a.evidence, *b.evidence))
                for at, (a, b) in enumerate(pairs)
                if a.evidence and b.evidence
            ]
            after = assign_splits([*added, *corpus.questions], sections=cut, seed=seed)
            assert {each.id: after.assignments[each.id] for each in corpus.questions} == dict(before.assignments)
            assert (after.held_out, after.unit, after.groups) == (before.held_out, before.unit, before.groups)
            placed = Counter(after.assignments[each.id].split for each in added)
            assert placed["test"] == 0
            assert min(placed["train"], placed["validation"]) > 10


def test_a_reviewed_question_is_trained_on_unless_its_document_is_held_out() -> None:
    before = assign_splits(CORPUS.questions, seed=3)
    added = [reviewed(each, f"r-{each.id}") for each in CORPUS.questions if each.evidence]
    after = assign_splits([*CORPUS.questions, *added], seed=3)
    for question in added:
        placed, original = after.assignments[question.id], before.assignments[question.id.removeprefix("r-")]
        held = question.evidence[0].document in before.held_out
        assert placed == Assignment("validation" if held else "train", "new_documents" if held else None, original.group)
    chosen = next(each for each in added if each.evidence[0].document not in before.held_out)
    asked = assign_splits([*CORPUS.questions, replace(chosen, split="validation")], seed=3).assignments[chosen.id]
    assert (asked.split, asked.stratum) == ("validation", "new_questions")
    nothing = replace(chosen, id="nothing", answers=(), evidence=())
    bare = replace(chosen, id="bare", evidence=())
    others = assign_splits([*CORPUS.questions, nothing, bare], seed=3).assignments
    assert others["nothing"] == Assignment("train", None, "question:nothing"), "that the documents do not answer it can be learnt"
    assert others["bare"] == Assignment("validation", None, "question:bare"), "without evidence nothing can"


def test_a_project_of_reviewed_questions_alone_trains_on_them() -> None:
    only = [reviewed(each, f"r-{each.id}") for each in CORPUS.questions if each.evidence]
    assert {each.split for each in assign_splits(only).assignments.values()} == {"train"}
