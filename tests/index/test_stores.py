"""Vector stores: the contract on each, FAISS beside the NumPy reference, and damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ragtune.errors import CorpusError
from ragtune.index.exact import ExactStore
from ragtune.protocols import VectorStore
from ragtune.testing import check_vector_store

faiss_store = pytest.importorskip("ragtune.index.faiss", reason="faiss is not installed", exc_type=ModuleNotFoundError)

Make = Callable[[int], VectorStore]
Load = Callable[[Path], VectorStore]
STORES: list[tuple[Make, Load]] = [(ExactStore, ExactStore.load), (faiss_store.FaissStore, faiss_store.FaissStore.load)]
each_store = pytest.mark.parametrize(("make", "load"), STORES, ids=["exact", "faiss"])


@each_store
def test_it_keeps_the_contract(make: Make, load: Load) -> None:
    check_vector_store(make, load)


def test_the_contract_finds_a_store_that_forgets_to_remove() -> None:
    class Forgetful(ExactStore):
        def remove(self, ids_n: np.ndarray) -> None: ...

    with pytest.raises(AssertionError, match="unknown ids"):
        check_vector_store(Forgetful, Forgetful.load)


def test_faiss_finds_what_the_reference_finds() -> None:
    rng = np.random.default_rng(3)
    vectors_nd = rng.standard_normal((3000, 64)).astype(np.float32)
    vectors_nd /= np.linalg.norm(vectors_nd, axis=1, keepdims=True)
    exact, fast = ExactStore(64), faiss_store.FaissStore(64)
    for store in (exact, fast):
        store.add(np.arange(3000), vectors_nd)
        store.remove(np.arange(0, 3000, 7))
    reference_scores, reference_ids = exact.search(vectors_nd[:50], 20)
    scores_qk, ids_qk = fast.search(vectors_nd[:50], 20)
    np.testing.assert_array_equal(ids_qk, reference_ids)
    np.testing.assert_allclose(scores_qk, reference_scores, atol=1e-5)


@each_store
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "noise"])
def test_a_damaged_file_is_a_corpus_error(make: Make, load: Load, damage: str, tmp_path: Path) -> None:
    store = make(8)
    store.add(np.arange(50), np.ones((50, 8), np.float32))
    store.save(tmp_path)
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    changed = {
        "empty": b"",
        "cut": data[: len(data) // 2],
        "flipped": data[:700] + bytes([data[700] ^ 1]) + data[701:],
        "noise": b"\xff" * 999,
    }
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(changed[damage])
    with pytest.raises(CorpusError, match="index"):
        load(tmp_path)


@each_store
def test_places_without_a_neighbour_score_below_everything(make: Make, load: Load) -> None:
    store = make(2)
    store.add(np.array([3]), -np.ones((1, 2), np.float32))
    assert store.search(np.ones((1, 2), np.float32), 2)[0].tolist() == [[-2.0, -np.inf]]


def test_equal_scores_come_by_id_in_the_reference() -> None:
    store = ExactStore(2)
    store.add(np.array([9, 4, 7]), np.ones((3, 2), np.float32))
    assert store.search(np.ones((1, 2), np.float32), 3)[1].tolist() == [[4, 7, 9]]


def test_the_faiss_file_is_readable_by_faiss_itself(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    store = faiss_store.FaissStore(8)
    store.add(np.arange(50), np.ones((50, 8), np.float32))
    store.save(tmp_path)
    assert faiss.read_index(str(tmp_path / faiss_store.FILE)).ntotal == 50
