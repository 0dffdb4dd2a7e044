"""Measure what the serving retriever finds of the evidence, and calibrate from which score on it counts as found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from ragtune import build
from ragtune.config import Settings
from ragtune.conversation import search_text
from ragtune.corpus import Corpus
from ragtune.dataset.store import read_dataset
from ragtune.errors import CorpusError, EvaluationError
from ragtune.evaluate.retrieval_page import render_retrieval
from ragtune.evaluate.retrieval_report import (
    NO_KIND,
    Found,
    RetrievalReport,
    Retrieved,
    choose_threshold,
    misses,
    retrieval_rows,
)
from ragtune.pipeline.crossfit import open_cross_fitted
from ragtune.pipeline.readings import count_reading
from ragtune.pipeline.records import RetrievalResult
from ragtune.pipeline.threshold import load_threshold, store_threshold, threshold_key
from ragtune.progress import Progress
from ragtune.retrieve.hybrid import MOST
from ragtune.types import Example
from ragtune.workspace import Workspace, library_versions, now, stage_key, write_bytes, write_json

VERSION = 1
_SHOWN = 240  # characters of a chunk that a report shows
_ENOUGH = 30  # validation questions; with fewer, training questions are asked too


def evaluate_retrieval(
    workspace: Workspace, settings: Settings, dataset: str | None, split: str, precision: float | None, progress: Progress
) -> RetrievalResult:
    """Ask the retriever, as it is set now, the questions of a dataset.

    Args:
        workspace: with a dataset and an index.
        settings: embed, index and retrieve are read.
        dataset: its name; ``None`` takes the newest.
        split: ``validation``, ``train``, or ``test``, of which each reading is counted.
        precision: share of the questions that count as found whose evidence is to be in the top k: chooses the threshold that search and
            ask keep to, on validation (and training, where that is small), and stores it; ``None`` chooses none.
        progress: told what goes on.

    Raises:
        EvaluationError: the split is empty or unknown, or no threshold gives that precision.
    """
    if split not in ("train", "validation", "test"):
        raise EvaluationError(f"there is no split {split!r} to evaluate retrieval on: use validation, train or test")
    if precision is not None and split == "test":
        raise EvaluationError("a threshold is a choice, and is made on validation questions: leave out --split test")
    manifest = workspace.find("datasets", dataset)
    data = read_dataset(workspace.artifact("datasets", manifest.name))
    examples = {"train": data.train, "validation": data.validation, "test": data.test}[split]
    if not any(example.evidence for example in examples):
        raise EvaluationError(f"no {split} question of {manifest.name} has evidence: add some, or change dataset.{split}_share")
    k = settings.retrieve.k
    reading = stage_key("retrieval", VERSION, threshold_key(workspace, settings), [manifest.name, split])
    more = data.train if precision is not None and split == "validation" and len(examples) < _ENOUGH else []
    asked, stale = _ask(workspace, settings, [*examples, *more], progress)
    readings = count_reading(workspace, examples, reading) if split == "test" else 0
    ids = {example.id for example in examples}
    known = [each for each in asked if each.example.evidence and each.example.id in ids]
    cuts, seed = sorted({1, 3, 5, k, 10}), settings.evaluate.seed

    def rows(labels: dict[str, Iterable[str]]) -> Any:
        return tuple(retrieval_rows(known, labels, cuts, seed))

    if not known:
        raise EvaluationError(f"the documents of every {split} question have changed: run 'ragtune dataset' again")
    threshold = choose_threshold(asked, k, precision) if precision is not None else load_threshold(workspace, settings)
    tuned = build.adopted(workspace, settings)
    report = RetrievalReport(
        split=split,
        dataset=manifest.name,
        k=k,
        settings={
            **settings.retrieve.model_dump(mode="json"),
            "embedder": settings.embed.model,
            **({"tuned": tuned.name} if tuned else {}),
        },
        overall=rows({each.example.id: ("all",) for each in known})[0],
        kinds=rows({each.example.id: (each.example.kind or NO_KIND,) for each in known}),
        sources=tuple(
            sorted(
                rows({each.example.id: {gold.document for gold in each.example.evidence} for each in known}),
                key=lambda row: (row.metrics[f"recall@{k}"].value, row.label),
            )
        ),
        misses=tuple(misses(known, k)),
        stale=tuple(stale),
        test_readings=readings,
        threshold=threshold,
    )
    folder = workspace.folder / "evaluations" / f"retrieval-{split}-{reading[:8]}"
    created = now()
    write_json(folder / "report.json", {**asdict(report), "created": created, "versions": library_versions()})
    write_bytes(folder / "report.html", render_retrieval(report, created[:16].replace("T", " ") + " UTC").encode())
    if precision is not None and threshold is not None:
        store_threshold(workspace, settings, threshold)
    recall = report.overall.metrics[f"recall@{k}"].value
    progress.finish("evaluate", f"{len(known)} {split} questions: {recall:.2f} of the evidence in the top {k}, {len(report.misses)} misses")
    return RetrievalResult(str(folder), report)


def _ask(workspace: Workspace, settings: Settings, examples: Sequence[Example], progress: Progress) -> tuple[list[Retrieved], list[str]]:
    """Each question with what is found, and the ids of those whose evidence has moved or gone."""
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        current = [example for example in examples if stands(corpus, example)]
    standing = {example.id for example in current}
    stale = [example.id for example in examples if example.id not in standing]
    progress.start("evaluate")
    queries = [search_text(example.question, example.history) for example in current]
    known = [(query, example.group, example.split) for query, example in zip(queries, current, strict=True)]
    with open_cross_fitted(workspace, settings, known, progress) as retriever:
        rankings = retriever.retrieve(queries, MOST) if current else []
        asked = []
        for example, hits in zip(current, rankings, strict=True):
            found = tuple(
                Found(
                    hit.rank,
                    round(hit.score, 6),
                    hit.chunk.document,
                    hit.chunk.start,
                    hit.chunk.end,
                    " › ".join(hit.chunk.headings),
                    " ".join(hit.chunk.text[:_SHOWN].split()),
                )
                for hit in hits
            )
            passages = [retriever.to_passage(hit.chunk).spans for hit in hits]
            asked.append(Retrieved(example, passages, found, max((each.score for each in found), default=float("-inf"))))
    return asked, stale


def stands(corpus: Corpus, example: Example) -> bool:
    """Whether a question's evidence is where its dataset found it."""
    try:
        return all(corpus.document(gold.document).text[gold.start : gold.end] == gold.text for gold in example.evidence)
    except CorpusError:
        return False
