"""Which fusion of dense and lexical search finds the most? Three public collections, every arm through the retriever that serves.

    RAGTUNE_DATA=/path/to/data python benchmarks/retrieval_fusion.py

writes ``benchmarks/results/retrieval_fusion.json`` and prints its tables. Intervals are 95 %, from resampling queries (articles on
squadshifts); differences are paired. Vectors are kept in ``--work``, so that a second run embeds queries only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import re
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import unescape

import ir_measures
import numpy as np

from ragtune.corpus import Corpus
from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder
from ragtune.evaluate.intervals import bootstrap
from ragtune.index.faiss import FaissStore
from ragtune.models.pull import resolve
from ragtune.protocols import Float32, Reranker
from ragtune.retrieve.hybrid import HybridRetriever
from ragtune.types import Chunk, Document, Estimate, Hit
from ragtune.workspace import library_versions

DEPTH = 50
MEASURES = {
    "recall@1": ir_measures.R @ 1,
    "recall@5": ir_measures.R @ 5,
    "recall@10": ir_measures.R @ 10,
    "ndcg@10": ir_measures.nDCG @ 10,
    "mrr": ir_measures.RR,
}


@dataclass(frozen=True)
class Arm:
    """A retriever's settings."""

    fusion: Literal["zscore", "rrf"]
    dense_weight: float


ARMS = {
    "dense": Arm("zscore", 1.0),
    "bm25": Arm("zscore", 0.0),
    "rrf .5": Arm("rrf", 0.5),
    "zscore .3": Arm("zscore", 0.3),
    "zscore .5": Arm("zscore", 0.5),
    "zscore .7": Arm("zscore", 0.7),
}
REFERENCE = "zscore .5"


@dataclass(frozen=True)
class Query:
    """A query with the relevance of documents to it; queries of one group are resampled together."""

    id: str
    text: str
    relevant: dict[str, int]
    group: str


@dataclass(frozen=True)
class Collection:
    """Documents (id, title, text), each a chunk, and queries."""

    documents: list[tuple[str, str, str]]
    queries: list[Query]


class CachedQueries:
    """An embedder that embeds each query once, since all arms ask the same ones."""

    def __init__(self, embedder: SentenceTransformersEmbedder) -> None:
        self.name, self.fingerprint, self.dimension, self.max_tokens = (
            embedder.name,
            embedder.fingerprint,
            embedder.dimension,
            embedder.max_tokens,
        )
        self.embed_documents, self.count_tokens = embedder.embed_documents, embedder.count_tokens
        self._embed = embedder.embed_queries
        self._known: dict[str, Float32] = {}

    def embed_queries(self, texts: Sequence[str]) -> Float32:
        """Vectors `[q, d]`, each text embedded once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])


class CachedScores:
    """A reranker that reads each pair once, since arms that weigh it differently read the same ones."""

    def __init__(self, reranker: Reranker) -> None:
        self.name, self.fingerprint, self._score = reranker.name, reranker.fingerprint, reranker.score
        self._known: dict[tuple[str, str], float] = {}

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """A score for each text."""
        new = [text for text in dict.fromkeys(texts) if (question, text) not in self._known]
        self._known.update(((question, text), score) for text, score in zip(new, self._score(question, new), strict=True))
        return [self._known[question, text] for text in texts]


def squadshifts(data: Path, limit: int) -> Collection:
    articles = json.loads((data / "squadshifts_new_wiki/new_wiki_v1.0.json").read_text())["data"]
    documents, queries = [], []
    for a, article in enumerate(articles):
        for p, paragraph in enumerate(article["paragraphs"]):
            id_ = f"{a}/{p}"
            documents.append((id_, "", paragraph["context"]))
            queries += [Query(qa["id"], qa["question"].strip(), {id_: 1}, str(a)) for qa in paragraph["qas"]]
    return Collection(documents, random.Random(0).sample(queries, min(limit, len(queries))))


def cranfield(data: Path, limit: int) -> Collection:
    folder = data / "cranfield"
    found = re.findall(r"<docno>(.*?)</docno>.*?<text>(.*?)</text>", (folder / "cran.all.1400.xml").read_text(), re.DOTALL)
    texts = re.findall(r"<top>.*?<title>(.*?)</title>", (folder / "cran.qry.xml").read_text(), re.DOTALL)
    relevant: dict[str, dict[str, int]] = {}
    for line in (folder / "cranqrel.trec.txt").read_text().splitlines():
        query, _, document, grade = line.split()
        relevant.setdefault(query, {})[document] = int(grade)
    # The judgements number the queries by their place, not by the <num> that they carry.
    queries = [Query(str(i), " ".join(unescape(text).split()), relevant[str(i)], str(i)) for i, text in enumerate(texts, start=1)]
    return Collection([(id_.strip(), "", unescape(text).strip()) for id_, text in found if text.strip()], queries[:limit])


def dbpedia(data: Path, limit: int) -> Collection:
    folder = data / "beir_dbpedia"
    documents = [(d["_id"], d["title"], d["text"]) for d in map(json.loads, (folder / "corpus.jsonl").read_text().splitlines())]
    relevant: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        relevant.setdefault(query, {})[document] = int(grade)
    asked = map(json.loads, (folder / "queries.jsonl").read_text().splitlines())
    queries = [Query(q["_id"], q["text"], relevant[q["_id"]], q["_id"]) for q in asked if any(relevant.get(q["_id"], {}).values())]
    return Collection(documents, queries[:limit])


COLLECTIONS: dict[str, Callable[[Path, int], Collection]] = {"squadshifts": squadshifts, "cranfield": cranfield, "dbpedia": dbpedia}


def index(collection: Collection, embedder: CachedQueries, path: Path) -> tuple[Corpus, FaissStore]:
    corpus = Corpus(path)
    if not corpus.stats().documents:
        corpus.put_file("collection", "", "", list(_documents(collection)))
    missing = sorted(corpus.embedding_texts(corpus.missing_rows(embedder.fingerprint)), key=lambda item: len(item[1]))
    for start in range(0, len(missing), 256):
        batch = missing[start : start + 256]
        corpus.put_vectors(embedder.fingerprint, [key for key, _ in batch], embedder.embed_documents([text for _, text in batch]))
    store = FaissStore(embedder.dimension)
    store.add(*corpus.vectors(embedder.fingerprint))
    return corpus, store


def _documents(collection: Collection) -> Iterator[tuple[Document, list[Chunk]]]:
    for id_, title, text in collection.documents:
        chunk = Chunk(hashlib.sha256(id_.encode()).hexdigest()[:16], id_, 0, len(text), text, title, prefix=title)
        yield Document(id_, title, text), [chunk]


def measure(queries: Sequence[Query], rankings: Sequence[Sequence[Hit]]) -> dict[str, list[float]]:
    """Each measure's value for each query."""
    qrels = {query.id: query.relevant for query in queries}
    run = {q.id: {hit.chunk.document: 1 / hit.rank for hit in hits} for q, hits in zip(queries, rankings, strict=True)}
    values = {(metric.measure, metric.query_id): metric.value for metric in ir_measures.iter_calc(list(MEASURES.values()), qrels, run)}
    # A query for which nothing was found is not reported; it scores 0.
    return {name: [values.get((of, query.id), 0.0) for query in queries] for name, of in MEASURES.items()}


def compare(name: str, collection: Collection, embedder: CachedQueries, work: Path) -> dict[str, Any]:
    corpus, store = index(collection, embedder, work / f"{name}.db")
    queries, groups = collection.queries, [query.group for query in collection.queries]
    texts = [query.text for query in queries]
    embedder.embed_queries(texts)
    scores = {}
    for arm, settings in ARMS.items():
        retriever = HybridRetriever(corpus, embedder, store, candidates=DEPTH, **asdict(settings))
        scores[arm] = measure(queries, retriever.retrieve(texts, DEPTH))
    corpus.close()
    reference = scores[REFERENCE]
    return {
        "documents": len(collection.documents),
        "queries": len(queries),
        "groups": len(set(groups)),
        "arms": {arm: {m: asdict(bootstrap(v, groups)) for m, v in values.items()} for arm, values in scores.items()},
        "difference": {
            arm: {m: asdict(bootstrap(_minus(reference[m], v), groups, share=False)) for m, v in values.items()}
            for arm, values in scores.items()
            if arm != REFERENCE
        },
    }


def latency(collection: Collection, embedder: SentenceTransformersEmbedder, work: Path) -> dict[str, float]:
    """Median milliseconds of one search on squadshifts, and of embedding the same query alone."""
    corpus, store = index(collection, CachedQueries(embedder), work / "squadshifts.db")
    retriever = HybridRetriever(corpus, embedder, store, candidates=DEPTH)
    searches, embeddings = [], []
    for query in collection.queries[:60]:
        searches.append(_milliseconds(partial(retriever.retrieve, [query.text], 5)))
        embeddings.append(_milliseconds(partial(embedder.embed_queries, [query.text])))
    corpus.close()
    return {"search": statistics.median(searches[10:]), "embedding": statistics.median(embeddings[10:]), "chunks": float(len(store))}


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def _minus(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(one, other, strict=True)]


def table(name: str, result: dict[str, Any]) -> str:
    lines = [f"\n{name}: {result['documents']} documents, {result['queries']} queries, {result['groups']} groups"]
    lines.append("| arm | " + " | ".join(MEASURES) + f" | {REFERENCE} minus it, recall@5 | ndcg@10 |")
    lines.append("|---" * (len(MEASURES) + 3) + "|")
    for arm, values in result["arms"].items():
        cells = [_cell(Estimate(**values[m])) for m in MEASURES]
        other = result["difference"].get(arm)
        cells += [_cell(Estimate(**other[m]), "+") if other else "" for m in ("recall@5", "ndcg@10")]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(e: Estimate, sign: str = "") -> str:
    return f"{e.value:{sign}.3f} [{e.low:{sign}.3f}, {e.high:{sign}.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "ragtune-retrieval-fusion", help="where vectors are kept"
    )
    parser.add_argument("--limit", type=int, default=1000, help="queries of a collection, at most")
    parser.add_argument("--model", default="all-minilm-l6-v2")
    arguments = parser.parse_args()
    if "RAGTUNE_DATA" not in os.environ:
        print("skipped: set RAGTUNE_DATA to the folder that holds squadshifts_new_wiki, cranfield and beir_dbpedia")
        return
    data = Path(os.environ["RAGTUNE_DATA"])
    arguments.work.mkdir(parents=True, exist_ok=True)
    embedder = SentenceTransformersEmbedder(resolve(arguments.model))
    cached = CachedQueries(embedder)
    collections = {name: read(data, arguments.limit) for name, read in COLLECTIONS.items()}
    versions = {name: version for name, version in library_versions().items() if name != "platform"} | {"sqlite": sqlite3.sqlite_version}
    report: dict[str, Any] = {"embedder": embedder.name, "depth": DEPTH, "versions": versions, "cpus": os.cpu_count()}
    report["machine"] = platform.machine()
    report["collections"] = {}
    for name, collection in collections.items():
        result = report["collections"][name] = compare(name, collection, cached, arguments.work)
        print(table(name, result), flush=True)
    report["latency_ms"] = latency(collections["squadshifts"], embedder, arguments.work)
    print(f"\none search over {report['latency_ms']['chunks']:.0f} chunks, median ms: ", report["latency_ms"])
    output = Path(__file__).parent / "results/retrieval_fusion.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
