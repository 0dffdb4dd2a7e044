"""Adapters for the tiny chat model."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")


def make_adapter(model, folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    wrapped = peft.get_peft_model(model, config)
    wrapped.save_pretrained(str(folder), save_embedding_layers=False)
    wrapped.unload()
    return folder


@pytest.fixture(scope="session")
def adapters(tiny, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny)
    return make_adapter(model, folder / "one", 1), make_adapter(model, folder / "two", 2)
