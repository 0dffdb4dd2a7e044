"""Cross-fitting: a dataset parted by document group, so that every question is asked of a model that was trained without its documents.

Where there are few groups of documents, a test split of some of them decides nothing; all of them together may.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from ragtune.dataset.draws import draw
from ragtune.dataset.store import Dataset
from ragtune.types import Example, Passage


def fold_of_groups(examples: Iterable[Example], folds: int, seed: int) -> dict[str, int]:
    """The fold of each document group: in the order of a hash, each to the fold that has the fewest questions so far."""
    sizes = Counter(example.group for example in examples)
    have = [0] * folds
    found = {}
    for group in sorted(sizes, key=lambda name: (draw("fold", seed, name), name)):
        at = have.index(min(have))
        found[group] = at
        have[at] += sizes[group]
    return found


def fold_dataset(
    data: Dataset, fold_of: Mapping[str, int], fold: int, *, whole_documents: bool, alike: Iterable[tuple[str, str]] = ()
) -> Dataset:
    """The dataset of one fold: tested on its groups, trained and validated on all others.

    What was a validation question stays one, so that folds are trained as the model is that they stand for. No passage of a held-out group
    may be a training distractor, nor one of a document that says nearly the same. A reviewed question is never tested on, here neither.

    Args:
        data: the whole dataset.
        fold_of: by group.
        fold: which one is held out.
        whole_documents: groups are documents, not sections of them.
        alike: pairs of documents that say nearly the same.
    """
    every = [*data.train, *data.validation, *data.test]
    held = [example for example in every if fold_of[example.group] == fold]
    closed = _closed(held, data.passages, whole_documents, alike)
    validating = {example.id for example in data.validation}

    def trained(example: Example) -> Example:
        candidates = tuple(replace(each, allowed=each.passage not in closed) for each in example.candidates)
        if example.id in validating:
            return replace(example, split="validation", candidates=candidates)
        return replace(example, split="train", stratum=None, candidates=candidates)

    others = [trained(each) for each in every if fold_of[each.group] != fold and (each.oracles or not each.answers)]
    return Dataset(
        [each for each in others if each.split == "train"],
        [each for each in others if each.split == "validation"],
        [
            replace(each, split="test", stratum="new_documents" if each.evidence else None)
            for each in held
            if not data.fields.get(each.id, {}).get("reviewed")
        ],
        data.passages,
    )


def _closed(held: Sequence[Example], passages: Mapping[str, Passage], whole_documents: bool, alike: Iterable[tuple[str, str]]) -> set[str]:
    """Passages of held-out groups, and of documents like theirs; of groups that are sections, those that touch evidence."""
    evidence = [each for example in held for each in example.evidence]
    held_out = {each.document for each in evidence}
    same = _joined(held_out, alike)
    documents = same | held_out if whole_documents else same
    by: dict[str, list[tuple[int, int]]] = {}
    for each in evidence:
        by.setdefault(each.document, []).append((each.start, each.end))
    return {
        id_
        for id_, passage in passages.items()
        if passage.document in documents
        or any(span.start < end and start < span.end for span in passage.spans for start, end in by.get(span.document, ()))
    }


def _joined(documents: Collection[str], pairs: Iterable[tuple[str, str]]) -> set[str]:
    """What pairs join with some documents, over others too; these among them where a pair has them."""
    near: dict[str, set[str]] = {}
    for a, b in pairs:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    found: set[str] = set()
    todo = [document for document in documents if document in near]
    while todo:
        document = todo.pop()
        if document not in found:
            found.add(document)
            todo += near[document]
    return found
