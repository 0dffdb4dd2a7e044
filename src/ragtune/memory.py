"""Bounds on what the numeric libraries keep. They read them from the environment when they first compute, so this comes before them."""

from __future__ import annotations

import os

KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""How many compiled kernels oneDNN and PyTorch keep on a processor, each one for one shape; 1,024 by themselves."""
_KEPT = "128"
"""More than a model has shapes at a time; those of a prompt's length are of use once. See ``benchmarks/kept_kernels.py``."""


def bound_kernels() -> None:
    """Keep fewer compiled kernels, where the environment does not say how many."""
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, _KEPT)
