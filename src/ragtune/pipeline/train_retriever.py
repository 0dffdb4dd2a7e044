"""Tune the retriever on a dataset's questions, measure whether it is better where it was not tuned, and adopt it if so.

A tuned retriever is a folder in ``.ragtune/retrievers``: a cross-encoder, an embedder that learnt from it, and both again for each fold
of the questions. What serves is said by one small file, written when all vectors are there, so that a kill leaves the one or the other.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ragtune import build
from ragtune.backends.adopted import EMBEDDER, FOLDS, RERANKER
from ragtune.config import Settings
from ragtune.conversation import search_text
from ragtune.corpus import Corpus
from ragtune.dataset.draws import draw
from ragtune.dataset.rankings import Mined, assign_folds, fold_lists, mine
from ragtune.dataset.store import read_dataset
from ragtune.errors import ConfigError, ProjectError, TrainError
from ragtune.evaluate.intervals import bootstrap, paired_difference
from ragtune.evaluate.retrieval import retrieval_metrics
from ragtune.hosted.providers import is_hosted
from ragtune.models.pull import resolve
from ragtune.pipeline.adopt_retriever import STAGE, adopt, undo_retriever
from ragtune.pipeline.crossfit import FILE as FOLDS_FILE
from ragtune.pipeline.crossfit import write_folds
from ragtune.pipeline.dataset import corpus_hash
from ragtune.pipeline.index import build_index, current_store, embed_missing
from ragtune.pipeline.records import RetrieverResult
from ragtune.pipeline.retrieval import stands
from ragtune.pipeline.serving import ServingRetriever
from ragtune.pipeline.train import claim
from ragtune.progress import Progress
from ragtune.protocols import Embedder
from ragtune.types import Chunk, Evidence, Example, RankingList, Span
from ragtune.workspace import Manifest, Workspace, library_versions, now, stage_key, write_manifest

VERSION = 1
DEPTH = 30
"""Ranks that negatives are drawn from."""
DECIDING = 300
"""Questions that decide at most: those of validation, filled up with training questions, each asked of the fold that it was left out of."""
FEWEST = 20
"""Training questions below which nothing is tuned."""
TOKENS = 192
"""Of a question and a chunk together; longer ones are cut."""
_TRAINED = 3.0
"""Time of a text trained on, as a multiple of one that is only read."""


def train_retriever(workspace: Workspace, settings: Settings, dataset: str | None, name: str | None, progress: Progress) -> RetrieverResult:
    """Tune, or go on tuning, or take what equal inputs made; then adopt what of it is better.

    Args:
        workspace: with a dataset.
        settings: embed, retrieve and retriever are read.
        dataset: whose questions; ``None`` takes the newest.
        name: of the retriever; ``None`` makes one from the key.
        progress: told what goes on.

    Raises:
        ConfigError: the embedder is hosted.
        TrainError: there are too few questions, or training diverged.
        ProjectError: there is no dataset, or the name belongs to a retriever of other inputs.
    """
    if is_hosted(settings.embed.model):
        raise ConfigError(f"embed.model = {settings.embed.model!r} is hosted and cannot be tuned: name a local one, as all-minilm-l6-v2")
    _drop_broken(workspace, settings, progress)
    build_index(workspace, settings, progress, quiet=True)
    source = workspace.find("datasets", dataset)
    data = read_dataset(workspace.artifact("datasets", source.name))
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        usable = {each.id for each in (*data.train, *data.validation) if each.evidence and each.oracles and stands(corpus, each)}
        train = _sample([each for each in data.train if each.id in usable], settings.retriever.max_questions, settings.retriever.seed)
        if len(train) < FEWEST:
            raise TrainError(f"{len(train)} training questions of {source.name} have evidence, and {FEWEST} are needed: add questions")
        validation = _sample([each for each in data.validation if each.id in usable], DECIDING, settings.retriever.seed)
        held_out = [gold for each in (*data.validation, *data.test) for gold in _held_out(corpus, each)]
        key, read, inputs = _key(settings, corpus, train, validation, held_out)
        manifest = workspace.find_key("retrievers", key)
        if manifest is not None and not _is_whole(found := workspace.artifact("retrievers", manifest.name), settings.retriever.folds):
            (found / "manifest.json").unlink()  # which makes it an unfinished one, that is gone on with
            name, manifest = name or manifest.name, None
        made = manifest is None or name not in (None, manifest.name)
        if manifest is None or made:
            name = name or f"retriever-{key[:8]}"
            folder = claim(workspace, name, key, "retrievers")
            figures, seconds = _Work(workspace, settings, corpus, folder, progress).run(train, validation, held_out)
            inputs |= {"dataset": source.name}
            manifest = Manifest("retrievers", name, key, inputs, read, figures, now(), round(seconds, 3), library_versions())
            write_manifest(folder, manifest)
        else:
            progress.note(f"retriever: unchanged, {manifest.name} is as these inputs make it")
    adopted = adopt(workspace, settings, manifest, progress)
    return RetrieverResult(manifest.name, str(workspace.artifact("retrievers", manifest.name)), made, adopted, manifest.figures)


def _sample(examples: Sequence[Example], most: int | None, seed: int) -> list[Example]:
    return sorted(sorted(examples, key=lambda each: draw(seed, STAGE, each.id))[:most], key=lambda each: each.id)


def _held_out(corpus: Corpus, example: Example) -> Sequence[Evidence]:
    """A question's evidence; where its document has changed since the dataset was built, all of that document."""
    if stands(corpus, example):
        return example.evidence
    return [replace(gold, start=0, end=sys.maxsize) for gold in example.evidence]


def _drop_broken(workspace: Workspace, settings: Settings, progress: Progress) -> None:
    """What was adopted and lost its models serves no longer, or nothing could be tuned."""
    try:
        build.adopted(workspace, settings)
    except ProjectError as error:
        progress.note(f"{error.args[0].partition(': run')[0]}: it no longer serves")
        undo_retriever(workspace, settings, progress)


def _is_whole(folder: Path, folds: int) -> bool:
    """Whether a finished retriever still has all its models."""
    places = [folder, *(folder / FOLDS / str(fold) for fold in range(folds))]
    return (folder / FOLDS_FILE).is_file() and all((place / part).is_dir() for place in places for part in (EMBEDDER, RERANKER))


def _key(
    settings: Settings, corpus: Corpus, train: Sequence[Example], validation: Sequence[Example], held_out: Sequence[Evidence]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Of the questions, not of the dataset: one that is built again with the tuned retriever has other passages and the same questions."""
    read = {
        "retriever": settings.retriever.model_dump(mode="json", exclude={"rerank"}),
        "retrieve": settings.retrieve.model_dump(mode="json", include={"k", "candidates", "fusion", "dense_weight", "rerank_candidates"}),
        "embed": settings.embed.model_dump(mode="json", include={"model", "dimensions"}),
    }
    asked = [
        [each.id, search_text(each.question, each.history), each.answers, each.group, [asdict(gold) for gold in each.evidence]]
        for each in (*train, *validation)
    ]
    inputs = {
        "questions": stage_key("asked", 1, len(train), asked),
        "held_out": stage_key("held out", 1, None, sorted([gold.document, gold.start, gold.end] for gold in held_out)),
        "corpus": corpus_hash(corpus),
        "base": build.local_embedder(settings.embed).fingerprint,
    }
    return stage_key(STAGE, VERSION, read, inputs), read, inputs


@dataclass(frozen=True, slots=True)
class _Work:
    """One tuning, opened."""

    workspace: Workspace
    settings: Settings
    corpus: Corpus
    folder: Path
    progress: Progress

    def run(self, train: Sequence[Example], validation: Sequence[Example], held_out: Sequence[Evidence]) -> tuple[dict[str, Any], float]:
        """Tune the whole and each fold, and measure: figures, and seconds of training over all sittings."""
        own = self.settings.retriever
        mined = self._mine(train)
        fold_of = assign_folds([each.example for each in mined], own.folds, own.seed)
        lists = fold_lists(mined, held_out, fold_of, size=own.passages, seed=own.seed)
        if len(lists) <= own.folds or not all(lists.values()):
            raise TrainError(
                f"the questions are of fewer than {own.folds} document groups, or nothing else is found for them: add documents"
            )
        write_folds(
            self.folder,
            {search_text(each.example.question, each.example.history): fold_of[each.example.group] for each in mined},
            fold_of,
            own.folds,
        )
        self._forecast(lists)
        bar = _Bar(self.progress, 2 * own.epochs * sum(map(len, lists.values())))
        seconds = sum(self._tune(fold, each, bar) for fold, each in lists.items())
        figures = self._measure(validation, mined, fold_of)
        counts = {"questions": len(mined), "lists": len(lists[None]), "texts": sum(len(each.texts) for each in lists[None])}
        embedders = [self._embedder(fold).fingerprint for fold in (None, *range(own.folds))]
        return {
            **figures,
            **counts,
            "embedders": embedders,
            "false_negatives": sum(each.false for each in mined),
            "seconds": round(seconds, 1),
        }, seconds

    def _retriever(self, fold: int | None, *, tuned: bool, reranked: bool = False) -> ServingRetriever:
        """Hybrid search alone, untuned or tuned, with the cross-encoder or without."""
        plain = self.settings.retrieve.model_copy(update={"reranker": None, "rewrite": None, "mmr": None, "expand": "none"})
        settings = self.settings.model_copy(update={"retrieve": plain})
        embedder = self._embedder(fold) if tuned else build.local_embedder(settings.embed)
        embed_missing(self.corpus, embedder, self.progress)
        store = current_store(self.workspace, settings, self.corpus, embedder)
        reranking = build.Reranking(str(self._of(fold) / RERANKER), settings.retriever.rerank_weight) if reranked else None
        return ServingRetriever(self.workspace, settings, self.corpus, embedder, store, reranking=reranking)

    def _embedder(self, fold: int | None) -> Embedder:
        return build.local_embedder(self.settings.embed, self._of(fold) / EMBEDDER)

    def _of(self, fold: int | None) -> Path:
        return self.folder if fold is None else self.folder / FOLDS / str(fold)

    def _mine(self, train: Sequence[Example]) -> list[Mined]:
        chunks: dict[str, list[Chunk]] = {}
        for chunk in self.corpus.all_chunks():
            chunks.setdefault(chunk.document, []).append(chunk)
        self.progress.note(f"looking for chunks that are found for {len(train)} questions and do not answer them …")
        rankings = self._retriever(None, tuned=False).retrieve([search_text(each.question, each.history) for each in train], DEPTH)
        return mine(train, rankings, chunks)

    def _tune(self, fold: int | None, lists: Sequence[RankingList], bar: _Bar) -> float:
        """Both models of a fold; what is there already is a finished run's."""
        with build.extra("torch"):  # noqa: S610 - not Django's
            from ragtune.train.rankers import Recipe, teacher_scores, train_embedder, train_reranker
        own, base = self.settings.retriever, resolve(self.settings.embed.model)
        folder, seconds = self._of(fold), 0.0
        whose = "" if fold is None else f" of fold {fold + 1}"
        recipe = partial(Recipe, epochs=own.epochs, tokens=TOKENS, seed=own.seed)
        if not (folder / RERANKER).is_dir():
            on_step = bar.of(f"cross-encoder{whose}", len(lists))
            seconds += train_reranker(base, lists, folder / RERANKER, recipe(own.reranker_learning_rate), on_step).seconds
        bar.add(own.epochs * len(lists))
        if not (folder / EMBEDDER).is_dir():
            scores = teacher_scores(folder / RERANKER, lists) if own.loss == "distill" else None
            on_step = bar.of(f"embedder{whose}", len(lists))
            seconds += train_embedder(base, lists, scores, folder / EMBEDDER, recipe(own.learning_rate, keep=own.keep), on_step).seconds
        bar.add(own.epochs * len(lists))
        return seconds

    def _measure(self, validation: Sequence[Example], mined: Sequence[Mined], fold_of: Mapping[str, int]) -> dict[str, Any]:
        """Before and after: validation questions by the whole, training questions by the fold that they were left out of."""
        spare = _sample([each.example for each in mined], max(0, DECIDING - len(validation)), self.settings.retriever.seed + 1)
        asked: dict[int | None, list[Example]] = {None: list(validation)}
        for example in spare:
            asked.setdefault(fold_of[example.group], []).append(example)
        groups = [example.group for own in asked.values() for example in own]
        arms = {"untuned": self._ask(asked, tuned=False, reranked=False), "tuned": self._ask(asked, tuned=True, reranked=False)}
        differences = {"tuned − untuned": _differences(arms["tuned"], arms["untuned"], groups)}
        better = {EMBEDDER: _is_better(differences["tuned − untuned"])}
        first = "tuned" if better[EMBEDDER] else "untuned"
        last = f"{first}, re-ranked"
        arms[last] = self._ask(asked, tuned=better[EMBEDDER], reranked=True)
        differences[f"{last} − {first}"] = _differences(arms[last], arms[first], groups)
        better[RERANKER] = _is_better(differences[f"{last} − {first}"])
        measured = {arm: {name: asdict(bootstrap(values, groups)) for name, values in found.items()} for arm, found in arms.items()}
        return {
            "better": better,
            "decided_on": {"validation": len(validation), "cross_fitted": len(spare), "groups": len(set(groups))},
            "measured": measured,
            "differences": differences,
        }

    def _ask(self, asked: Mapping[int | None, Sequence[Example]], *, tuned: bool, reranked: bool) -> dict[str, list[float]]:
        cuts = sorted({self.settings.retrieve.k, 10})
        found: dict[str, list[float]] = {}
        arm = f"{'tuned' if tuned else 'untuned'} retriever{', re-ranked' if reranked else ''}"
        self.progress.note(f"asking {sum(map(len, asked.values()))} questions of the {arm} …")
        for fold, examples in asked.items():
            if not examples:
                continue
            retriever = self._retriever(fold, tuned=tuned, reranked=reranked)
            queries = [search_text(each.question, each.history) for each in examples]
            for example, hits in zip(examples, retriever.retrieve(queries, max(cuts)), strict=True):
                spans = [[Span(hit.chunk.document, hit.chunk.start, hit.chunk.end)] for hit in hits]
                for name, value in retrieval_metrics(example.evidence, spans, cuts).items():
                    found.setdefault(name, []).append(value)
        return found

    def _forecast(self, lists: Mapping[int | None, Sequence[RankingList]]) -> None:
        """Say about how long it will take, from how fast the embedder reads here."""
        own = self.settings.retriever
        embedder = build.local_embedder(self.settings.embed)
        texts = [text for each in (lists[None] or ())[:8] for text in each.texts]
        embedder.embed_documents(texts[:4])
        began = time.monotonic()
        embedder.embed_documents(texts)
        rate = len(texts) / max(1e-6, time.monotonic() - began)
        trained = own.epochs * 2 * _TRAINED * sum(len(each.texts) for own_lists in lists.values() for each in own_lists)
        embedded = (1 + own.folds) * self.corpus.stats().chunks
        reranked = DECIDING * self.settings.retrieve.rerank_candidates
        self.progress.note(
            f"predicted: about {(trained + embedded + reranked) / rate / 60:.0f} minutes, to tune on {len(lists[None])} questions, again "
            f"without each of {own.folds} parts of them, and to embed {self.corpus.stats().chunks} chunks {1 + own.folds} times"
        )


class _Bar:
    """One progress bar over all models, in lists; the time left is from this sitting's rate."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._behind = 0
        self._begun: tuple[float, float] | None = None

    def add(self, lists: int) -> None:
        """These are behind, now or since an earlier sitting."""
        self._behind += lists
        self._begun = None

    def of(self, what: str, lists: int) -> Any:
        """What a trainer tells its steps to."""
        self._progress.start(STAGE, self._total)

        def on_step(run: Any, _: float) -> None:
            done = self._behind + run.step / run.steps * lists
            if self._begun is None:
                self._begun = time.monotonic(), done
            since, first = self._begun
            rate = (done - first) / max(1e-6, time.monotonic() - since)
            self._progress.update(
                STAGE, round(done), f"questions; {what}, loss {run.loss:.3f}", left=(self._total - done) / rate if rate else None
            )

        return on_step


def _differences(a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]], groups: Sequence[str]) -> dict[str, Any]:
    return {name: asdict(paired_difference(a[name], b[name], groups).estimate) for name in a}


def _is_better(difference: Mapping[str, Any]) -> bool:
    """Whether the interval of nDCG@10 is clear of zero."""
    low = difference["ndcg@10"]["low"]
    return low is not None and low > 0
