"""Adapters in Keras are PyTorch's: same layers, numbers, gradients and files."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
peft = pytest.importorskip("peft", reason="peft is not installed")
pytest.importorskip("tensorflow", reason="tensorflow is not installed")
pytest.importorskip("keras_hub", reason="keras-hub is not installed")

import tensorflow as tf  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from made_checkpoints import make_checkpoint  # noqa: E402
from ragtune.engine.huggingface import HuggingFaceEngine  # noqa: E402
from ragtune.errors import TrainError  # noqa: E402
from ragtune.train import lora as on_torch  # noqa: E402
from ragtune.train.keras.base import load_base  # noqa: E402
from ragtune.train.keras.export import load_adapter, save_adapter  # noqa: E402
from ragtune.train.keras.lora import add_lora, set_place  # noqa: E402
from ragtune.train.merge import merge_adapter  # noqa: E402
from ragtune.types import Message  # noqa: E402

# PEFT 0.21 reads an attribute that transformers 5.23 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
KINDS = ["llama", "qwen2", "gemma2", "mistral"]
OPTIONS = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "seed": 1}
IDS = np.random.default_rng(3).integers(0, 300, (2, 30), dtype=np.int32)


def torch_model(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def trained(base, **options):
    """Adapters that are as if they had been trained."""
    layers = add_lora(base, **OPTIONS | options)
    numbers = np.random.default_rng(7)
    for layer in layers.values():
        layer.lora_B.assign(numbers.normal(0, 0.1, layer.lora_B.shape))
    return layers


def logits(base, ids_bt=IDS, training=False):
    hidden_btd = base.hidden(ids_bt, np.ones_like(ids_bt), training=training)
    return tf.reshape(base.head(tf.reshape(hidden_btd, [-1, hidden_btd.shape[-1]])), [*ids_bt.shape, -1])


def logits_of(model, ids_bt=IDS):
    with torch.no_grad():
        return model(torch.tensor(ids_bt)).logits.numpy()


@pytest.mark.parametrize("targets", [(), ("attention",), ("mlp",), ("q_proj", "down_proj"), ("attention", "up_proj")])
def test_layers_and_first_weights_are_those_of_pytorch(targets, tmp_path):
    folder = make_checkpoint(tmp_path, "qwen3")
    ours = add_lora(load_base(str(folder), "float32"), **OPTIONS, targets=targets)
    theirs = on_torch.add_lora(torch_model(folder), **OPTIONS, targets=targets)
    assert list(ours) == list(theirs)
    for name, layer in ours.items():
        assert (layer.lora_A.numpy() == theirs[name].lora_A.detach().numpy()).all()
        assert layer.lora_B.shape == tuple(theirs[name].lora_B.shape)
        assert not layer.lora_B.numpy().any()
        assert layer.target == theirs[name].target


def test_an_unknown_target_is_answered_as_on_pytorch(tmp_path):
    folder = make_checkpoint(tmp_path, "gemma")
    with pytest.raises(TrainError) as theirs:
        on_torch.add_lora(torch_model(folder), **OPTIONS, targets=("c_attn",))
    with pytest.raises(TrainError) as ours:
        add_lora(load_base(str(folder), "float32"), **OPTIONS, targets=("c_attn",))
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("options", [{}, {"rslora": True}], ids=["lora", "rslora"])
@pytest.mark.parametrize("kind", KINDS)
def test_update_and_gradients_are_those_of_pytorch(kind, options, tmp_path):
    folder = make_checkpoint(tmp_path / "base", kind)
    base = load_base(str(folder), "float32")
    layers = trained(base, **options)
    model = torch_model(folder)
    theirs = on_torch.add_lora(model, **OPTIONS, **options)
    save_adapter(tmp_path / "adapter", layers, "some/base")
    on_torch.load_adapter(tmp_path / "adapter", theirs)
    variables = [variable for layer in layers.values() for variable in layer.trained.values()]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(IDS[:, 1:], logits(base)[:, :-1]))
    ours = tape.gradient(loss, [variable.value for variable in variables])
    expected = torch.nn.functional.cross_entropy(
        model(torch.tensor(IDS)).logits[:, :-1].flatten(0, 1), torch.tensor(IDS[:, 1:]).flatten().long()
    )
    expected.backward()
    assert float(loss) == pytest.approx(expected.item(), abs=1e-5)
    for gradient, parameter in zip(ours, (p for layer in theirs.values() for p in layer.trained.values()), strict=True):
        scale = parameter.grad.abs().max().item()
        assert np.abs(gradient.numpy() - parameter.grad.numpy()).max() < 1e-3 * scale


@pytest.mark.parametrize("kind", KINDS)
def test_peft_and_the_engine_read_what_keras_wrote(kind, tmp_path):
    folder = make_checkpoint(tmp_path / "base", kind)
    base = load_base(str(folder), "float32")
    before = logits(base).numpy()
    layers = trained(base, rslora=kind == "qwen2", targets=() if kind != "mistral" else ("attention",))
    ours = logits(base).numpy()
    save_adapter(tmp_path / "adapter", layers, str(folder))
    theirs = peft.PeftModel.from_pretrained(torch_model(folder), str(tmp_path / "adapter"))
    assert np.abs(logits_of(theirs) - ours).max() < 1e-3
    assert np.abs(before - ours).max() > 0.05
    asked = [Message("user", "Answer: what is the capital of the country?")]
    engine = HuggingFaceEngine(folder, device="cpu", dtype="float32")
    [(_, adapted)] = engine.generate([asked], adapter=tmp_path / "adapter", max_new_tokens=8)
    [(_, plain)] = engine.generate([asked], max_new_tokens=8)
    assert abs(adapted.logprob - plain.logprob) > 0.05


def test_equal_adapters_are_equal_files_in_both_libraries(tmp_path):
    folder = make_checkpoint(tmp_path / "base", "llama")
    save_adapter(tmp_path / "keras", add_lora(load_base(str(folder), "float32"), **OPTIONS), "some/base")
    on_torch.save_adapter(tmp_path / "torch", on_torch.add_lora(torch_model(folder), **OPTIONS), "some/base")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "keras" / name).read_bytes() == (tmp_path / "torch" / name).read_bytes()


def test_an_adapter_is_read_back(tmp_path):
    folder = make_checkpoint(tmp_path / "base", "llama")
    first = load_base(str(folder), "float32")
    layers = trained(first)
    save_adapter(tmp_path / "adapter", layers, "some/base")
    second = load_base(str(folder), "float32")
    load_adapter(tmp_path / "adapter", add_lora(second, **OPTIONS | {"seed": 5}))
    assert (logits(second).numpy() == logits(first).numpy()).all()


def test_an_adapter_that_is_off_or_new_leaves_the_base_as_it_is(tmp_path):
    base = load_base(str(make_checkpoint(tmp_path, "gemma3")), "float32")
    before = logits(base).numpy()
    layers = add_lora(base, **OPTIONS)
    assert (logits(base).numpy() == before).all()
    for layer in layers.values():
        layer.lora_B.assign(np.ones(layer.lora_B.shape))
    assert np.abs(logits(base).numpy() - before).max() > 0.01
    for layer in layers.values():
        layer.active = False
    assert (logits(base).numpy() == before).all()


def test_dropout_acts_in_training_only_and_by_the_place(tmp_path):
    base = load_base(str(make_checkpoint(tmp_path, "llama")), "float32")
    layers = trained(base, dropout=0.5)
    still = logits(base).numpy()
    assert (logits(base).numpy() == still).all()
    step = tf.function(lambda: logits(base, training=True))

    def at(place):
        set_place(layers, place)
        return step().numpy()

    first, second = at(1), at(2)
    assert np.abs(first - still).max() > 0.01
    assert np.abs(first - second).max() > 0.01
    assert (at(1) == first).all()


def test_dropout_keeps_the_mean_and_differs_between_layers(tmp_path):
    base = load_base(str(make_checkpoint(tmp_path, "llama")), "float32")
    layers = trained(base, dropout=0.25)
    gate, up = (layers[f"model.layers.0.mlp.{name}_proj"] for name in ("gate", "up"))
    up.lora_A.assign(gate.lora_A)
    up.lora_B.assign(gate.lora_B)
    x = tf.ones([1, 1, 48])
    updates = {}
    for name, layer in (("gate", gate), ("up", up)):
        drawn = []
        for place in range(400):
            set_place(layers, place)
            drawn.append((layer(x, training=True) - layer.base(x)).numpy())
        updates[name] = np.stack(drawn)
        assert np.allclose(updates[name].mean(0), (layer(x) - layer.base(x)).numpy(), atol=5 * updates[name].std(0).max() / 20)
    assert np.abs(updates["gate"] - updates["up"]).max() > 0.01


def test_trained_numbers_stay_float32_on_a_bfloat16_base(tmp_path):
    base = load_base(str(make_checkpoint(tmp_path, "llama")), "bfloat16")
    layers = trained(base)
    variables = [variable for layer in layers.values() for variable in layer.trained.values()]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(logits(base) ** 2)
    assert {variable.dtype for variable in variables} == {"float32"}
    assert {gradient.dtype for gradient in tape.gradient(loss, [variable.value for variable in variables])} == {tf.float32}


@pytest.mark.parametrize("kind", ["llama tied", "qwen2", "gemma2"])
def test_a_merged_model_is_the_adapted_one(kind, tmp_path):
    folder = make_checkpoint(tmp_path / "base", kind)
    base = load_base(str(folder), "float32")
    save_adapter(tmp_path / "adapter", trained(base), str(folder))
    merge_adapter(folder, tmp_path / "adapter", tmp_path / "merged")
    assert np.abs(logits_of(torch_model(tmp_path / "merged")) - logits(base).numpy()).max() < 1e-3
    assert (tmp_path / "merged" / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    text = "Answer: the capital"
    ours, theirs = (transformers.AutoTokenizer.from_pretrained(where) for where in (tmp_path / "merged", folder))
    assert ours.encode(text) == theirs.encode(text)
    assert ours.chat_template == theirs.chat_template
    assert sorted(load_file(tmp_path / "merged" / "model.safetensors")) == sorted(load_file(folder / "model.safetensors"))
