"""Which kind is chosen, and how well sizes are known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragtune.index.choose import CODES_FROM, EXACT_BELOW, KINDS, choose, lists_for, pq_parts, size

FITS = 10**6  # MiB


@pytest.mark.parametrize(
    ("vectors", "asked", "kind", "why"),
    [
        (0, {}, "flat", "0 vectors"),
        (EXACT_BELOW - 1, {}, "flat", "fewer than 50,000"),
        (EXACT_BELOW, {}, "ivf", "50,000 or more"),
        (EXACT_BELOW, {"recall": 1.0}, "flat", "exact search alone"),
        (EXACT_BELOW, {"memory": FITS}, "ivf", "fit into index.memory"),
        (100_000, {"memory": 60}, "ivf-sq8", "index.memory is 60 MiB"),
        (100_000, {"memory": 20}, "ivf-pq", "index.memory is 20 MiB"),
        (100_000, {"memory": 1}, "ivf-pq", "no kind fits"),
        (CODES_FROM, {"memory": 10}, "ivf-sq8", "index.memory is 10 MiB"),
        (CODES_FROM - 1, {"memory": 1}, "flat", "fewer than 10,000"),
        (5000, {"kind": "hnsw"}, "hnsw", "index.kind asks for hnsw"),
        (10, {"kind": "hnsw"}, "flat", "too few to train"),
        (10**6, {"kind": "flat", "memory": 1}, "flat", "index.kind asks for flat"),
    ],
)
def test_number_memory_and_recall_choose(vectors: int, asked: dict[str, object], kind: str, why: str) -> None:
    choice = choose(vectors, 384, **asked)  # type: ignore[arg-type]
    assert choice.kind == kind
    assert why in choice.why


@pytest.mark.parametrize("dimension", [6, 7, 100, 384, 768, 1536])
def test_parts_divide_a_vector(dimension: int) -> None:
    assert dimension % pq_parts(dimension) == 0
    assert pq_parts(dimension) <= max(1, dimension // 4)


def test_lists_are_about_four_square_roots() -> None:
    assert [lists_for(n) for n in (0, 1, 10_000, 100_000, 1_000_000)] == [4, 4, 512, 1024, 4096]


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_those_of_the_files(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="faiss is not installed")
    from ragtune import build
    from ragtune.config import IndexSettings

    vectors_nd = np.random.default_rng(0).standard_normal((5000, 64)).astype(np.float32)
    store = (
        build.new_store(IndexSettings(), 64)
        if kind == "flat"
        else build.train_store(kind, vectors_nd, lists_for(5000), lambda ids_n: (ids_n, vectors_nd[ids_n]))  # type: ignore[arg-type]
    )
    store.add(np.arange(5000), vectors_nd)
    store.save(tmp_path)
    (file,) = tmp_path.iterdir()
    assert size(kind, 5000, 64) == pytest.approx(file.stat().st_size, rel=0.12)  # type: ignore[arg-type]
