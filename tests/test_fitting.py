from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from ragtune.errors import ModelError  # noqa: E402
from ragtune.fitting import fitting, ran_out  # noqa: E402


def test_a_size_is_halved_until_memory_suffices():
    tried = []

    def compute(size: int) -> str:
        tried.append(size)
        if size > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return f"{size} at once"

    assert fitting(40, compute, "no room") == ("5 at once", 5)
    assert tried == [40, 20, 10, 5]


def test_what_does_not_fit_alone_is_refused():
    with pytest.raises(ModelError, match="no room for one"):
        fitting(3, lambda size: torch.empty(2**50 * size), "no room for one")


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), RuntimeError("cuDNN failed"), ValueError("out of memory")], ids=str)
def test_other_errors_are_no_lack_of_memory(monkeypatch, error):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def compute(size: int) -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        fitting(4, compute, "no room")


class ResourceExhaustedError(Exception):
    """As TensorFlow calls it."""


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GiB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
        ResourceExhaustedError("OOM when allocating tensor"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_library_says_it_in_its_own_words(error):
    assert ran_out(error)


def test_a_library_that_says_nothing_of_memory_is_understood_where_a_gpu_is_full(monkeypatch):
    error = RuntimeError("Expected mha_graph.execute(...) to be true, but got false")
    free = [2**30, 2**20]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free[0], 2**34))
    assert not ran_out(error)
    free.pop(0)
    assert ran_out(error)
    assert not ran_out(RuntimeError("shapes differ"))


def test_that_less_is_done_at_once_is_logged(caplog):
    def compute(size: int) -> int:
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return size

    assert fitting(8, compute, "no room") == (2, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "memory does not suffice for 8 at once: going on with 4",
        "memory does not suffice for 4 at once: going on with 2",
    ]
