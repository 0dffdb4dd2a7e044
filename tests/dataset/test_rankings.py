"""What a retriever is tuned on: no false negatives, and nothing of what is held out."""

from __future__ import annotations

from ragtune.dataset.rankings import assign_folds, fold_lists, mine, ranking_lists
from ragtune.types import Chunk, Evidence, Example, Hit


def chunk(document: str, start: int, text: str) -> Chunk:
    return Chunk(f"{document}{start}", document, start, start + len(text), text)


def example(id_: str, gold: Chunk, answer: str, group: str | None = None) -> Example:
    evidence = Evidence(gold.document, gold.start, gold.end, gold.text)
    return Example(id_, f"question {id_}?", (answer,), "", (gold.id,), (), (evidence,), "train", None, group or gold.document)


def hits(*chunks: Chunk) -> list[Hit]:
    return [Hit(each, 1 / rank, rank) for rank, each in enumerate(chunks, start=1)]


GOLD = chunk("a", 0, "The crossing takes forty minutes at low water.")
REST = chunk("a", 100, "The boats are painted each spring.")
OTHER = chunk("b", 0, "The mill has two wheels.")
THIRD = chunk("c", 0, "A guide is paid by the day.")
CORPUS = {"a": [GOLD, REST], "b": [OTHER], "c": [THIRD]}


def test_the_chunk_with_the_evidence_comes_first_and_is_no_negative():
    (mined,) = mine([example("q", GOLD, "forty minutes")], [hits(OTHER, GOLD, REST, THIRD)], CORPUS)
    assert mined.positive == GOLD
    assert mined.negatives == (OTHER, REST, THIRD)
    assert mined.false == 0


def test_a_chunk_that_holds_the_answer_elsewhere_is_no_negative():
    holds = chunk("d", 0, "At the pier: Forty Minutes, they say.")
    (mined,) = mine([example("q", GOLD, "forty minutes")], [hits(holds, OTHER, THIRD)], {**CORPUS, "d": [holds]})
    assert mined.negatives == (OTHER, THIRD)
    assert mined.false == 1


def test_a_copy_of_the_evidence_is_no_negative_whatever_the_answer():
    copy = chunk("d", 7, "Notice. The crossing takes forty minutes, at low water! Mind the gap.")
    (mined,) = mine([example("q", GOLD, "yes")], [hits(copy, OTHER)], {**CORPUS, "d": [copy]})
    assert mined.negatives == (OTHER,)
    assert mined.false == 1


def test_evidence_that_retrieval_missed_is_a_positive_all_the_same():
    (mined,) = mine([example("q", GOLD, "forty minutes")], [hits(OTHER, THIRD)], CORPUS)
    assert mined.positive == GOLD


def test_a_chunk_that_answers_a_held_out_question_is_never_a_negative():
    mined = mine([example("q", GOLD, "forty minutes")], [hits(OTHER, REST, THIRD)], CORPUS)
    (made,) = ranking_lists(mined, [Evidence("b", 4, 8, "mill")], size=8, seed=0)
    assert OTHER.text not in made.texts
    assert made.texts[0] == GOLD.text
    assert set(made.texts[1:]) == {REST.text, THIRD.text}


def test_a_question_with_too_few_negatives_is_left_out():
    mined = mine([example("q", GOLD, "forty minutes")], [hits(OTHER)], CORPUS)
    assert ranking_lists(mined, [], size=8, seed=0) == []


def test_folds_keep_groups_whole_and_are_of_like_size():
    examples = [example(f"{group}{n}", GOLD, "x", group=f"g{group}") for group in range(10) for n in range(group + 1)]
    fold_of = assign_folds(examples, 2, seed=0)
    sizes = [sum(fold_of[each.group] == fold for each in examples) for fold in range(2)]
    assert set(fold_of) == {f"g{n}" for n in range(10)}
    assert abs(sizes[0] - sizes[1]) <= 2


def test_no_list_of_a_fold_knows_a_question_or_the_evidence_that_it_leaves_out():
    corpus = {f"d{n}": [chunk(f"d{n}", 0, f"Fact number {n} stands here."), chunk(f"d{n}", 90, f"Filler {n}.")] for n in range(12)}
    examples = [example(f"q{n}", corpus[f"d{n}"][0], f"answer {n}") for n in range(12)]
    everything = [each for own in corpus.values() for each in own]
    mined = mine(examples, [hits(*everything)] * 12, corpus)
    fold_of = assign_folds(examples, 3, seed=0)
    lists = fold_lists(mined, [], fold_of, size=24, seed=0)
    assert len(lists[None]) == 12
    for fold in range(3):
        left_out = [each for each in examples if fold_of[each.group] == fold]
        assert left_out
        assert {each.question for each in lists[fold]} == {each.question for each in examples if each not in left_out}
        shown = {text for each in lists[fold] for text in each.texts}
        assert not shown & {each.evidence[0].text for each in left_out}
