"""Rehearsal: the tuned model is held to its base on text that the base wrote."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("peft", reason="peft is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from made_groups import epoch_groups  # noqa: E402
from ragtune.prompts import chat_opening  # noqa: E402
from ragtune.train import attention, rehearsal  # noqa: E402
from ragtune.train.batches import pack  # noqa: E402
from ragtune.train.lora import add_lora, load_adapter  # noqa: E402
from ragtune.train.rehearsal import TOKENS, rehearsal_texts, straying  # noqa: E402
from ragtune.train.torch import TorchTrainer  # noqa: E402


@pytest.fixture(params=[False, True], ids=["lora", "dora"])
def loaded(tiny_chat, request):
    model = AutoModelForCausalLM.from_pretrained(tiny_chat, dtype=torch.float32, attn_implementation=attention.NAME).eval()
    layers = add_lora(model, rank=4, alpha=8.0, dropout=0.0, seed=0, dora=request.param)
    return model, AutoTokenizer.from_pretrained(tiny_chat), layers


def stray(layers, size: float = 0.3) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in layers.values():
            layer.lora_B.copy_(size * torch.randn(layer.lora_B.shape, generator=generator))


def texts_of(loaded, folder, **options):
    model, tokenizer, layers = loaded
    return rehearsal_texts(model, tokenizer, layers, folder, **{"seed": 0, "count": 4} | options)


def test_texts_open_like_a_chat_and_are_written_by_the_base_alone(loaded, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    before = texts_of(loaded, tmp_path / "a")
    stray(loaded[2])
    assert texts_of(loaded, tmp_path / "b") == before  # the adapters have no say
    opening = tuple(loaded[1].encode(chat_opening(loaded[1]), add_special_tokens=False))
    assert all(text.context + text.branches[0].question == opening for text in before)
    assert all(len(text) == TOKENS for text in before)
    assert len({text.branches[0].completion for text in before}) == 4
    assert loaded[0].config._attn_implementation == attention.NAME


def test_the_head_reads_rows_that_lie_together(loaded, tmp_path):
    # Of rows that do not, PyTorch copies the head's frozen weights for each: gigabytes for a model of 135M parameters.
    together = []
    loaded[0].lm_head.register_forward_pre_hook(lambda _, given: together.append(given[0].is_contiguous()))
    texts_of(loaded, tmp_path)
    assert len(together) > 1
    assert all(together)


def test_a_resumed_run_rehearses_the_same_texts(loaded, tmp_path):
    before = texts_of(loaded, tmp_path)
    assert texts_of(loaded, tmp_path, seed=1) == before  # those that lie there, whatever would be drawn now
    assert len(json.loads((tmp_path / "rehearsal.json").read_text())["texts"]) == 4


def test_how_long_the_texts_take_is_told_by_their_first_tokens(loaded, monkeypatch):
    passes = []
    loaded[0].register_forward_pre_hook(lambda *_, **__: passes.append(1))
    monkeypatch.setattr(rehearsal, "time", SimpleNamespace(monotonic=lambda: 0.5 * len(passes)))
    assert rehearsal.writing_seconds(*loaded[:2]) == 0.5 * TOKENS
    assert len(passes) < TOKENS / 10


def test_the_divergence_and_its_gradient_are_those_of_the_definition(loaded, tmp_path):
    model, _, layers = loaded
    batch = pack(texts_of(loaded, tmp_path)[:2], fused=False)
    assert straying(model, layers, batch).item() == pytest.approx(0.0, abs=1e-6)
    stray(layers)
    straying(model, layers, batch).backward()
    found = {name: layer.lora_B.grad.clone() for name, layer in layers.items()}
    assert all(layer.active for layer in layers.values())

    def log_probabilities():
        output = model(input_ids=batch.ids_1t, position_ids=batch.positions_1t, use_cache=False, ragtune_blocks=batch.blocks)
        return torch.log_softmax(output.logits[0, batch.at_c], -1)

    for layer in layers.values():
        layer.lora_A.grad = layer.lora_B.grad = None
        layer.active = False
    with torch.no_grad():
        log_p = log_probabilities()
    for layer in layers.values():
        layer.active = True
    expected = torch.nn.functional.kl_div(log_probabilities(), log_p, log_target=True, reduction="batchmean")
    assert straying(model, layers, batch).item() == pytest.approx(expected.item(), rel=1e-4)
    expected.backward()
    for name, layer in layers.items():
        torch.testing.assert_close(found[name], layer.lora_B.grad, rtol=1e-3, atol=1e-6)


def test_a_wholly_trained_model_rehearses_by_the_likelihood_of_the_texts(tiny_chat, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_chat, dtype=torch.float32, attn_implementation=attention.NAME).eval()
    texts = rehearsal_texts(model, AutoTokenizer.from_pretrained(tiny_chat), {}, tmp_path, seed=0, count=2)
    batch = pack(texts, fused=False)
    output = model(input_ids=batch.ids_1t, position_ids=batch.positions_1t, use_cache=False, ragtune_blocks=batch.blocks)
    expected = torch.nn.functional.cross_entropy(output.logits[0, batch.at_c], batch.targets_c)
    assert straying(model, {}, batch).item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_rehearsing_run_strays_less_from_its_base(loaded, tiny_chat, tmp_path):
    model, _, layers = loaded
    batch = pack(texts_of(loaded, tmp_path, seed=9), fused=False)  # not those that are rehearsed
    strayed = []
    method = "dora" if next(iter(layers.values())).lora_magnitude_vector is not None else "lora"
    for weight in (0.0, 4.0):
        output = tmp_path / f"{weight}"
        trainer = TorchTrainer(
            tiny_chat,
            method=method,
            rank=4,
            alpha=8.0,
            epochs=3,
            answers_per_step=4,
            learning_rate=5e-3,
            device="cpu",
            dtype="float32",
            rehearsal=weight,
        )
        trainer.train(epoch_groups, [], output, lambda _: None)
        load_adapter(output / "adapter", layers)
        strayed.append(straying(model, layers, batch).item())
    assert strayed[1] < 0.8 * strayed[0]


BARE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}A: {{ m.content }}<|im_end|>\n{% else %}{{ m.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}A: {% endif %}"
)


def test_a_template_that_opens_a_chat_with_nothing_can_be_rehearsed(loaded, tmp_path):
    loaded[1].chat_template = BARE
    assert not chat_opening(loaded[1])
    texts = texts_of(loaded, tmp_path)
    (end,) = loaded[1].encode("<|im_end|>", add_special_tokens=False)
    assert all(text.context + text.branches[0].question == (end,) for text in texts)
    assert straying(loaded[0], loaded[2], pack(texts, fused=False)).item() == pytest.approx(0.0, abs=1e-6)
