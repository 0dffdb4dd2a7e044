"""Which kind of vector index, from how many vectors on? Build, search, recall, size and the cost of a change, beside exact search.

    RAGTUNE_DATA=/path/to/data OMP_NUM_THREADS=1 python benchmarks/index_kinds.py

writes ``benchmarks/results/index_kinds.json``. Every kind is tuned as ``ragtune index`` tunes it, on vectors of the set; the recall that is
reported is that of real questions, which it never saw. Sizes beyond the real paragraphs are grown from them (``index_vectors.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index_vectors import grown, real
from ragtune import build
from ragtune.config import IndexSettings
from ragtune.corpus import Corpus
from ragtune.index.choose import KINDS, Kind, lists_for
from ragtune.index.tune import K, Sample, measure, tune
from ragtune.protocols import Float32, Int64, VectorStore
from ragtune.types import Chunk, Document
from ragtune.workspace import library_versions, write_json

EMBEDDER = "m"
CHANGED = 10
SHARES = (0.01, 0.1, 0.5)
_TIMED = 100
_BLOCK = 8192


def corpus_of(vectors_nd: Float32, path: Path) -> tuple[Corpus, Int64]:
    """A corpus with these vectors, which re-ranking reads, and its rows."""
    corpus = Corpus(path)
    if not corpus.stats().chunks:
        words = [f"w{number:07d}" for number in range(len(vectors_nd))]
        text = " ".join(words)
        chunks = [Chunk(word, "d", 9 * n, 9 * n + 8, word, "") for n, word in enumerate(words)]
        corpus.put_file("f", "", "", [(Document("d", "", text, "text/plain"), chunks)])
    missing = sorted(corpus.embedding_texts(corpus.missing_rows(EMBEDDER)), key=lambda each: each[1])
    for start in range(0, len(missing), _BLOCK):
        corpus.put_vectors(EMBEDDER, [key for key, _ in missing[start : start + _BLOCK]], vectors_nd[start : start + _BLOCK])
    return corpus, np.arange(1, len(vectors_nd) + 1, dtype=np.int64)


def exact_neighbours(vectors_nd: Float32, ids_n: Int64, queries_qd: Float32, among: Int64 | None = None) -> Int64:
    """By FAISS's flat index over just those vectors."""
    kept = slice(None) if among is None else np.isin(ids_n, among)
    flat = faiss.IndexFlatIP(vectors_nd.shape[1])
    flat.add(np.ascontiguousarray(vectors_nd[kept]))
    found: Int64 = ids_n[kept][flat.search(queries_qd, K)[1]]
    return found


def recall(found_qk: Int64, true_qk: Int64) -> float:
    """Mean share of the true neighbours that were found."""
    return float(np.mean([len(set(found) & set(true)) / K for found, true in zip(found_qk.tolist(), true_qk.tolist(), strict=True)]))


def bench(
    kind: Kind, vectors_nd: Float32, ids_n: Int64, corpus: Corpus, asked_qd: Float32, truth: dict[float, Any], wanted: float
) -> dict[str, Any]:
    """One kind on one set: built, tuned, saved, mapped, searched, patched."""
    rng = np.random.default_rng(0)
    lists = lists_for(len(ids_n))

    def exact(rows_n: Int64) -> tuple[Int64, Float32]:
        return corpus.vectors(EMBEDDER, rows_n.tolist())

    result: dict[str, Any] = {"kind": kind}
    started = time.perf_counter()
    store: Any
    if kind == "flat":
        store = build.new_store(IndexSettings(), vectors_nd.shape[1])
    else:
        some = np.sort(rng.choice(len(ids_n), min(len(ids_n), 64 * lists), replace=False))
        store = build.train_store(kind, vectors_nd[some], lists, exact)
    for start in range(0, len(ids_n), _BLOCK):
        store.add(ids_n[start : start + _BLOCK], vectors_nd[start : start + _BLOCK])
    result["build_s"] = round(time.perf_counter() - started, 2)
    places = np.sort(rng.choice(len(ids_n), 800, replace=False))
    sample = Sample.aside(vectors_nd[places], ids_n[places])
    for start in range(0, len(ids_n), _BLOCK):
        sample.see(ids_n[start : start + _BLOCK], vectors_nd[start : start + _BLOCK])
    if kind != "flat":
        started = time.perf_counter()
        result["setting"] = tune(store, kind, lists, sample.half(0), wanted)
        result["tune_s"] = round(time.perf_counter() - started, 2)
    result["recall_sample"] = measure(store, sample.half(1)).recall
    result["recall_questions"] = round(recall(store.search(asked_qd, K)[1], truth[1.0][1]), 4)
    result["recall_questions_50"] = round(_recall_50(store, asked_qd, truth[1.5]), 4)
    with tempfile.TemporaryDirectory() as folder:
        store.save(Path(folder))
        result["mib"] = round(sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20, 1)
        del store
        parameters = result.get("setting") or {}
        load = partial(build.load_store, IndexSettings(), Path(folder), kind, parameters, exact)
        result["load_s"], mapped = _timed(load)
        result["ms"] = _milliseconds(mapped, asked_qd, None)
        for share in SHARES:
            among, true_qk = truth[share]
            result[f"recall_{share:.0%}"] = round(recall(mapped.search(asked_qd, K, among=among)[1], true_qk), 4)
            result[f"ms_{share:.0%}"] = _milliseconds(mapped, asked_qd[:30], among)
        del mapped
        result["patch_s"], _ = _timed(partial(_patch, partial(load, mapped=False), ids_n, vectors_nd, Path(folder)))
    return result


def _recall_50(store: VectorStore, asked_qd: Float32, true_q50: Int64) -> float:
    found_q50 = store.search(asked_qd, 50)[1]
    return float(np.mean([len(set(f) & set(t)) / 50 for f, t in zip(found_q50.tolist(), true_q50.tolist(), strict=True)]))


def _patch(load: Callable[[], VectorStore], ids_n: Int64, vectors_nd: Float32, folder: Path) -> None:
    """Read, take out some vectors, put in as many, write."""
    store = load()
    store.remove(ids_n[:CHANGED])
    store.add(ids_n[-1] + 1 + np.arange(CHANGED), vectors_nd[:CHANGED])
    store.save(folder)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    made = call()
    return round(time.perf_counter() - started, 6), made


def _milliseconds(store: VectorStore, asked_qd: Float32, among: Int64 | None) -> float:
    taken = [_timed(partial(store.search, query[None], K, among=among)) for query in asked_qd[:3]]  # warm
    taken = []
    for query in asked_qd[:_TIMED]:
        started = time.perf_counter()
        store.search(query[None], K, among=among)
        taken.append(time.perf_counter() - started)
    return round(1000 * statistics.median(taken), 3)


def rerank_sources(corpus: Corpus, ids_n: Int64, vectors_nd: Float32, folder: Path) -> dict[str, float]:
    """Milliseconds to fetch 100 exact vectors, from SQLite, from SQLite that maps its file, and from a mapped file of nothing else."""
    np.save(folder / "exact.npy", vectors_nd)
    mapped_nd = np.load(folder / "exact.npy", mmap_mode="r")
    rng = np.random.default_rng(1)
    picks = [np.sort(rng.choice(len(ids_n), 100, replace=False)) for _ in range(100)]

    def median(read: Callable[[Int64], object]) -> float:
        return round(1000 * statistics.median(_timed(partial(read, pick))[0] for pick in picks), 3)

    def from_corpus(pick: Int64) -> object:
        return corpus.vectors(EMBEDDER, ids_n[pick].tolist())

    figures = {"sqlite": median(from_corpus)}
    corpus.map_file()
    return figures | {"sqlite, mapped": median(from_corpus), "a mapped file of vectors": median(lambda pick: np.array(mapped_nd[pick]))}


def main() -> None:
    """Each size, each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ragtune-index-kinds")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results/index_kinds.json")
    arguments = parser.parse_args()
    if "RAGTUNE_DATA" not in os.environ:
        print("skipped: set RAGTUNE_DATA to the folder that holds squadshifts_new_wiki, cranfield, beir_dbpedia, hotpotqa_500 and pubmedqa")
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    real_nd, asked_qd = real(Path(os.environ["RAGTUNE_DATA"]), arguments.work)
    known = json.loads(arguments.output.read_text())["sizes"] if arguments.output.exists() else {}
    for count in arguments.sizes:
        vectors_nd = grown(real_nd, count)
        corpus, ids_n = corpus_of(vectors_nd, arguments.work / f"{count}.db")
        with contextlib.closing(corpus):
            rng = np.random.default_rng(2)
            truth: dict[float, Any] = {1.0: (None, exact_neighbours(vectors_nd, ids_n, asked_qd))}
            flat = faiss.IndexFlatIP(vectors_nd.shape[1])
            flat.add(vectors_nd)
            truth[1.5] = ids_n[flat.search(asked_qd, 50)[1]]
            del flat
            for share in SHARES:
                among = np.sort(rng.choice(ids_n, int(share * count), replace=False))
                truth[share] = among, exact_neighbours(vectors_nd, ids_n, asked_qd, among)
            entry = known.setdefault(str(count), {})
            entry["rerank_source_ms"] = rerank_sources(corpus, ids_n, vectors_nd, arguments.work)
            rows = {row["kind"]: row for row in entry.get("rows", ())}
            for kind in arguments.kinds:
                rows[kind] = bench(kind, vectors_nd, ids_n, corpus, asked_qd, truth, arguments.recall)
                print(count, json.dumps(rows[kind]), flush=True)
            entry["rows"] = [rows[kind] for kind in KINDS if kind in rows]
        versions = library_versions()
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "threads": faiss.omp_get_max_threads()}
        write_json(
            arguments.output,
            {
                "wanted": arguments.recall,
                "real": len(real_nd),
                "questions": len(asked_qd),
                "versions": versions,
                "machine": machine,
                "sizes": known,
            },
        )
    (arguments.work / "exact.npy").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
