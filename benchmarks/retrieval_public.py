"""nDCG@10 and recall@100 on Cranfield and DBpedia-Entity: dense, lexical, hybrid, hybrid weighed on other queries, and re-ranked.

    RAGTUNE_DATA=/path/to/data python benchmarks/squadshifts.py --only-dataset
    RAGTUNE_DATA=/path/to/data python benchmarks/tune_retriever.py --only-reranker
    RAGTUNE_DATA=/path/to/data python benchmarks/retrieval_public.py

writes ``benchmarks/results/retrieval_public.json``; without ``build/tune_retriever/reranker`` nothing is re-ranked. Two checks come with
it: dense search beside sentence-transformers' own exact one over vectors that it made itself, and ragtune's own measures beside
ir-measures', on relevance without grades. DBpedia is a subset of 5,000 entities. The default weight comes from squadshifts; "weighed"
takes, for each fifth of the queries, the weight that is best on the other four, as ``ragtune evaluate --retrieval --weigh`` chooses one,
over twenty ways to cut fifths. Intervals are 95 %, from resampling queries; differences are paired.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from sentence_transformers import SentenceTransformer, util

from ragtune.config import RetrieverSettings, RetrieveSettings
from ragtune.corpus import Corpus, embedding_text
from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder
from ragtune.evaluate.intervals import bootstrap
from ragtune.evaluate.retrieval import ndcg_at, recall_at, reciprocal_rank
from ragtune.models.fingerprint import fingerprint
from ragtune.models.pull import resolve
from ragtune.pipeline.weigh import WEIGHTS
from ragtune.protocols import Retriever
from ragtune.retrieve.hybrid import HybridRetriever
from ragtune.retrieve.rerank import RerankingRetriever
from ragtune.types import Evidence, Span
from ragtune.workspace import library_versions, write_json
from retrieval_fusion import CachedQueries, CachedScores, Collection, Query, cranfield, dbpedia, index

DEPTH = 100
FOLDS, CUTS = 5, 20
"""Parts of the queries that a weight is chosen without, and ways to cut them."""
MODEL = "all-minilm-l6-v2"
SHARES = (1.0, RetrieverSettings().rerank_weight)
"""Shares of the cross-encoder's score in the ranking: it alone, and what serves where it was tuned."""
MEASURES = {"ndcg@10": ir_measures.nDCG @ 10, "recall@100": ir_measures.R @ 100}
Run = list[list[str]]
"""For each query the documents found, best first."""


def measure(queries: Sequence[Query], run: Run) -> dict[str, list[float]]:
    """Each measure's value for each query, by ir-measures."""
    qrels = {query.id: query.relevant for query in queries}
    scored = {
        query.id: {document: 1 / rank for rank, document in enumerate(found, start=1)} for query, found in zip(queries, run, strict=True)
    }
    values = {(metric.measure, metric.query_id): metric.value for metric in ir_measures.iter_calc(list(MEASURES.values()), qrels, scored)}
    return {name: [values.get((of, query.id), 0.0) for query in queries] for name, of in MEASURES.items()}


def search(retriever: Retriever, queries: Sequence[Query]) -> Run:
    return [[hit.chunk.document for hit in hits] for hits in retriever.retrieve([query.text for query in queries], DEPTH)]


def weighed(retrievers: Mapping[float, Retriever], queries: Sequence[Query]) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Each query under the weight that is best, by nDCG@10, on the folds that it is not in; the mean of several ways to cut folds.

    Returns:
        Each measure's value for each query, and how often each weight was chosen.
    """
    values = {weight: measure(queries, search(retriever, queries)) for weight, retriever in retrievers.items()}
    ndcg = {weight: np.array(each["ndcg@10"]) for weight, each in values.items()}
    means = {name: np.zeros(len(queries)) for name in MEASURES}
    chosen: Counter[str] = Counter()
    for seed in range(CUTS):
        order = np.random.default_rng(seed).permutation(len(queries))
        for held_out in np.array_split(order, FOLDS):
            others = np.setdiff1d(order, held_out)
            best = max(ndcg, key=lambda weight: float(ndcg[weight][others].mean()))
            chosen[f"{best:g}"] += 1
            for name, mean in means.items():
                mean[held_out] += np.array(values[best][name])[held_out] / CUTS
    return {name: mean.tolist() for name, mean in means.items()}, dict(chosen.most_common())


def by_sentence_transformers(corpus: Corpus, queries: Sequence[Query]) -> Run:
    """Exact search with vectors of its own making: nothing of ragtune's but the texts."""
    model = SentenceTransformer(str(resolve(MODEL)), device="cpu", local_files_only=True)
    chunks = corpus.all_chunks()
    passages = model.encode([embedding_text(chunk) for chunk in chunks], convert_to_tensor=True, show_progress_bar=False)
    asked = model.encode([query.text for query in queries], convert_to_tensor=True, show_progress_bar=False)
    return [[chunks[hit["corpus_id"]].document for hit in hits] for hits in util.semantic_search(asked, passages, top_k=DEPTH)]


def own_measures(queries: Sequence[Query], run: Run) -> dict[str, float]:
    """Largest difference of any query between ragtune's measures of evidence and ir-measures' of documents, grades left out."""
    qrels = {query.id: {document: int(grade > 0) for document, grade in query.relevant.items()} for query in queries}
    scored = {
        query.id: {document: 1 / rank for rank, document in enumerate(found, start=1)} for query, found in zip(queries, run, strict=True)
    }
    measures = {"ndcg@10": ir_measures.nDCG @ 10, "recall@100": ir_measures.R @ 100, "mrr": ir_measures.RR}
    values = {(metric.measure, metric.query_id): metric.value for metric in ir_measures.iter_calc(list(measures.values()), qrels, scored)}
    worst = dict.fromkeys(measures, 0.0)
    for query, found in zip(queries, run, strict=True):
        evidence = [Evidence(document, 0, 1, "x") for document, relevant in qrels[query.id].items() if relevant]
        ranking = [[Span(document, 0, 1)] for document in found]
        own = {
            "ndcg@10": ndcg_at(10, evidence, ranking),
            "recall@100": recall_at(100, evidence, ranking),
            "mrr": reciprocal_rank(evidence, ranking),
        }
        for name, value in own.items():
            worst[name] = max(worst[name], abs(value - values.get((measures[name], query.id), 0.0)))
    return worst


def compare(collection: Collection, embedder: CachedQueries, path: Path, reranker: Path, candidates: int) -> dict[str, Any]:
    corpus, store = index(collection, embedder, path)
    defaults = RetrieveSettings()
    arms: dict[str, Retriever] = {
        name: HybridRetriever(corpus, embedder, store, fusion=defaults.fusion, dense_weight=weight)
        for name, weight in (("dense", 1.0), ("lexical", 0.0), ("hybrid", defaults.dense_weight))
    }
    if reranker.is_dir():
        from ragtune.retrieve.cross_encoder import CrossEncoderReranker

        made = CachedScores(CrossEncoderReranker(reranker, fingerprint=fingerprint(reranker)))
        for weight in SHARES:
            name = "re-ranked" if weight == 1 else f"re-ranked, weight {weight:g}"
            arms[name] = RerankingRetriever(arms["hybrid"], made, candidates, weight)
    runs = {name: search(retriever, collection.queries) for name, retriever in arms.items()}
    values = {name: measure(collection.queries, run) for name, run in runs.items()}
    by_weight = {w: HybridRetriever(corpus, embedder, store, fusion=defaults.fusion, dense_weight=w) for w in WEIGHTS}
    values["weighed"], weights = weighed(by_weight, collection.queries)
    exact = measure(collection.queries, by_sentence_transformers(corpus, collection.queries))
    corpus.close()
    means = {name: {m: sum(v) / len(v) for m, v in arm.items()} for name, arm in [*values.items(), ("exact", exact)]}
    better = {m: max(means["dense"][m], means["lexical"][m]) for m in MEASURES}
    groups = [query.group for query in collection.queries]
    return {
        "documents": len(collection.documents),
        "queries": len(collection.queries),
        "arms": {name: {m: asdict(bootstrap(v, groups)) for m, v in arm.items()} for name, arm in values.items()},
        "minus_hybrid": {
            name: {
                m: asdict(bootstrap([a - b for a, b in zip(v, values["hybrid"][m], strict=True)], groups, share=False))
                for m, v in arm.items()
            }
            for name, arm in values.items()
            if name != "hybrid"
        },
        "checks": {
            "sentence_transformers_exact": means["exact"],
            "dense_equals_it_to_3_digits": all(round(means["dense"][m], 3) == round(means["exact"][m], 3) for m in MEASURES),
            "largest_difference_to_ir_measures": own_measures(collection.queries, runs["hybrid"]),
            "hybrid_minus_the_better_of_both": {m: means["hybrid"][m] - better[m] for m in MEASURES},
            "weighed_minus_the_better_of_both": {m: means["weighed"][m] - better[m] for m in MEASURES},
            "weights_chosen": weights,
        },
    }


def table(name: str, result: dict[str, Any]) -> str:
    lines = [f"\n{name}: {result['documents']} documents, {result['queries']} queries", "| arm | nDCG@10 | recall@100 |", "|---|---|---|"]
    for arm, figures in result["arms"].items():
        cells = [f"{figures[m]['value']:.3f} [{figures[m]['low']:.3f}, {figures[m]['high']:.3f}]" for m in MEASURES]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join([*lines, json.dumps(result["checks"])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reranker", type=Path, default=Path("build/tune_retriever/reranker"), help="as tune_retriever.py leaves it")
    parser.add_argument("--candidates", type=int, default=RetrieveSettings().rerank_candidates, help="documents that it reads")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "ragtune-retrieval-public", help="where vectors are kept"
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results/retrieval_public.json")
    arguments = parser.parse_args()
    if "RAGTUNE_DATA" not in os.environ:
        print("skipped: set RAGTUNE_DATA to the folder that holds cranfield and beir_dbpedia")
        return
    data = Path(os.environ["RAGTUNE_DATA"])
    arguments.work.mkdir(parents=True, exist_ok=True)
    embedder = CachedQueries(SentenceTransformersEmbedder(resolve(MODEL)))
    report: dict[str, Any] = {
        "settings": {
            "embedder": MODEL,
            "depth": DEPTH,
            "fusion": RetrieveSettings().fusion,
            "dense_weight": RetrieveSettings().dense_weight,
            "dense_weight_set_on": "squadshifts_new_wiki, see retrieval_fusion.json",
            "rerank_candidates": arguments.candidates,
            "reranker": fingerprint(arguments.reranker) if arguments.reranker.is_dir() else None,
        },
        "versions": library_versions(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "collections": {},
    }
    for name, read in (("cranfield", cranfield), ("dbpedia", dbpedia)):
        result = compare(read(data, 1000), embedder, arguments.work / f"{name}.db", arguments.reranker, arguments.candidates)
        report["collections"][name] = result
        print(table(name, result), flush=True)
    write_json(arguments.output, report)


if __name__ == "__main__":
    main()
