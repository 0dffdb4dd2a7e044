"""How much should dense search weigh beside lexical search? Chosen on a project's own questions, and measured on others of them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from statistics import fmean

from ragtune import build
from ragtune.config import Settings
from ragtune.conversation import search_text
from ragtune.corpus import Corpus
from ragtune.dataset.store import read_dataset
from ragtune.errors import EvaluationError
from ragtune.evaluate.intervals import paired_difference
from ragtune.evaluate.retrieval import retrieval_metrics
from ragtune.passages import to_passage
from ragtune.pipeline.crossfit import folds_of
from ragtune.pipeline.index import current_store
from ragtune.pipeline.records import WeightResult, WeightRow
from ragtune.pipeline.retrieval import stands
from ragtune.progress import Progress
from ragtune.retrieve.fuse import FUSIONS, Scores, ordered
from ragtune.retrieve.hybrid import HybridRetriever
from ragtune.types import Example
from ragtune.workspace import Workspace

WEIGHTS = tuple(step / 10 for step in range(11))
_NDCG = "ndcg@10"
_FEWEST = 10
"""Questions of either split below which nothing is said."""
_BATCH = 64


def weigh_retrieval(workspace: Workspace, settings: Settings, dataset: str | None, progress: Progress) -> WeightResult:
    """Rank each question's candidates under every weight; nothing is changed, and no test question is read.

    The best weight by nDCG@10 is chosen on training questions. What it brings beside the weight of the settings is then measured on
    validation questions, which did not choose it. What comes after fusing (a reranker, novelty, expansion) is left out.

    Args:
        workspace: with a dataset and an index.
        settings: embed, index and retrieve are read.
        dataset: its name; ``None`` takes the newest.
        progress: told what goes on.

    Raises:
        EvaluationError: too few questions have evidence.
    """
    manifest = workspace.find("datasets", dataset)
    data = read_dataset(workspace.artifact("datasets", manifest.name))
    current = settings.retrieve.dense_weight
    weights = sorted({*WEIGHTS, current})
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        splits = {
            name: [example for example in examples if example.evidence and stands(corpus, example)]
            for name, examples in (("training", data.train), ("validation", data.validation))
        }
        for name, examples in splits.items():
            if len(examples) < _FEWEST:
                raise EvaluationError(
                    f"{manifest.name} has {len(examples)} {name} questions with evidence, and weights are chosen on {_FEWEST} or more: "
                    "add questions"
                )
        measured = _measure(workspace, settings, corpus, [*splits["training"], *splits["validation"]], weights, progress)
    count = len(splits["training"])
    rows = tuple(
        WeightRow(weight, *(fmean(each[_NDCG] for each in part) for part in (each_of[:count], each_of[count:])))
        for weight, each_of in zip(weights, measured, strict=True)
    )
    best = min(rows, key=lambda row: (-round(row.training, 6), abs(row.weight - current)))
    chosen, was = ([each[_NDCG] for each in measured[weights.index(weight)][count:]] for weight in (best.weight, current))
    groups = [example.group for example in splits["validation"]]
    difference = paired_difference(chosen, was, groups, seed=settings.evaluate.seed).estimate
    progress.finish("evaluate", f"{count} training and {len(groups)} validation questions under {len(weights)} weights")
    return WeightResult(manifest.name, current, best.weight, difference, rows)


def _measure(
    workspace: Workspace, settings: Settings, corpus: Corpus, examples: Sequence[Example], weights: Sequence[float], progress: Progress
) -> list[list[dict[str, float]]]:
    """For each weight the metrics of each question, by the fold of a tuned retriever that was tuned without it, where there is one."""
    embedder = build.embedder(workspace, settings)
    asked = [(search_text(example.question, example.history), example.group, example.split) for example in examples]
    fold_of, folds = folds_of(workspace, settings, corpus, asked, progress)  # a tuned embedder finds what it was tuned on too well
    stores = {None: (embedder, current_store(workspace, settings, corpus, embedder))} | {
        number: (fold.embedder, fold.store) for number, fold in enumerate(folds)
    }
    fuse = FUSIONS[settings.retrieve.fusion]
    found: dict[int, list[dict[str, float]]] = {}
    progress.start("evaluate", len(examples))
    for number, (own, store) in stores.items():
        retriever = HybridRetriever(corpus, own, store, candidates=settings.retrieve.candidates)
        places = [at for at, (query, *_) in enumerate(asked) if fold_of.get(query) == number]
        for start in range(0, len(places), _BATCH):
            some = places[start : start + _BATCH]
            for at, (dense, lexical) in zip(some, retriever.rankings([asked[at][0] for at in some], 10), strict=True):
                tops = [
                    _top(fuse(((dense if weight else {}), (lexical if weight < 1 else {})), (weight, 1 - weight))) for weight in weights
                ]
                spans = {chunk.row: to_passage(chunk).spans for chunk in corpus.chunks(sorted({row for top in tops for row in top}))}
                found[at] = [retrieval_metrics(examples[at].evidence, [spans[row] for row in top if row in spans], (10,)) for top in tops]
            progress.update("evaluate", len(found), "questions")
    return [[found[at][of] for at in range(len(examples))] for of in range(len(weights))]


def _top(scores: Scores) -> list[int]:
    return ordered(scores)[:10]
