"""Does tuning the retriever pay? SQuADShifts new_wiki, split by article as in squadshifts.py, every part as ``train --retriever`` makes it.

    RAGTUNE_DATA=/path/to/data python benchmarks/squadshifts.py --only-dataset
    RAGTUNE_DATA=/path/to/data python benchmarks/tune_retriever.py

tunes a cross-encoder and two embedders (distilled from it, and by InfoNCE) on training questions, and asks the 450 test questions: 300
about 12 articles that nobody trained on, 150 about the others. Writes ``benchmarks/results/tune_retriever.json``, and to ``--work`` the
models: its ``reranker`` is what retrieval_public.py re-ranks with. A killed run goes on. Intervals are 95 %, from resampling articles;
differences are paired.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from ragtune import Project, build
from ragtune.config import RetrieverSettings, RetrieveSettings
from ragtune.corpus import Corpus
from ragtune.dataset.draws import draw
from ragtune.dataset.rankings import mine, ranking_lists
from ragtune.dataset.store import read_dataset
from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder
from ragtune.evaluate.intervals import bootstrap, paired_difference
from ragtune.evaluate.retrieval import retrieval_metrics
from ragtune.index.exact import ExactStore
from ragtune.models.fingerprint import fingerprint
from ragtune.models.pull import resolve
from ragtune.pipeline.index import embed_missing
from ragtune.pipeline.train_retriever import DEPTH, TOKENS
from ragtune.progress import Silent
from ragtune.protocols import Retriever
from ragtune.retrieve.cross_encoder import CrossEncoderReranker
from ragtune.retrieve.hybrid import HybridRetriever
from ragtune.retrieve.rerank import RerankingRetriever
from ragtune.train.rankers import RankerRun, Recipe, teacher_scores, train_embedder, train_reranker
from ragtune.types import Chunk, Example, Span
from ragtune.workspace import library_versions, write_json
from retrieval_fusion import CachedScores

BASE = "all-minilm-l6-v2"
CUTS = (1, 5, 10, 20)


def teller(name: str) -> Callable[[RankerRun, float], None]:
    said = 0.0

    def on_step(run: RankerRun, left: float) -> None:
        nonlocal said
        if time.monotonic() - said > 20 or run.step == run.steps:
            said = time.monotonic()
            print(f"{name}: step {run.step} of {run.steps}, loss {run.loss:.3f}, {left:.0f} s left", flush=True)

    return on_step


def retriever(corpus: Corpus, model: Path | str, weight: float) -> HybridRetriever:
    embedder = SentenceTransformersEmbedder(model)
    embed_missing(corpus, embedder, Silent())
    store = ExactStore(embedder.dimension)
    store.add(*corpus.vectors(embedder.fingerprint))
    return HybridRetriever(corpus, embedder, store, dense_weight=weight)


def measure(made: Retriever, examples: Sequence[Example]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for example, hits in zip(examples, made.retrieve([each.question for each in examples], max(CUTS)), strict=True):
        spans = [[Span(hit.chunk.document, hit.chunk.start, hit.chunk.end)] for hit in hits]
        found = retrieval_metrics(example.evidence, spans, (1, 5, 10)) | {
            "recall@20": retrieval_metrics(example.evidence, spans, (20,))["recall@20"]
        }
        for name, value in found.items():
            values.setdefault(name, []).append(value)
    return values


def soup(base: Path, tuned: Path, keep: float, output: Path) -> Path:
    """The tuned model with a share of the base's weights."""
    if not output.is_dir():
        import shutil

        shutil.copytree(tuned, output)
        (file,) = output.glob("*.safetensors")
        (before,) = base.glob("*.safetensors")
        old, new = load_file(before), load_file(file)
        save_file(
            {name: value.lerp(old[name], keep) if value.is_floating_point() else value for name, value in new.items()},
            file,
            {"format": "pt"},
        )
    return output


def compare(arms: dict[str, dict[str, list[float]]], examples: Sequence[Example], reference: dict[str, str]) -> dict[str, Any]:
    groups = [each.evidence[0].document for each in examples]
    return {
        "questions": len(examples),
        "articles": len(set(groups)),
        "arms": {arm: {name: asdict(bootstrap(values, groups)) for name, values in found.items()} for arm, found in arms.items()},
        "differences": {
            f"{arm} − {reference[arm]}": {
                name: asdict(paired_difference(values, arms[reference[arm]][name], groups).estimate) for name, values in found.items()
            }
            for arm, found in arms.items()
            if arm in reference
        },
    }


def table(result: dict[str, Any]) -> str:
    names = ("ndcg@10", "mrr", "recall@5", "recall@20")
    lines = [f"| arm | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for kind, sign in (("arms", ""), ("differences", "+")):
        for arm, found in result[kind].items():
            cells = [f"{found[n]['value']:{sign}.3f} [{found[n]['low']:{sign}.3f}, {found[n]['high']:{sign}.3f}]" for n in names]
            lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/squadshifts"), help="as squadshifts.py leaves it")
    parser.add_argument("--work", type=Path, default=Path("build/tune_retriever"), help="keeps models")
    parser.add_argument("--questions", type=int, default=1200, help="training questions")
    parser.add_argument("--rerank-weight", type=float, nargs="*", default=[1.0, 0.3], help="shares of the cross-encoder's score")
    parser.add_argument("--candidates", type=int, default=20, help="chunks that the cross-encoder reads")
    parser.add_argument("--losses", nargs="+", default=["distill", "infonce"], help="how embedders are tuned")
    parser.add_argument("--only-reranker", action="store_true", help="stop when the cross-encoder is there")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results/tune_retriever.json")
    arguments = parser.parse_args()
    if "RAGTUNE_DATA" not in os.environ:
        print("skipped: set RAGTUNE_DATA to the folder that holds squadshifts_new_wiki, and run squadshifts.py --only-dataset")
        return
    project = Project(arguments.folder)
    data = read_dataset(project.workspace.artifact("datasets", project.workspace.find("datasets", None).name))
    with contextlib.closing(build.open_corpus(project.workspace)) as corpus:
        report = run(corpus, data, arguments)
    if report is not None:
        write_json(arguments.output, report)
        for split in ("validation", "test", "test, new documents"):
            print(f"\n{split}: {report[split]['questions']} questions, {report[split]['articles']} articles\n{table(report[split])}")


def run(corpus: Corpus, data: Any, arguments: argparse.Namespace) -> dict[str, Any] | None:
    own, base, work = RetrieverSettings(), resolve(BASE), arguments.work
    assert isinstance(base, Path)
    trained = sorted((each for each in data.train if each.oracles), key=lambda each: draw(0, "retriever", each.id))[: arguments.questions]
    chunks: dict[str, list[Chunk]] = {}
    for chunk in corpus.all_chunks():
        chunks.setdefault(chunk.document, []).append(chunk)
    seconds: dict[str, float] = {}
    untuned = retriever(corpus, base, 0.5)
    lists_file = work / "lists.json"
    held_out = [gold for each in (*data.validation, *data.test) for gold in each.evidence]
    mined = mine(trained, untuned.retrieve([each.question for each in trained], DEPTH), chunks)
    lists = ranking_lists(mined, held_out, size=own.passages, seed=own.seed)
    counts = {"questions": len(mined), "lists": len(lists), "false_negatives": sum(each.false for each in mined)}
    print(counts, flush=True)
    write_json(lists_file, counts)
    if not (work / "reranker").is_dir():
        recipe = Recipe(own.reranker_learning_rate, tokens=TOKENS)
        seconds["reranker"] = train_reranker(base, lists, work / "reranker", recipe, teller("cross-encoder")).seconds
    if arguments.only_reranker:
        return None
    for loss in arguments.losses:
        if not (work / loss).is_dir():
            scores = teacher_scores(work / "reranker", lists) if loss == "distill" else None
            seconds[loss] = train_embedder(base, lists, scores, work / loss, Recipe(own.learning_rate, tokens=TOKENS), teller(loss)).seconds
    models = {"untuned": base} | {loss: work / loss for loss in arguments.losses}
    models |= {f"{loss}, soup": soup(base, work / loss, own.keep, work / f"{loss}-soup") for loss in arguments.losses}
    reranker = CachedScores(CrossEncoderReranker(work / "reranker", fingerprint=fingerprint(work / "reranker")))
    made: dict[str, Retriever] = {}
    reference: dict[str, str] = {}
    for name, model in models.items():
        for side, weight in (("dense", 1.0), ("hybrid", RetrieveSettings().dense_weight)):
            made[f"{side}, {name}"] = retriever(corpus, model, weight)
            if name != "untuned":
                reference[f"{side}, {name}"] = f"{side}, untuned"
    for weight in arguments.rerank_weight:
        arm = f"hybrid, untuned, re-ranked ({weight:g})"
        made[arm] = RerankingRetriever(made["hybrid, untuned"], reranker, arguments.candidates, weight=weight)
        reference[arm] = "hybrid, untuned"
    report: dict[str, Any] = {
        "settings": {name: value for name, value in vars(arguments).items() if not isinstance(value, Path)} | own.model_dump(mode="json"),
        "versions": library_versions(),
        "cpus": os.cpu_count(),
        "counts": counts,
        "seconds_of_training_in_this_sitting": seconds,
    }
    splits = {"validation": data.validation, "test": data.test}
    for split, examples in splits.items():
        known = [each for each in examples if each.evidence]
        arms = {arm: measure(each, known) for arm, each in made.items()}
        report[split] = compare(arms, known, reference)
        if split == "test":
            new = [at for at, each in enumerate(known) if each.stratum == "new_documents"]
            some = {arm: {name: [values[at] for at in new] for name, values in found.items()} for arm, found in arms.items()}
            report["test, new documents"] = compare(some, [known[at] for at in new], reference)
    return report


if __name__ == "__main__":
    main()
