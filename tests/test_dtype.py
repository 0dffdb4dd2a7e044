"""The number format is chosen in one place, for training and serving, and asking for the choice is what loads torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ragtune.dtype import best_dtype


def test_the_number_format_follows_the_processor(monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    for capabilities, expected in (({"avx512_bf16": True}, torch.bfloat16), ({"avx2": True, "avx512_bf16": False}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert best_dtype(torch.device("cpu")) is expected


def test_importing_it_does_not_load_torch():
    subprocess.run([sys.executable, "-c", "import sys, ragtune.dtype; assert 'torch' not in sys.modules"], check=True)
