"""Retrieval for questions that the tuned retriever may know.

A retriever finds what it was tuned on far better than what it will be asked. So the questions that it was tuned on, and all that a reader
is trained on, are asked of a retriever that was tuned without them: that of the fold which their document group was left out of.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragtune import build
from ragtune.build import Adopted
from ragtune.config import Settings
from ragtune.corpus import Corpus
from ragtune.dataset.draws import draw
from ragtune.errors import ProjectError
from ragtune.pipeline.index import current_store, embed_missing, open_retriever
from ragtune.pipeline.serving import ServingRetriever
from ragtune.progress import Progress
from ragtune.protocols import Embedder, Retriever, VectorStore
from ragtune.types import Chunk, Hit, Passage
from ragtune.workspace import Workspace, write_json

FILE = "folds.json"
Asked = Sequence[tuple[str, str, str]]
"""Question, document group and split of each."""


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """Fulfils the retriever's contract: some questions are found by a fold's retriever, all others by the one that serves.

    Args:
        serving: for all others, and for what is shown of a chunk.
        folds: one for each fold.
        fold_of: by question.
    """

    serving: ServingRetriever
    folds: Sequence[Retriever]
    fold_of: Mapping[str, int]

    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """For each question its ``k`` best chunks."""
        found: dict[int, list[Hit]] = {}
        for number, retriever in [(None, self.serving), *enumerate(self.folds)]:
            places = [at for at, question in enumerate(questions) if self.fold_of.get(question) == number]
            found |= zip(places, retriever.retrieve([questions[at] for at in places], k) if places else [], strict=True)
        return [found[at] for at in range(len(questions))]

    def to_passage(self, chunk: Chunk) -> Passage:
        """What is shown of a chunk."""
        return self.serving.to_passage(chunk)


@dataclass(frozen=True, slots=True)
class Fold:
    """What was tuned without some of the questions: its models, and the store of its embedder."""

    tuned: Adopted
    embedder: Embedder
    store: VectorStore


@contextlib.contextmanager
def open_cross_fitted(workspace: Workspace, settings: Settings, asked: Asked, progress: Progress) -> Iterator[CrossFitted]:
    """The retriever that serves, with the folds of a tuned one for the questions that need them.

    What the folds lack in vectors is embedded.
    """
    with open_retriever(workspace, settings) as serving, contextlib.closing(build.open_corpus(workspace)) as corpus:
        fold_of, folds = folds_of(workspace, settings, corpus, asked, progress)
        retrievers = [
            ServingRetriever(workspace, settings, corpus, each.embedder, each.store, reranking=build.reranking(settings, each.tuned))
            for each in folds
        ]
        yield CrossFitted(serving, retrievers, fold_of)


def folds_of(
    workspace: Workspace, settings: Settings, corpus: Corpus, asked: Asked, progress: Progress
) -> tuple[dict[str, int], list[Fold]]:
    """The fold that a question is to be asked of, where it is, and the folds; what they lack in vectors is embedded.

    Raises:
        ProjectError: the tuned retriever in force lacks a fold.
    """
    tuned = build.adopted(workspace, settings)
    fold_of = _folds_needed(tuned, asked) if tuned else {}
    count = 1 + max(fold_of.values(), default=-1)
    return fold_of, [_fold(workspace, settings, corpus, tuned.fold(number), progress) for number in range(count)] if tuned else []


def write_folds(folder: Path, questions: Mapping[str, int], groups: Mapping[str, int], folds: int) -> None:
    """Note which fold a question and a document group were left out of; questions as hashes, for what they say may be purged."""
    write_json(
        folder / FILE, {"folds": folds, "questions": {_hash(text): fold for text, fold in questions.items()}, "groups": dict(groups)}
    )


def _folds_needed(tuned: Adopted, asked: Asked) -> dict[str, int]:
    try:
        known: dict[str, Any] = json.loads((tuned.folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ProjectError(
            f"the tuned retriever {tuned.name} lacks its {FILE}: run 'ragtune train --retriever' again, or with --undo"
        ) from None
    needed = {}
    for question, group, split in asked:
        own = known["questions"].get(_hash(question))
        if own is not None:
            needed[question] = own
        elif split == "train":  # new since: all training questions must be found by the like of each other
            needed[question] = known["groups"].get(group, draw("fold", group) % known["folds"])
    return needed


def _fold(workspace: Workspace, settings: Settings, corpus: Corpus, tuned: Adopted, progress: Progress) -> Fold:
    tuned.check()
    embedder: Embedder
    if tuned.embedder is None:
        embedder = build.embedder(workspace, settings)
    else:
        embedder = build.local_embedder(settings.embed, tuned.embedder)
        embed_missing(corpus, embedder, progress)
    return Fold(tuned, embedder, current_store(workspace, settings, corpus, embedder))


def _hash(question: str) -> str:
    return hashlib.sha256(question.encode()).hexdigest()[:16]
