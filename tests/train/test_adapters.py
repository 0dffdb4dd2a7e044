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


KINDS = {
    "lora": {},
    "dora": {"dora": True},
    "rslora": {"rslora": True},
    "dora with rslora": {"dora": True, "rslora": True},
    "attention": {"targets": ["attention"]},
    "two layers": {"targets": ["q_proj", "down_proj"], "dora": True},
}


def tuned(**options):
    model = make_model(300)
    layers = add_lora(model, **{"rank": 4, "alpha": 8.0, "dropout": 0.0, "seed": 1} | options)
    generator = torch.Generator().manual_seed(2)
    for layer in layers.values():
        torch.nn.init.normal_(layer.lora_B, std=0.1, generator=generator)
        if layer.lora_magnitude_vector is not None:
            layer.lora_magnitude_vector.data *= torch.empty_like(layer.lora_magnitude_vector).uniform_(0.8, 1.2, generator=generator)
    return model, layers


@pytest.mark.parametrize("kind", KINDS)
def test_peft_loads_an_adapter_and_gives_the_same_logits(kind, tmp_path):
    model, layers = tuned(**KINDS[kind])
    save_adapter(tmp_path, layers, "some/base")
    theirs = peft.PeftModel.from_pretrained(make_model(300), str(tmp_path))
    with torch.no_grad():
        ours, plain = model(IDS).logits, make_model(300)(IDS).logits
        # float32 through weights that are larger than any real model's
        assert torch.allclose(ours, theirs(IDS).logits, atol=5e-4)
        assert not torch.allclose(ours, plain, atol=0.1)
        # What PEFT merges for serving is the same model again.
        assert torch.allclose(ours, theirs.merge_and_unload()(IDS).logits, atol=5e-4)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "some/base"


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_gradients_are_those_of_peft(kind, tmp_path):
    model, layers = tuned(**KINDS[kind])
    save_adapter(tmp_path, layers, "some/base")
    theirs = peft.PeftModel.from_pretrained(make_model(300), str(tmp_path), is_trainable=True)
    model(IDS).logits.square().mean().backward()
    theirs(IDS).logits.square().mean().backward()
    wanted = {name.replace(".default", ""): parameter.grad for name, parameter in theirs.named_parameters() if parameter.requires_grad}
    for name, layer in layers.items():
        for part, parameter in layer.trained.items():
            assert torch.allclose(parameter.grad, wanted[f"base_model.model.{name}.{part}.weight"], rtol=1e-3, atol=1e-4), (name, part)


def test_equal_adapters_are_equal_files(tmp_path):
    for name in ("one", "other"):
        save_adapter(tmp_path / name, tuned()[1], "some/base")
    config = (tmp_path / "one" / "adapter_config.json").read_text()
    assert config == (tmp_path / "other" / "adapter_config.json").read_text()
    assert json.loads(config)["target_modules"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


@pytest.mark.parametrize(
    ("targets", "leaves"),
    [
        (["attention"], {"q_proj", "k_proj", "v_proj", "o_proj"}),
        (["mlp"], {"gate_proj", "up_proj", "down_proj"}),
        (["mlp", "q_proj"], {"gate_proj", "up_proj", "down_proj", "q_proj"}),
        (["v_proj"], {"v_proj"}),
    ],
)
def test_targets_are_layers_or_parts(targets, leaves):
    _, layers = tuned(targets=targets)
    assert {name.rpartition(".")[2] for name in layers} == leaves
    assert len(layers) == 3 * len(leaves)


def test_parts_are_found_in_other_architectures():
    import transformers

    config = transformers.GPTNeoXConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=32
    )
    model = transformers.GPTNeoXForCausalLM(config)
    layers = add_lora(model, rank=2, alpha=4.0, dropout=0.0, seed=0, targets=["attention"])
    assert set(layers) == {"gpt_neox.layers.0.attention.query_key_value", "gpt_neox.layers.0.attention.dense"}


def test_a_name_that_another_layer_has_too_is_written_whole(tmp_path):
    model = make_model(300)
    for layer in model.model.layers:
        layer.mlp.o_proj = torch.nn.Linear(4, 4)
    layers = add_lora(model, rank=2, alpha=4.0, dropout=0.0, seed=0, targets=["attention"])
    save_adapter(tmp_path, layers, "some/base")
    written = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    assert set(written) == {"q_proj", "k_proj", "v_proj"} | {f"model.layers.{number}.self_attn.o_proj" for number in range(3)}


def test_an_unknown_target_is_answered_with_what_there_is():
    with pytest.raises(TrainError, match=r"train\.targets names 'c_attn'.*q_proj, k_proj, .*; attention and mlp stand for"):
        add_lora(make_model(300), rank=4, alpha=8.0, dropout=0.0, seed=1, targets=["q_proj", "c_attn"])


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


@pytest.mark.parametrize("dora", [False, True])
def test_training_starts_at_the_base_model(dora):
    model = make_model(300)
    with torch.no_grad():
        before = model(IDS).logits
        add_lora(model, rank=4, alpha=8.0, dropout=0.5, seed=1, dora=dora)
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
