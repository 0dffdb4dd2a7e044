"""Kinds of index that are not exact: the contract on each, recall with and without filters, tuning, and damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragtune.errors import CorpusError
from ragtune.index.exact import ExactStore
from ragtune.index.tune import K, Sample, measure, steps, tune
from ragtune.protocols import Float32, Int64, VectorStore
from ragtune.testing import check_vector_store

pytest.importorskip("faiss", reason="faiss is not installed")
from ragtune.index.files import FILE
from ragtune.index.hnsw import HnswStore
from ragtune.index.ivf import IvfStore

KINDS = ("hnsw", "ivf", "ivf-sq8", "ivf-pq")
each_kind = pytest.mark.parametrize("kind", KINDS)
DIMENSION = 32
COUNT = 4000
LISTS = 64


class Kept(IvfStore):
    """Lists that find exact vectors in what was added, as a project finds them in its corpus."""

    vectors: dict[int, Float32]

    def add(self, ids_n: Int64, vectors_nd: Float32) -> None:
        self.vectors.update(zip(ids_n.tolist(), vectors_nd, strict=True))
        super().add(ids_n, vectors_nd)


def makers(kind: str, lists: int, **setting: int) -> tuple[Callable[[Float32], Any], Callable[[Path], VectorStore]]:
    """How a store of a kind is made for vectors like these, and loaded."""
    if kind == "hnsw":
        return lambda like_nd: HnswStore(like_nd.shape[1], **setting), lambda folder: HnswStore.load(folder, **setting)
    kept: dict[int, Float32] = {}

    def exact(ids_n: Int64) -> tuple[Int64, Float32]:
        return ids_n, np.array([kept[id_] for id_ in ids_n.tolist()], np.float32)

    def make(like_nd: Float32) -> Kept:
        store = Kept.train(kind, like_nd, lists, exact)  # type: ignore[arg-type]
        assert isinstance(store, Kept)
        store.vectors = kept
        store.set(**setting)
        return store

    def load(folder: Path) -> VectorStore:
        store = Kept.load(folder, exact=exact, **setting)
        assert isinstance(store, Kept)
        store.vectors = kept
        return store

    return make, load


def clustered(count: int, seed: int = 0) -> Float32:
    """Vectors in clusters, as texts' are."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((50, DIMENSION))
    vectors_nd = centres[rng.integers(50, size=count)] + 1.5 * rng.standard_normal((count, DIMENSION))
    return (vectors_nd / np.linalg.norm(vectors_nd, axis=1, keepdims=True)).astype(np.float32)


def thorough(kind: str) -> dict[str, int]:
    """Settings that leave nothing out."""
    return {"visits": 512} if kind == "hnsw" else {"probes": LISTS} | ({} if kind == "ivf" else {"depth": 16})


def recall(store: VectorStore, reference: VectorStore, queries_qd: Float32, among: Int64 | None = None) -> float:
    found, true = (each.search(queries_qd, 10, among=among)[1] for each in (store, reference))
    return float(np.mean([np.isin(t, f).mean() for f, t in zip(found, true, strict=True)]))


@pytest.fixture(scope="module")
def reference() -> ExactStore:
    store = ExactStore(DIMENSION)
    store.add(np.arange(COUNT) * 3 + 5, clustered(COUNT))
    return store


@pytest.fixture(scope="module")
def stores() -> dict[str, Any]:
    made = {}
    for kind in KINDS:
        made[kind] = makers(kind, LISTS, **thorough(kind))[0](clustered(COUNT))
        made[kind].add(np.arange(COUNT) * 3 + 5, clustered(COUNT))
    return made


@each_kind
def test_it_keeps_the_contract_where_nothing_is_left_out(kind: str) -> None:
    setting = {"visits": 64} if kind == "hnsw" else {"probes": 4} | ({} if kind == "ivf" else {"depth": 40})
    make, load = makers(kind, 4, **setting)
    like_nd = np.random.default_rng(5).standard_normal((1000, 16)).astype(np.float32)
    check_vector_store(lambda dimension: make(like_nd[:, :dimension]), load)


@each_kind
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "noise", "flat"])
def test_a_damaged_file_is_a_corpus_error(kind: str, damage: str, stores: dict[str, Any], tmp_path: Path) -> None:
    stores[kind].save(tmp_path)
    file = tmp_path / FILE
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "flat":
        from ragtune.index.faiss import FaissStore

        FaissStore(DIMENSION).save(tmp_path)
    else:
        file.write_bytes(
            {"empty": b"", "cut": data[:-100], "flipped": data[:900] + bytes([data[900] ^ 1]) + data[901:], "noise": b"\xff" * 999}[damage]
        )
    with pytest.raises(CorpusError, match="index"):
        makers(kind, LISTS, **thorough(kind))[1](tmp_path)


@each_kind
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_filter_keeps_the_recall(kind: str, share: float, stores: dict[str, Any], reference: ExactStore) -> None:
    store, queries_qd = stores[kind], clustered(100, seed=7)
    least = {"visits": 24} if kind == "hnsw" else {"probes": 8} | ({} if kind == "ivf" else {"depth": 8})
    store.set(**least)
    try:
        unfiltered = recall(store, reference, queries_qd)
        among = np.random.default_rng(1).choice(np.arange(COUNT) * 3 + 5, int(share * COUNT), replace=False)
        assert 0.7 < unfiltered < 1 or kind == "hnsw"
        assert recall(store, reference, queries_qd, among) >= unfiltered - 0.03
        found = store.search(queries_qd, 10, among=among)[1]
        assert np.isin(found, among).all()
    finally:
        store.set(**thorough(kind))


@each_kind
def test_what_a_filter_leaves_of_one_corner_is_found_from_another(kind: str, stores: dict[str, Any], reference: ExactStore) -> None:
    """All that may be found lies far from the question, where few lists or links lead."""
    store, queries_qd = stores[kind], clustered(20, seed=7)
    corner = reference.search(-queries_qd[:1], 40)[1][0]
    store.set(**({"visits": 16} if kind == "hnsw" else {"probes": 1} | ({} if kind == "ivf" else {"depth": 2})))
    try:
        assert recall(store, reference, queries_qd, corner) > 0.95
    finally:
        store.set(**thorough(kind))


@each_kind
def test_scores_are_exact_inner_products(kind: str, stores: dict[str, Any]) -> None:
    queries_qd, vectors_nd = clustered(20, seed=7), clustered(COUNT)
    scores_qk, ids_qk = stores[kind].search(queries_qd, 10)
    np.testing.assert_allclose(scores_qk, np.einsum("qd,qkd->qk", queries_qd, vectors_nd[(ids_qk - 5) // 3]), atol=1e-5)
    assert (np.diff(scores_qk, axis=1) <= 0).all()


@each_kind
def test_a_patched_index_finds_as_much_as_a_fresh_one(kind: str, reference: ExactStore) -> None:
    setting = {"visits": 32} if kind == "hnsw" else {"probes": 16} | ({} if kind == "ivf" else {"depth": 8})
    vectors_nd, ids_n = clustered(COUNT), np.arange(COUNT) * 3 + 5
    patched, fresh = (makers(kind, LISTS, **setting)[0](vectors_nd) for _ in range(2))
    fresh.add(ids_n, vectors_nd)
    patched.add(ids_n[:3600], vectors_nd[:3600])
    patched.add(np.arange(400) * 3 + 10**6, clustered(400, seed=3))
    patched.remove(np.arange(400) * 3 + 10**6)
    patched.add(ids_n[3600:], vectors_nd[3600:])
    queries_qd = clustered(200, seed=7)
    assert len(patched) == COUNT
    assert recall(patched, reference, queries_qd) >= recall(fresh, reference, queries_qd) - 0.02
    assert (patched.search(queries_qd, 10)[1] < 10**6).all()


@each_kind
def test_a_mapped_index_outlives_the_file_that_takes_its_place(kind: str, stores: dict[str, Any], tmp_path: Path) -> None:
    stores[kind].save(tmp_path)
    reader = makers(kind, LISTS, **thorough(kind))[1](tmp_path)
    if isinstance(reader, Kept):
        reader.vectors.update(zip((np.arange(COUNT) * 3 + 5).tolist(), clustered(COUNT), strict=True))
    queries_qd = clustered(20, seed=7)
    before = reader.search(queries_qd, 10)[1]
    other = makers(kind, LISTS, **thorough(kind))[0](clustered(COUNT))
    other.add(np.arange(10), clustered(10, seed=4))
    other.save(tmp_path)
    np.testing.assert_array_equal(reader.search(queries_qd, 10)[1], before)
    (tmp_path / FILE).unlink()
    np.testing.assert_array_equal(reader.search(queries_qd, 10)[1], before)


@each_kind
def test_tuning_finds_the_least_that_reaches_the_recall(kind: Any, stores: dict[str, Any]) -> None:
    store, vectors_nd, ids_n = stores[kind], clustered(COUNT), np.arange(COUNT) * 3 + 5
    sample = Sample(vectors_nd[::10], ids_n[::10])
    for start in range(0, COUNT, 900):
        sample.see(ids_n[start : start + 900], vectors_nd[start : start + 900])
    try:
        loose, strict = (tune(store, kind, LISTS, sample.half(0), wanted) for wanted in (0.5, 0.97))
        assert loose is not None
        assert strict is not None
        measured = measure(store, sample.half(1))
        assert measured.recall > 0.95
        assert measured.low <= measured.recall <= measured.high
        assert measured.n == COUNT // 20
        assert list(loose.values()) <= list(strict.values())
        assert kind == "hnsw" or loose != strict
    finally:
        store.set(**thorough(kind))


def test_a_sample_knows_the_exact_neighbours_and_leaves_out_the_vector_itself(reference: ExactStore) -> None:
    vectors_nd, ids_n = clustered(COUNT), np.arange(COUNT) * 3 + 5
    sample = Sample(vectors_nd[:30], ids_n[:30])
    for start in range(0, COUNT, 333):
        sample.see(ids_n[start : start + 333], vectors_nd[start : start + 333])
    true = reference.search(vectors_nd[:30], K + 1)[1][:, 1:]
    np.testing.assert_array_equal(np.sort(sample.ids_qk), np.sort(true))
    assert sample.recalls(reference).tolist() == [1.0] * 30


def test_a_recall_that_nothing_reaches_is_said_to_be_out_of_reach() -> None:
    rng = np.random.default_rng(0)
    vectors_nd = rng.standard_normal((1500, 64)).astype(np.float32)  # no clusters: one bit a dimension says too little
    make, _ = makers("ivf-pq", 4, probes=4, depth=1)
    store = make(vectors_nd)
    store.add(np.arange(1500), vectors_nd)
    sample = Sample(vectors_nd[:60], np.arange(60))
    sample.see(np.arange(1500), vectors_nd)
    assert tune(store, "ivf-pq", 4, sample, 1.0) is None


def test_steps_rise_to_the_last() -> None:
    assert list(steps(1, 20)) == [1, 2, 3, 4, 6, 8, 12, 16, 20]
