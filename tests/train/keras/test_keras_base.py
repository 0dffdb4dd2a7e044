"""A base in Keras gives what it gives in PyTorch, or is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("tensorflow", reason="tensorflow is not installed")
pytest.importorskip("keras_hub", reason="keras-hub is not installed")

import tensorflow as tf  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from made_checkpoints import CHECKPOINTS, make_checkpoint  # noqa: E402
from ragtune.errors import ModelError  # noqa: E402
from ragtune.models import resolve  # noqa: E402
from ragtune.train.keras import base as bases  # noqa: E402
from ragtune.train.keras import parity  # noqa: E402
from ragtune.train.keras.base import load_base  # noqa: E402

NOTE = ".ragtune-keras.json"


def keras_logits(base, ids_bt, mask_bt=None):
    mask_bt = np.ones_like(ids_bt) if mask_bt is None else mask_bt
    hidden_btd = base.hidden(ids_bt, mask_bt)
    return base.head(tf.reshape(hidden_btd, [-1, hidden_btd.shape[-1]])).numpy().reshape(*ids_bt.shape, -1)


def torch_logits(folder, ids_bt, mask_bt=None):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.inference_mode():
        return model(torch.tensor(ids_bt), attention_mask=None if mask_bt is None else torch.tensor(mask_bt)).logits.numpy()


def some_ids(vocabulary, *shape):
    return np.random.default_rng(3).integers(0, vocabulary, shape, dtype=np.int32)


def edit(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return str(folder)


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_logits_are_those_of_pytorch(kind, tmp_path):
    folder = make_checkpoint(tmp_path, kind)
    base = load_base(str(folder), "float32")
    ids_bt = some_ids(base.backbone.vocabulary_size, 2, 90)
    mask_bt = np.ones_like(ids_bt)
    mask_bt[1, 61:] = 0
    ours, theirs = keras_logits(base, ids_bt, mask_bt), torch_logits(folder, ids_bt, mask_bt)
    for row, length in ((0, 90), (1, 61)):
        assert np.abs(ours[row, :length] - theirs[row, :length]).max() < 1e-3
        assert (ours[row, :length].argmax(-1) == theirs[row, :length].argmax(-1)).all()
    # What stands in the padding is nobody's business, and a text beside others is itself.
    other = ids_bt.copy()
    other[1, 61:] = 7
    alone = keras_logits(base, ids_bt[1:, :61])
    assert np.allclose(keras_logits(base, other, mask_bt)[1, :61], alone[0], atol=1e-4)


def test_a_real_model_gives_what_it_gives_in_pytorch():
    try:
        folder = resolve("smollm2-135m-instruct", allow_pull=False)
    except ModelError as error:
        pytest.skip(str(error))
    base = load_base(str(folder), "float32")
    ids = base.tokenizer.encode("The cable car stops when the wind is above 60 km/h.\nQuestion: when does it stop?", return_tensors="np")
    ours, theirs = keras_logits(base, ids.astype(np.int32)), torch_logits(folder, ids)
    assert np.abs(ours - theirs).max() < 1e-3
    assert (ours.argmax(-1) == theirs.argmax(-1)).all()
    assert base.max_positions == 8192


def test_bfloat16_holds_the_same_weights_in_half_the_bytes(tmp_path):
    folder = make_checkpoint(tmp_path, "llama")
    base = load_base(str(folder), "bfloat16")
    assert {variable.dtype for variable in base.backbone.weights} == {"bfloat16"}
    ids_bt = some_ids(base.backbone.vocabulary_size, 1, 40)
    ours, theirs = keras_logits(base, ids_bt), torch_logits(folder, ids_bt)
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < 0.05 * np.abs(theirs).max()


def test_nothing_of_a_base_is_trained(tmp_path):
    base = load_base(str(make_checkpoint(tmp_path, "llama")), "float32")
    assert base.backbone.trainable_variables == []


def test_weights_in_several_files_are_read(tmp_path):
    folder = make_checkpoint(tmp_path, "qwen2")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids_bt = some_ids(300, 1, 20)
    expected = torch_logits(folder, ids_bt)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    assert np.abs(keras_logits(load_base(str(folder), "float32"), ids_bt) - expected).max() < 1e-3


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        ("llama", {"attention_bias": True}),
        ("llama", {"mlp_bias": True}),
        ("llama", {"head_dim": 24}),
        ("llama", {"hidden_act": "gelu"}),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
        ("qwen3", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}),
        ("qwen3", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
        ("llama", {"residual_multiplier": 0.22}),
        ("llama", {"layer_types": ["sliding_attention"] * 3}),
        ("llama", {"sliding_window": 100}),
        ("llama", {"quantization_config": {"quant_method": "none"}}),
        ("mistral", {"tie_word_embeddings": True}),
        ("qwen2 tied window", {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]}),
        ("gemma", {"hidden_act": "relu"}),
        ("gemma", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e5}}),
        ("gemma", {"final_logit_softcapping": 30.0}),
        ("gemma2", {"query_pre_attn_scalar": 12}),
        ("gemma2", {"tie_word_embeddings": False}),
        ("gemma2", {"layer_types": ["sliding_attention"] * 3}),
        ("gemma2", {"sliding_window": None}),
        ("gemma3", {"sliding_window": None}),
        ("gemma3", {"attn_logit_softcapping": 500.0}),
        ("gemma3", {"layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 5}),
        ("gemma3", {"use_bidirectional_attention": True}),
        (
            "gemma3",
            {
                "rope_parameters": {
                    "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
                    "full_attention": {"rope_type": "default", "rope_theta": 1e6},
                }
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_keras_would_compute_otherwise_is_refused(kind, setting, tmp_path):
    folder = edit(make_checkpoint(tmp_path, kind), **setting)
    with pytest.raises(ModelError, match=rf"has {next(iter(setting))} = .*--backend torch"):
        load_base(folder, "float32")
    assert not (tmp_path / NOTE).exists()


def old_llama(config):
    rope = config.pop("rope_parameters")
    return config | {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope | {"type": rope["rope_type"]}, "rope_interleaved": False}


def old_gemma(config):
    rope = config.pop("rope_parameters")
    near, far = rope["sliding_attention"]["rope_theta"], rope["full_attention"]["rope_theta"]
    config.pop("layer_types")
    scaling = {"rope_type": "linear", "factor": rope["full_attention"]["factor"]}
    return config | {"rope_theta": far, "rope_local_base_freq": near, "rope_scaling": scaling, "sliding_window_pattern": 6}


@pytest.mark.parametrize(("kind", "as_before"), [("llama 3 rope", old_llama), ("gemma3 linear rope", old_gemma)])
def test_settings_as_transformers_4_wrote_them_are_understood(kind, as_before, tmp_path):
    folder = make_checkpoint(tmp_path, kind)
    ids_bt = some_ids(300, 1, 90)
    expected = torch_logits(folder, ids_bt)
    file = folder / "config.json"
    file.write_text(json.dumps(as_before(json.loads(file.read_text()))))
    assert np.abs(keras_logits(load_base(str(folder), "float32"), ids_bt) - expected).max() < 1e-3


def test_another_kind_of_model_is_refused_with_those_there_are(tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(make_checkpoint(tmp_path / "llama", "llama"))
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2)
    folder = tmp_path / "gpt2"
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"kind gpt2, and Keras trains llama, .*gemma3_text: run 'ragtune train --backend torch'"):
        load_base(str(folder), "float32")


def test_a_name_that_is_no_folder_is_refused():
    with pytest.raises(ModelError, match=r"organisation/model is no folder"):
        load_base("organisation/model", "float32")


def test_weights_that_have_no_place_are_refused(tmp_path):
    folder = make_checkpoint(tmp_path, "llama")
    file = folder / "model.safetensors"
    weights = load_file(file)
    save_file(weights | {"model.layers.1.self_attn.q_proj.bias": torch.zeros(48)}, file)
    with pytest.raises(ModelError, match=r"has a weight model\.layers\.1\.self_attn\.q_proj\.bias"):
        load_base(str(folder), "float32")


def test_missing_and_misshapen_weights_are_refused(tmp_path):
    folder = make_checkpoint(tmp_path, "llama")
    file = folder / "model.safetensors"
    weights = load_file(file)
    norm = weights.pop("model.norm.weight")
    save_file(weights, file)
    with pytest.raises(ModelError, match=r"lacks 1 weights, model\.norm\.weight among them"):
        load_base(str(folder), "float32")
    save_file(weights | {"model.norm.weight": norm[:40].contiguous()}, file)
    with pytest.raises(ModelError, match=r"model\.norm\.weight has the shape \[40\].*\[48\]"):
        load_base(str(folder), "float32")


def test_a_damaged_or_absent_file_is_named(tmp_path):
    folder = make_checkpoint(tmp_path, "llama")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        load_base(str(folder), "float32")
    file.unlink()
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        load_base(str(folder), "float32")


@pytest.mark.parametrize("place", ["model.layers.2.self_attn.k_proj", "model.layers.0.mlp.gate_proj"])
def test_a_weight_that_went_wrong_is_caught(place, tmp_path, monkeypatch):
    folder = make_checkpoint(tmp_path, "llama")
    read = bases.Base._read

    def spoiled(self, source):
        read(self, source)
        found = {name: getattr(parent, leaf) for name, parent, leaf in self.projections()}
        kernel = found[place].kernel
        kernel.assign(tf.reverse(tf.convert_to_tensor(kernel), [-1]))

    monkeypatch.setattr(bases.Base, "_read", spoiled)
    with pytest.raises(ModelError, match=r"does not give in Keras what it gives in PyTorch \(logits differ by .*--backend torch"):
        load_base(str(folder), "float32")
    assert not (folder / NOTE).exists()


def test_no_number_is_no_agreement():
    expected = np.zeros((1, 2, 3), np.float32)
    with pytest.raises(ModelError, match="differ by nan"):
        parity.compare(np.full_like(expected, np.nan), expected, "some")
    assert parity.compare(expected + 5e-4, expected, "some") == pytest.approx(5e-4)


def test_a_base_is_compared_once_until_its_files_change(tmp_path, monkeypatch):
    folder = make_checkpoint(tmp_path, "llama")
    asked = []
    compare = parity.compare
    monkeypatch.setattr(parity, "compare", lambda *given: asked.append(given[2]) or compare(*given))
    load_base(str(folder), "float32")
    load_base(str(folder), "bfloat16")
    assert asked == [str(folder)]
    assert json.loads((folder / NOTE).read_text())["difference"] < 1e-3
    edit(folder, rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    load_base(str(folder), "float32")
    assert len(asked) == 2


def test_where_memory_is_short_the_first_layers_are_compared(tmp_path, monkeypatch):
    folder = make_checkpoint(tmp_path, "gemma2")
    monkeypatch.setattr(bases, "available_memory", lambda _: 320_000.0)
    base = load_base(str(folder), "float32")
    assert json.loads((folder / NOTE).read_text())["layers"] == 2
    ids_bt = some_ids(base.backbone.vocabulary_size, 1, 30)
    assert np.abs(keras_logits(base, ids_bt) - torch_logits(folder, ids_bt)).max() < 1e-3
