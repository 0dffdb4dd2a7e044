"""The model families that keras-hub has, as Hugging Face checkpoints write them: settings, and which weight is whose.

keras-hub's own converters are not used. They lose ``rms_norm_eps``, the scaled rotary positions of transformers 5 and Qwen's sliding
window, and Mistral's weights become float16 on the way. What a backbone of keras-hub cannot compute is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ragtune.errors import ModelError

Config: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """How a family's checkpoints become a backbone.

    Args:
        backbone: class of keras_hub.models.
        arguments: from a checkpoint's settings to the backbone's arguments.
        reads: the settings that it looks at, beside those that all look at.
        layer: name of a layer of the stack in the backbone, with its number open.
        final_norm: name of the last normalisation in the backbone.
        projections: linear layers of a layer, in the order of transformers: name there, path here.
        norms: its normalisations, likewise.
        neutral: settings that the backbone does not have, with the values at which they change nothing.
    """

    backbone: str
    arguments: Callable[[Config], dict[str, Any]]
    reads: Set[str]
    layer: str
    final_norm: str
    projections: Mapping[str, str]
    norms: Mapping[str, str]
    neutral: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


_READ = {
    "vocab_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size", "intermediate_size", "rms_norm_eps",
    "rope_parameters", "tie_word_embeddings", "max_position_embeddings", "head_dim",
}  # fmt: skip
_HARMLESS = {
    "_attn_implementation", "_attn_implementation_autoset", "_name_or_path", "architectures", "attention_dropout", "attn_implementation",
    "cache_implementation", "chunk_size_feed_forward", "dtype", "id2label", "initializer_range", "is_llama_config", "label2id",
    "max_window_layers", "model_type", "output_attentions", "output_hidden_states", "pretraining_tp", "problem_type", "return_dict",
    "torch_dtype", "transformers.js_config", "transformers_version", "use_cache",
}  # fmt: skip
"""Settings that change nothing here: how much is given back, notes of who wrote the file, dropout, which no trainer of ragtune has on, and
what ``layer_types`` says too. So do those that end in ``_token_id``."""
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False, None),
    "is_encoder_decoder": (False,),
    "mlp_bias": (False, None),
    "rope_interleaved": (False, None),
    "sliding_window": (None,),
    "use_sliding_window": (False, None),
    "use_bidirectional_attention": (False, None),
}
_ROPE = {
    "default": {"rope_type", "type", "rope_theta"},
    "linear": {"rope_type", "type", "rope_theta", "factor"},
    "llama3": {"rope_type", "type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
}
"""What each kind of rotary positions is set by."""
_AS_TORCH = "run 'ragtune train --backend torch', or choose another model.base"


def family_of(config: Config, name: str) -> Family:
    """The family of a checkpoint, after a look at every one of its settings.

    Args:
        config: as ``transformers`` reads it.
        name: of the model, for messages.

    Raises:
        ModelError: there is no such family here, or a setting is unknown, or has a value that keras-hub does not compute.
    """
    kind = config["model_type"]
    family = FAMILIES.get(kind)
    if family is None:
        raise ModelError(f"model {name} is of the kind {kind}, and Keras trains {', '.join(FAMILIES)}: {_AS_TORCH}")
    for key, value in config.items():
        if key in _READ or key in _HARMLESS or key in family.reads or key.endswith("_token_id"):
            continue
        if value not in family.neutral.get(key, _NEUTRAL.get(key, ())):
            raise _refused(name, key, value)
    for key, values in family.neutral.items():
        if key in config and config[key] not in values:
            raise _refused(name, key, config[key])
    return family


def backbone_arguments(family: Family, config: Config, name: str) -> dict[str, Any]:
    """What a backbone is made with.

    Raises:
        ModelError: a setting has a value that keras-hub does not compute.
    """
    try:
        return {
            "vocabulary_size": config["vocab_size"],
            "num_layers": config["num_hidden_layers"],
            "num_query_heads": config["num_attention_heads"],
            "num_key_value_heads": config["num_key_value_heads"],
            "hidden_dim": config["hidden_size"],
            "intermediate_dim": config["intermediate_size"],
            "layer_norm_epsilon": config["rms_norm_eps"],
            **family.arguments(config),
        }
    except _Unsupported as error:
        raise _refused(name, *error.args) from None


class _Unsupported(Exception):  # noqa: N818 - becomes a ModelError that has the model's name
    """A setting and its value."""


def _refused(name: str, key: str, value: Any) -> ModelError:
    return ModelError(f"model {name} has {key} = {value!r}, which Keras does not compute: {_AS_TORCH}")


def _rope(config: Config, *kinds: str, of: str | None = None) -> tuple[float, dict[str, Any]]:
    """The longest wavelength, and the rest; of one kind of layer where layers differ."""
    given = config["rope_parameters"]
    rope = given if of is None else given[of]
    if rope["rope_type"] not in kinds or not rope.keys() <= _ROPE[rope["rope_type"]]:
        raise _Unsupported("rope_parameters", given)
    return float(rope["rope_theta"]), rope


def _plain_heads(config: Config) -> None:
    """These backbones take the width of a head from the width of the model."""
    width = config.get("head_dim")
    if width is not None and width * config["num_attention_heads"] != config["hidden_size"]:
        raise _Unsupported("head_dim", width)


def _window(config: Config) -> int | None:
    """The sliding window of all layers; a window in some only is refused."""
    kinds = set(config.get("layer_types") or ()) or {"sliding_attention" if config.get("sliding_window") else "full_attention"}
    if kinds == {"full_attention"}:
        return None
    if kinds != {"sliding_attention"} or not config.get("sliding_window"):
        raise _Unsupported("layer_types", sorted(kinds))
    return int(config["sliding_window"])


def _llama(config: Config) -> dict[str, Any]:
    _plain_heads(config)
    theta, rope = _rope(config, "default", "llama3")
    scaled = {
        "rope_frequency_adjustment_factor": rope["factor"],
        "rope_low_freq_factor": rope["low_freq_factor"],
        "rope_high_freq_factor": rope["high_freq_factor"],
        "rope_pretraining_sequence_length": rope["original_max_position_embeddings"],
    } if rope["rope_type"] == "llama3" else {}  # fmt: skip
    return {"rope_max_wavelength": theta, "tie_word_embeddings": config["tie_word_embeddings"], **scaled}


def _mistral(config: Config) -> dict[str, Any]:
    theta, rope = _rope(config, "default", "linear")
    return {
        "rope_max_wavelength": theta,
        "rope_scaling_factor": rope.get("factor", 1.0),
        "sliding_window": _window(config),
        "head_dim": config.get("head_dim"),
    }


def _qwen2(config: Config) -> dict[str, Any]:
    _plain_heads(config)
    theta, rope = _rope(config, "default", "linear")
    window = _window(config)
    return {
        "rope_max_wavelength": theta,
        "rope_scaling_factor": rope.get("factor", 1.0),
        "use_sliding_window_attention": window is not None,
        "sliding_window_size": window,
        "tie_word_embeddings": config["tie_word_embeddings"],
    }


def _qwen3(config: Config) -> dict[str, Any]:
    theta, rope = _rope(config, "default", "linear")
    return {
        "rope_max_wavelength": theta,
        "rope_scaling_factor": rope.get("factor", 1.0),
        "head_dim": config["head_dim"],
        "sliding_window_size": _window(config),
        "tie_word_embeddings": config["tie_word_embeddings"],
    }


def _gemma(config: Config) -> dict[str, Any]:
    if _rope(config, "default")[0] != 10_000:
        raise _Unsupported("rope_parameters", config["rope_parameters"])
    return {"head_dim": config["head_dim"], "intermediate_dim": 2 * config["intermediate_size"]}


def _gemma2(config: Config) -> dict[str, Any]:
    _every(config, 2)
    _query_scale(config)
    return _gemma(config) | {
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "attention_logit_soft_cap": config["attn_logit_softcapping"],
        "final_logit_soft_cap": config["final_logit_softcapping"],
        "use_sliding_window_attention": True,
        "sliding_window_size": config["sliding_window"],
    }


def _gemma3(config: Config) -> dict[str, Any]:
    windows = set(config["layer_types"]) != {"full_attention"}
    if windows:
        _every(config, 6)
    _query_scale(config)
    near, near_rope = _rope(config, "default", "linear", of="sliding_attention")
    far, far_rope = _rope(config, "default", "linear", of="full_attention")
    if (near, far) != (10_000, 1_000_000):
        raise _Unsupported("rope_parameters", config["rope_parameters"])
    return {
        "image_size": None,
        "head_dim": config["head_dim"],
        "use_query_key_norm": True,
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "final_logit_soft_cap": config["final_logit_softcapping"],
        "use_sliding_window_attention": windows,
        "sliding_window_size": config["sliding_window"],
        "local_rope_scaling_factor": near_rope.get("factor", 1.0),
        "global_rope_scaling_factor": far_rope.get("factor", 1.0),
    }


def _every(config: Config, period: int) -> None:
    """These backbones give each so-many-th layer full attention, and the others a window."""
    made = ["full_attention" if number % period == period - 1 else "sliding_attention" for number in range(config["num_hidden_layers"])]
    if list(config["layer_types"]) != made:
        raise _Unsupported("layer_types", config["layer_types"])
    if not config["sliding_window"]:
        raise _Unsupported("sliding_window", config["sliding_window"])


def _query_scale(config: Config) -> None:
    if config["query_pre_attn_scalar"] != config["head_dim"]:
        raise _Unsupported("query_pre_attn_scalar", config["query_pre_attn_scalar"])


_LLAMA_PROJECTIONS = {
    "self_attn.q_proj": "_self_attention_layer._query_dense",
    "self_attn.k_proj": "_self_attention_layer._key_dense",
    "self_attn.v_proj": "_self_attention_layer._value_dense",
    "self_attn.o_proj": "_self_attention_layer._output_dense",
    "mlp.gate_proj": "_feedforward_gate_dense",
    "mlp.up_proj": "_feedforward_intermediate_dense",
    "mlp.down_proj": "_feedforward_output_dense",
}
_LLAMA_NORMS = {"input_layernorm": "_self_attention_layernorm", "post_attention_layernorm": "_feedforward_layernorm"}
_QWEN3_NORMS = _LLAMA_NORMS | {
    "self_attn.q_norm": "_self_attention_layer._query_dense_layer_norm",
    "self_attn.k_norm": "_self_attention_layer._key_dense_layer_norm",
}
_GEMMA_PROJECTIONS = {
    "self_attn.q_proj": "attention.query_dense",
    "self_attn.k_proj": "attention.key_dense",
    "self_attn.v_proj": "attention.value_dense",
    "self_attn.o_proj": "attention.output_dense",
    "mlp.gate_proj": "gating_ffw",
    "mlp.up_proj": "gating_ffw_2",
    "mlp.down_proj": "ffw_linear",
}
_GEMMA_NORMS = {"input_layernorm": "pre_attention_norm", "post_attention_layernorm": "pre_ffw_norm"}
_GEMMA2_NORMS = {
    "input_layernorm": "pre_attention_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "pre_ffw_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_GEMMA3_NORMS = _GEMMA2_NORMS | {"self_attn.q_norm": "attention.query_norm", "self_attn.k_norm": "attention.key_norm"}

_SILU: dict[str, tuple[Any, ...]] = {"hidden_act": ("silu", "swish")}
# Gemma's backbones have no head of its own.
_GEMMA_ONLY: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu_pytorch_tanh",),
    "hidden_activation": ("gelu_pytorch_tanh",),
    "tie_word_embeddings": (True,),
}
_WINDOWS = {"sliding_window", "use_sliding_window", "layer_types"}
_CAPS = {
    "sliding_window", "layer_types", "_sliding_window_pattern", "sliding_window_pattern", "query_pre_attn_scalar",
    "final_logit_softcapping",
}  # fmt: skip


def _like_llama(
    backbone: str, arguments: Callable[[Config], dict[str, Any]], norms: Mapping[str, str], reads: Set[str], **neutral: tuple[Any, ...]
) -> Family:
    return Family(
        backbone, arguments, reads, "transformer_layer_{}", "sequence_output_layernorm", _LLAMA_PROJECTIONS, norms, _SILU | neutral
    )


def _like_gemma(
    backbone: str, arguments: Callable[[Config], dict[str, Any]], norms: Mapping[str, str], reads: Set[str], **neutral: tuple[Any, ...]
) -> Family:
    return Family(backbone, arguments, reads, "decoder_block_{}", "final_normalization", _GEMMA_PROJECTIONS, norms, _GEMMA_ONLY | neutral)


FAMILIES = {
    "llama": _like_llama("Llama3Backbone", _llama, _LLAMA_NORMS, set()),
    "mistral": _like_llama("MistralBackbone", _mistral, _LLAMA_NORMS, _WINDOWS, tie_word_embeddings=(False,)),
    "qwen2": _like_llama("QwenBackbone", _qwen2, _LLAMA_NORMS, _WINDOWS),
    "qwen3": _like_llama("Qwen3Backbone", _qwen3, _QWEN3_NORMS, _WINDOWS),
    "gemma": _like_gemma("GemmaBackbone", _gemma, _GEMMA_NORMS, set(), hidden_activation=("gelu_pytorch_tanh", None)),
    "gemma2": _like_gemma("GemmaBackbone", _gemma2, _GEMMA2_NORMS, _CAPS | {"attn_logit_softcapping"}),
    # PyTorch's Gemma 3 has a cap of attention among its settings, and does not apply it.
    "gemma3_text": _like_gemma("Gemma3Backbone", _gemma3, _GEMMA3_NORMS, _CAPS, attn_logit_softcapping=(None,)),
}
"""By ``model_type``."""
