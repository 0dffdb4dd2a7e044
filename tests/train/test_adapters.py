"""Adapters are PEFT's, whatever trained them."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
peft = pytest.importorskip("peft", reason="peft is not installed")

from ragtune.errors import TrainError  # noqa: E402
from ragtune.train.lora import LoRALinear, add_lora, load_adapter, save_adapter  # noqa: E402
from tiny_models import make_model  # noqa: E402

# PEFT 0.21 reads an attribute that transformers 5.23 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
IDS = torch.arange(3, 40)[None]


def tuned(**options):
    model = make_model(300)
    layers = add_lora(model, **{"rank": 4, "alpha": 8.0, "dropout": 0.0, "seed": 1} | options)
    generator = torch.Generator().manual_seed(2)
    for layer in layers.values():
        torch.nn.init.normal_(layer.lora_B, std=0.1, generator=generator)
    return model, layers


def test_peft_loads_an_adapter_and_gives_the_same_logits(tmp_path):
    model, layers = tuned()
    save_adapter(tmp_path, layers, "some/base")
    theirs = peft.PeftModel.from_pretrained(make_model(300), str(tmp_path))
    with torch.no_grad():
        ours, plain = model(IDS).logits, make_model(300)(IDS).logits
        assert torch.allclose(ours, theirs(IDS).logits, atol=1e-5)
        assert not torch.allclose(ours, plain, atol=0.1)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "some/base"


def test_an_adapter_of_peft_is_read_back(tmp_path):
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    theirs = peft.get_peft_model(make_model(300), config)
    theirs.save_pretrained(str(tmp_path))
    model, layers = tuned()
    load_adapter(tmp_path, layers)
    with torch.no_grad():
        assert torch.allclose(model(IDS).logits, theirs(IDS).logits, atol=1e-5)


def test_every_linear_layer_but_the_head_is_adapted_and_nothing_else_is_trained():
    model, layers = tuned()
    linear = {name.removesuffix(".base") for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert linear - layers.keys() == {"lm_head"}
    trained = {name.rpartition(".")[2] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"lora_A", "lora_B"}


def test_training_starts_at_the_base_model():
    model = make_model(300)
    with torch.no_grad():
        before = model(IDS).logits
        add_lora(model, rank=4, alpha=8.0, dropout=0.5, seed=1)
        assert torch.equal(before, model(IDS).logits)


def test_gradients_are_those_of_automatic_differentiation():
    torch.manual_seed(0)
    layer = LoRALinear(torch.nn.Linear(6, 5), 3, 6.0, 0.0, torch.Generator().manual_seed(1)).double().requires_grad_(True)
    layer.base.requires_grad_(False)
    torch.nn.init.normal_(layer.lora_B)
    x = torch.randn(2, 4, 6, dtype=torch.double, requires_grad=True)

    def plain(x):
        return layer.base(x) + 2.0 * (x @ layer.lora_A.t() @ layer.lora_B.t())

    assert torch.allclose(layer(x), plain(x))
    wanted = torch.autograd.grad(plain(x).pow(2).sum(), (x, layer.lora_A, layer.lora_B))
    given = torch.autograd.grad(layer(x).pow(2).sum(), (x, layer.lora_A, layer.lora_B))
    # The adapters' own gradients are rounded to float32, the format they are trained in.
    assert all(torch.allclose(a.float(), b.float(), rtol=1e-5) for a, b in zip(given, wanted, strict=True))


def test_dropout_acts_in_training_only():
    model, layers = tuned(dropout=0.5)
    with torch.no_grad():
        model.eval()
        assert torch.equal(model(IDS).logits, model(IDS).logits)
        for layer in layers.values():
            layer.train()
        assert not torch.equal(model(IDS).logits, model(IDS).logits)


def test_a_model_without_linear_layers_is_refused():
    class Bare(torch.nn.Module):
        def get_output_embeddings(self):
            return None

    with pytest.raises(TrainError, match="no linear layer"):
        add_lora(Bare(), rank=4, alpha=8.0, dropout=0.0, seed=1)
