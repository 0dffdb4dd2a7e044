"""Splits: which questions are trained on, which are validated on, and which are the locked test.

Deployment asks new questions, mostly about known documents, so test and validation hold two strata: ``new_documents`` (whole document
groups that never occur in training) and ``new_questions`` (their documents occur in training with other questions). Every choice is the
order of a hash of the seed and the name, so that questions added later move few of those that were there.

Reviewed questions, which come from answers that were served, move none: the others are drawn as if they were not there. Each is then
trained on, unless it is about documents that are held out: those stay so, and it validates.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, NamedTuple

from ragtune.dataset.draws import draw, draw_unit
from ragtune.types import Chunk, Question, Span, Split, Stratum

Unit = Literal["document", "section"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where one question goes; ``stratum`` is ``None`` in training and for a question without known documents.

    A question without evidence belongs to the document that it names.
    """

    split: Split
    stratum: Stratum | None
    group: str


@dataclass(frozen=True, slots=True)
class Splits:
    """All assignments.

    Args:
        assignments: by question id.
        held_out: by document, the stretches that no training context may show.
        unit: what a group is made of; sections where there are too few groups of documents.
        groups: how many groups have questions.
    """

    assignments: Mapping[str, Assignment]
    held_out: Mapping[str, tuple[Span, ...]]
    unit: Unit
    groups: int


class Sizes(NamedTuple):
    """Questions in each split."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True, slots=True)
class _Groups:
    """Questions with evidence by group, the units (stretches of documents) of each question and of each group."""

    members: Mapping[str, list[Question]]
    group_of: Mapping[str, str]
    units: Mapping[str, set[Span]]


def assign_splits(
    questions: Sequence[Question],
    *,
    sections: Mapping[str, Sequence[Span]] | None = None,
    near_duplicates: Iterable[tuple[str, str]] = (),
    seed: int = 0,
    test_fraction: float = 0.4,
    validation_fraction: float = 0.08,
    new_document_fraction: float = 0.5,
    max_test: int = 500,
    max_validation: int = 300,
    min_groups: int = 20,
) -> Splits:
    """Assign each question to a split, and to a stratum where it is tested or validated on.

    A question whose ``split`` is set stays there; where any is set to test (or validation), no others are drawn for it. A reviewed one
    takes no part in the draw.

    Args:
        questions: anchored questions.
        sections: by document its sections (see :func:`sections_of`), which stand for documents where those give too few groups.
        near_duplicates: pairs of documents that are one group.
        seed: of the draw.
        test_fraction: of the questions with evidence, and of the unanswerable ones.
        validation_fraction: likewise.
        new_document_fraction: of the drawn test and validation questions, the share from held-out groups.
        max_test: questions with evidence in test at most.
        max_validation: likewise.
        min_groups: fewer groups of documents than this, and sections stand for documents.
    """
    every, questions = questions, [question for question in questions if not question.reviewed]
    evident = [question for question in questions if question.answerable and question.evidence]
    pairs = list(near_duplicates)
    unit: Unit = "document"
    groups = _group(evident, {}, pairs)
    if len(groups.members) < min_groups and sections is not None:
        unit, groups = "section", _group(evident, sections, pairs)

    fixed: dict[str, Split] = {question.id: question.split for question in questions if question.split is not None}
    closed = set(fixed.values())
    targets: dict[Split, int] = {
        "test": 0 if "test" in closed else min(round(len(evident) * test_fraction), max_test),
        "validation": 0 if "validation" in closed else min(round(len(evident) * validation_fraction), max_validation),
    }
    split = dict(fixed)
    _draw_groups(groups, split, targets, new_document_fraction, seed)
    _draw_questions(evident, split, targets, seed)
    for question in evident:
        split.setdefault(question.id, "train")
    share = {name: target / len(evident) if evident else 0.0 for name, target in targets.items()}
    if not evident:
        share = {"test": test_fraction * ("test" not in closed), "validation": validation_fraction * ("validation" not in closed)}
    _spread_others(questions, split, share, closed, max_test, seed)
    made = _splits(questions, split, groups, unit)
    units_of = _Units((sections or {}) if unit == "section" else {}, pairs)
    owner = {stretch: name for name, own in groups.units.items() for stretch in own}
    reviewed = {each.id: _place_reviewed(each, units_of(each), owner, made.held_out) for each in every if each.reviewed}
    return replace(made, assignments={**made.assignments, **reviewed})


def planned_sizes(
    questions: int,
    answerable: int,
    *,
    test_fraction: float = 0.4,
    validation_fraction: float = 0.08,
    max_test: int = 500,
    max_validation: int = 300,
) -> Sizes:
    """About how many questions each split will get, before any is drawn; for a forecast.

    Args:
        questions: all of them.
        answerable: those with evidence; the others are spread in the same shares.
        test_fraction: as in :func:`assign_splits`, and so are the others.
        validation_fraction: likewise.
        max_test: likewise.
        max_validation: likewise.
    """
    test = min(round(answerable * test_fraction), max_test)
    validation = min(round(answerable * validation_fraction), max_validation)
    if answerable:
        test, validation = round(test * questions / answerable), round(validation * questions / answerable)
    else:
        test, validation = round(questions * test_fraction), round(questions * validation_fraction)
    return Sizes(questions - test - validation, validation, test)


def sections_of(chunks: Mapping[str, Sequence[Chunk]]) -> dict[str, tuple[Span, ...]]:
    """By document its sections: runs of chunks under one path of headings. No chunk lies in two sections."""
    sections = {}
    for document, own in chunks.items():
        ordered = sorted(own, key=lambda chunk: (chunk.start, chunk.end))
        runs = [list(run) for _, run in groupby(ordered, key=lambda chunk: chunk.headings)]
        starts = [0, *(run[0].start for run in runs[1:])]
        ends = [*(max(chunk.end for chunk in run) for run in runs[:-1]), sys.maxsize]
        sections[document] = tuple(Span(document, start, end) for start, end in zip(starts, ends, strict=False))
    return sections


def _group(questions: Sequence[Question], sections: Mapping[str, Sequence[Span]], near_duplicates: Sequence[tuple[str, str]]) -> _Groups:
    """Union-find over units; a document without sections, or with a near-duplicate, is one unit."""
    parent: dict[Span, Span] = {}

    def find(unit: Span) -> Span:
        parent.setdefault(unit, unit)
        while parent[unit] != unit:
            parent[unit] = parent[parent[unit]]
            unit = parent[unit]
        return unit

    def join(units: Sequence[Span]) -> None:
        for unit in units[1:]:
            first, second = sorted((find(units[0]), find(unit)), key=_name)
            parent[second] = first

    find_units = _Units(sections, near_duplicates)
    for pair in near_duplicates:
        join([_document(document) for document in pair])
    units_of = {question.id: find_units(question) for question in questions}
    for units in units_of.values():
        join(units)
    members: dict[str, list[Question]] = defaultdict(list)
    stretches: dict[str, set[Span]] = defaultdict(set)
    group_of = {}
    for question in questions:
        group = _name(find(units_of[question.id][0]))
        group_of[question.id] = group
        members[group].append(question)
    for unit in list(parent):
        stretches[_name(find(unit))].add(unit)
    return _Groups(members, group_of, stretches)


class _Units:
    """The units that hold a question's evidence; a document without sections, or with a near-duplicate, is one unit."""

    def __init__(self, sections: Mapping[str, Sequence[Span]], near_duplicates: Sequence[tuple[str, str]]) -> None:
        self._sections = sections
        self._whole = {document for pair in near_duplicates for document in pair}

    def __call__(self, question: Question) -> list[Span]:
        units: dict[Span, None] = {}
        for evidence in question.evidence:
            own = [] if evidence.document in self._whole else self._sections.get(evidence.document, [])
            touched = [section for section in own if section.start < evidence.end and evidence.start < section.end]
            units.update(dict.fromkeys(touched or [_document(evidence.document)]))
        return list(units)


def _place_reviewed(
    question: Question, units: Sequence[Span], owner: Mapping[Span, str], held_out: Mapping[str, Sequence[Span]]
) -> Assignment:
    """Training; validation where the documents are held out, nothing could be learnt, or the user set it."""
    group = next((owner[unit] for unit in units if unit in owner), _name(units[0]) if units else f"question:{question.id}")
    held = any(
        stretch.start < evidence.end and evidence.start < stretch.end
        for evidence in question.evidence
        for stretch in held_out.get(evidence.document, ())
    )
    bare = question.answerable and not units
    if not (held or bare or question.split == "validation"):
        return Assignment("train", None, group)
    return Assignment("validation", None if bare else "new_documents" if held else "new_questions", group)


def _document(source: str) -> Span:
    return Span(source, 0, sys.maxsize)


def _name(unit: Span) -> str:
    return unit.document if unit == _document(unit.document) else f"{unit.document}@{unit.start}"


def _draw_groups(groups: _Groups, split: dict[str, Split], targets: Mapping[Split, int], fraction: float, seed: int) -> None:
    """Hold out whole groups: test from the low end of the hash, validation from the high end, so that neither pushes the other."""
    free = [name for name, members in groups.members.items() if not any(question.id in split for question in members)]
    free.sort(key=lambda name: draw(seed, "group", name))
    taken: set[str] = set()
    ends: list[tuple[Split, list[str]]] = [("test", free), ("validation", free[::-1])]
    for to, order in ends:
        want = round(targets[to] * fraction)
        have = 0
        for name in order:
            size = len(groups.members[name])
            # A group may pass the target by a tenth; a larger one is left for training and a smaller one found.
            if name not in taken and have < want and have + size <= want + max(1, want // 10):
                taken.add(name)
                have += size
                split.update({question.id: to for question in groups.members[name]})


def _draw_questions(evident: Sequence[Question], split: dict[str, Split], targets: Mapping[Split, int], seed: int) -> None:
    """Fill up with questions whose documents keep another question for training."""
    in_training = Counter(d for q in evident if split.get(q.id, "train") == "train" for d in _documents(q))
    free = [question for question in evident if question.id not in split]
    free.sort(key=lambda question: draw(seed, "question", question.id))
    have = Counter(split.values())
    ends: list[tuple[Split, list[Question]]] = [("test", free), ("validation", free[::-1])]
    for to, order in ends:
        for question in order:
            if have[to] >= targets[to]:
                break
            documents = _documents(question)
            if question.id not in split and all(in_training[document] > 1 for document in documents):
                split[question.id] = to
                have[to] += 1
                in_training.subtract(documents)


def _documents(question: Question) -> set[str]:
    return {evidence.document for evidence in question.evidence}


def _spread_others(
    questions: Sequence[Question], split: dict[str, Split], share: Mapping[Split, float], closed: set[Split], max_test: int, seed: int
) -> None:
    """Unanswerable questions go by hash; answerable ones without evidence cannot be trained on, so test takes them while it has room."""
    room = max_test - sum(to == "test" for to in split.values())
    for question in sorted(questions, key=lambda each: draw(seed, "question", each.id)):
        if question.id in split:
            continue
        if question.answerable:
            to: Split = "validation" if "test" in closed else "test"
            split[question.id] = to if room > 0 else "train"
            room -= 1
    split.update(_spread_unanswerable([question.id for question in questions if question.id not in split], share, seed))


def _spread_unanswerable(ids: Sequence[str], share: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """By hash; where that leaves a split without any although there are enough, by their order, so that each has its share."""
    at = {id_: draw_unit(seed, "question", id_) for id_ in ids}
    found: dict[str, Split] = {
        id_: "test" if at[id_] < share["test"] else "validation" if at[id_] >= 1 - share["validation"] else "train" for id_ in ids
    }
    wanted: set[Split] = {"train", *(to for to, part in share.items() if part)}
    if len(ids) < len(wanted) or wanted <= set(found.values()):
        return found
    order = sorted(ids, key=at.__getitem__)
    most = len(ids) - 1 - ("test" in wanted)
    validation = min(max(1, round(len(ids) * share["validation"])), most) if "validation" in wanted else 0
    test = min(max(1, round(len(ids) * share["test"])), len(ids) - validation - 1) if "test" in wanted else 0
    parts: dict[Split, list[str]] = {
        "test": order[:test], "train": order[test : len(ids) - validation], "validation": order[len(ids) - validation :]
    }  # fmt: skip
    return {id_: to for to, part in parts.items() for id_ in part}


def _splits(questions: Sequence[Question], split: Mapping[str, Split], groups: _Groups, unit: Unit) -> Splits:
    trained = {groups.group_of[question.id] for question in questions if split[question.id] == "train" and question.id in groups.group_of}
    held_out: dict[str, set[Span]] = defaultdict(set)
    for name in groups.members:
        if name not in trained:
            for stretch in groups.units[name]:
                held_out[stretch.document].add(stretch)
    in_training = {stretch.document for name in trained for stretch in groups.units[name]}
    assignments = {}
    for question in questions:
        group = groups.group_of.get(question.id)
        stratum: Stratum | None = None
        if group is not None and split[question.id] != "train":
            stratum = "new_questions" if group in trained else "new_documents"
        elif group is None and question.answerable and question.documents:
            group = _bare_group(question, groups)
            if split[question.id] != "train":
                stratum = "new_documents" if in_training.isdisjoint(question.documents) else "new_questions"
            if stratum == "new_documents":
                for document in question.documents:
                    held_out[document].add(_document(document))
        assignments[question.id] = Assignment(split[question.id], stratum, group or f"question:{question.id}")
    stretches = {document: tuple(sorted(spans, key=lambda span: span.start)) for document, spans in sorted(held_out.items())}
    return Splits(assignments, stretches, unit, len(groups.members))


def _bare_group(question: Question, groups: _Groups) -> str:
    """The group of a question without evidence: that of its document, or the table that its rows are of."""
    if len(question.documents) > 1:
        return question.documents[0].rpartition("#")[0]
    (document,) = question.documents
    return next((name for name, stretches in groups.units.items() if _document(document) in stretches), document)
