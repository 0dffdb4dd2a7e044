"""A base and an adapter, merged, are one model."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
peft = pytest.importorskip("peft", reason="peft is not installed")

import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from ragtune.errors import ModelError  # noqa: E402
from ragtune.train.lora import add_lora, save_adapter  # noqa: E402
from ragtune.train.merge import merge_adapter  # noqa: E402

IDS = torch.arange(3, 40)[None]


def load(folder, dtype=torch.float32):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def adapt(model, folder, **options):
    layers = add_lora(model, **{"rank": 4, "alpha": 8.0, "dropout": 0.0, "seed": 1} | options)
    for layer in layers.values():
        torch.nn.init.normal_(layer.lora_B, std=0.1, generator=torch.Generator().manual_seed(2))
        if layer.lora_magnitude_vector is not None:
            layer.lora_magnitude_vector.data *= 1.2
    save_adapter(folder, layers, "some/base")
    return layers


@pytest.mark.parametrize(
    "options", [{}, {"rslora": True}, {"dora": True}, {"targets": ["q_proj", "mlp"]}], ids=lambda value: "-".join(value) or "lora"
)
def test_the_merged_model_answers_as_the_adapted_one(options, tiny, tmp_path):
    model = load(tiny)
    adapt(model, tmp_path / "adapter", **options)
    merge_adapter(tiny, tmp_path / "adapter", tmp_path / "merged")
    with torch.no_grad():
        adapted, merged, plain = model(IDS).logits, load(tmp_path / "merged")(IDS).logits, load(tiny)(IDS).logits
    assert torch.allclose(merged, adapted, atol=1e-3)
    assert not torch.allclose(merged, plain, atol=0.1)


def test_files_and_format_are_those_of_the_base(tiny, tmp_path):
    base = tmp_path / "base"
    load(tiny).to(torch.bfloat16).save_pretrained(base, max_shard_size="40KB")
    transformers.AutoTokenizer.from_pretrained(tiny).save_pretrained(base)
    layers = adapt(load(base), tmp_path / "adapter")
    merge_adapter(base, tmp_path / "adapter", tmp_path / "merged")
    weights = sorted(file.name for file in base.glob("*.safetensors"))
    assert len(weights) > 2
    assert sorted(file.name for file in (tmp_path / "merged").glob("*.safetensors")) == weights
    before, after = (
        {k: v for file in sorted(where.glob("*.safetensors")) for k, v in load_file(file).items()} for where in (base, tmp_path / "merged")
    )
    name, layer = next(iter(layers.items()))
    expected = before[f"{name}.weight"].float() + layer.scale * (layer.lora_B @ layer.lora_A)
    assert torch.equal(after[f"{name}.weight"], expected.to(torch.bfloat16))
    assert torch.equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"
    load(tmp_path / "merged")


def test_another_base_and_a_folder_that_is_there_are_refused(tiny, tmp_path):
    model = load(tiny)
    adapt(model, tmp_path / "adapter")
    shallow = transformers.AutoConfig.from_pretrained(tiny)
    shallow.num_hidden_layers = 1
    transformers.AutoModelForCausalLM.from_config(shallow).save_pretrained(tmp_path / "shallow")
    with pytest.raises(ModelError, match=r"has no weight model\.layers\.1\..*give the base that it was trained on"):
        merge_adapter(tmp_path / "shallow", tmp_path / "adapter", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    (tmp_path / "merged").mkdir()
    with pytest.raises(ModelError, match="is there already"):
        merge_adapter(tiny, tmp_path / "adapter", tmp_path / "merged")
