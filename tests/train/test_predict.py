"""What a run will take is known before it begins, and a run that cannot fit is refused with what would."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("peft", reason="peft is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")
import transformers  # noqa: E402

from made_groups import epoch_groups, group  # noqa: E402
from ragtune.errors import TrainError  # noqa: E402
from ragtune.train import learner  # noqa: E402
from ragtune.train import predict as predicting  # noqa: E402
from ragtune.train.loss import batch_loss  # noqa: E402
from ragtune.train.predict import PeakMemory, available_memory, predict_memory, shape_of, survey  # noqa: E402
from ragtune.train.sequences import Encoder  # noqa: E402
from ragtune.train.torch import TorchTrainer  # noqa: E402
from tiny_models import make_tokenizer  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def middling(tmp_path_factory):
    """A Llama whose layers are wide enough for activations to be what they are in a real one."""
    folder = tmp_path_factory.mktemp("middling")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=96, intermediate_size=256, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=2,
        max_position_embeddings=4096, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def kept_bytes(trainer: TorchTrainer) -> tuple[int, float]:
    """Bytes that autograd keeps of one pass, weights aside, and what was predicted of them."""
    loaded = trainer.load()
    sequences = [loaded.encode(each) for each in epoch_groups(0)]
    (batch,) = loaded.batches(sequences)
    own = {parameter.untyped_storage().data_ptr() for parameter in loaded.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # a saved output that held itself would never be freed

    for layer in loaded.layers.values():
        layer.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = batch_loss(loaded.model, batch)
    held = sum(kept.values())
    assert loss.isfinite()
    how = trainer.how
    predicted = predicting._batch_memory(_shape(trainer._base), sequences, how)
    passing = batch.tokens * (4 * how.bytes * 256 + 16 * 96)
    logits = 400 * how.bytes * len(batch.targets_c)  # the gradient alone: the logits themselves are not kept
    casts = how.bytes * _shape(trainer._base).trained(how) if how.method != "full" else 0
    return held, predicted["activations"] - passing + logits + casts


def _shape(base: Path | str) -> predicting.Shape:
    return shape_of(predicting.load_shape(str(base))[0], ())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{}, {"dropout": 0.1}, {"method": "dora"}, {"method": "full"}], ids=str)
def test_what_the_backward_pass_keeps_is_predicted(middling, options, dtype):
    held, predicted = kept_bytes(TorchTrainer(middling, rank=8, device="cpu", dtype=dtype, tokens_per_batch=10**6, **options))
    assert predicted == pytest.approx(held, rel=0.12)


def test_what_pytorchs_attention_keeps_is_near_what_is_predicted(middling, monkeypatch):
    for module in (predicting, learner):
        monkeypatch.setattr(module, "KEPT_SCORES_BYTES", 0)
    held, predicted = kept_bytes(TorchTrainer(middling, rank=8, device="cpu", dtype="float32", tokens_per_batch=10**6))
    assert predicted == pytest.approx(held, rel=0.12)


def test_a_cpu_s_heap_is_predicted_beside_what_is_kept(middling):
    trainer = TorchTrainer(middling, rank=8, device="cpu", dtype="float32")
    made = predicting.predict(str(middling), [epoch_groups(0)], trainer.how, recompute_where_needed=False)
    assert made.memory["heap"] == pytest.approx(0.17 * made.memory["activations"])
    assert made.peak == sum(made.memory.values())
    on_a_gpu = replace(trainer.how, device=torch.device("cuda"))
    sequences = [trainer.load().encode(each) for each in epoch_groups(0)]
    assert "heap" not in predicting._batch_memory(_shape(middling), sequences, on_a_gpu)


def test_layers_that_are_computed_twice_keep_little(middling):
    plain, twice = (
        kept_bytes(TorchTrainer(middling, rank=8, device="cpu", dtype="float32", tokens_per_batch=10**6, gradient_checkpointing=on))
        for on in (False, True)
    )
    assert twice[0] < plain[0] / 4
    assert twice[1] > twice[0], "one layer's activations are there while it is computed anew"
    assert twice[1] < plain[1] / 2


@pytest.mark.parametrize("options", [{}, {"method": "dora"}, {"method": "full"}, {"targets": ("attention",)}], ids=str)
def test_trained_parameters_are_counted(middling, options):
    trainer = TorchTrainer(middling, rank=8, device="cpu", dtype="float32", **options)
    made = predicting.predict(str(middling), [epoch_groups(0)], trainer.how, recompute_where_needed=False)
    loaded = trainer.load()
    assert made.trained == sum(parameter.numel() for parameter in loaded.parameters)
    assert made.parameters == sum(p.numel() for name, p in loaded.model.named_parameters() if "lora_" not in name)


def test_a_forecast_counts_what_a_run_then_does(middling, tmp_path):
    trainer = TorchTrainer(middling, rank=4, epochs=2, answers_per_step=4, device="cpu", dtype="float32")
    made = trainer.forecast(epoch_groups, [group(20)])
    assert not list(tmp_path.iterdir())
    result = trainer.train(epoch_groups, [group(20)], tmp_path, lambda _: None)
    assert (made.steps, made.answers, made.contexts) == (result.steps, result.answers, 2 * 7)
    assert made.tokens == pytest.approx(result.tokens, rel=0.1)
    assert made.seconds > 0
    assert made.fits
    assert made.peak == sum(made.memory.values())
    assert result.predicted_memory == pytest.approx(made.peak, rel=0.5)


def test_the_largest_batch_is_found_among_many_steps(middling):
    trainer = TorchTrainer(middling, device="cpu", dtype="float32")
    encode = trainer.load().encode
    steps = [[group(number)] for number in range(200)]
    steps[137] = [group(1, passages=tuple(range(20)))]
    work = survey(steps, encode)
    assert max(len(each) for step in work.largest for each in step) == len(encode(steps[137][0]))
    assert work.tokens == pytest.approx(sum(len(encode(each)) for step in steps for each in step), rel=0.05)
    assert (work.contexts, work.answers) == (200, 200)


@pytest.fixture
def exact(monkeypatch):
    """Without the process, which is most of the memory of so small a model, and without a margin."""
    monkeypatch.setattr(predicting, "_process_memory", lambda: 0.0)
    monkeypatch.setattr(predicting, "_LIBRARIES", 0.0)
    monkeypatch.setattr(predicting, "_MARGIN", 1.0)
    return lambda room: monkeypatch.setattr(predicting, "available_memory", lambda _: room)


def test_a_run_that_does_not_fit_is_refused_with_what_would(middling, tmp_path, exact):
    trainer = TorchTrainer(middling, rank=8, device="cpu", dtype="float32", gradient_checkpointing=False, tokens_per_batch=1500)
    memory = predicting.predict(str(middling), [epoch_groups(0)], trainer.how, recompute_where_needed=False).memory
    exact(sum(memory.values()) - 0.5 * memory["activations"])
    with pytest.raises(TrainError, match=r"would take about .* \(weights .*, activations .*and cpu has .*: set train\.\w+ = ") as refused:
        trainer.train(epoch_groups, [], tmp_path, lambda _: None)
    assert not list(tmp_path.iterdir())
    assert "train.gradient_checkpointing = true (about" in str(refused.value)
    made = trainer.forecast(epoch_groups, [])
    assert (made.fits, made.seconds) == (False, None)
    assert all(peak <= made.memory_available for peak in made.remedies.values())


def test_fewer_tokens_at_once_may_suffice(middling, exact):
    trainer = TorchTrainer(middling, rank=8, device="cpu", dtype="float32", gradient_checkpointing=True, tokens_per_batch=10**5)
    steps = [[group(number) for number in range(8)]]
    memory = predicting.predict(str(middling), steps, trainer.how, recompute_where_needed=False).memory
    exact(sum(memory.values()) - 0.5 * memory["activations"])
    made = predicting.predict(str(middling), steps, trainer.how, recompute_where_needed=False)
    (remedy,) = [words for words in made.remedies if "half" not in words]
    longest = int(remedy.removeprefix("train.tokens_per_batch = "))
    again = TorchTrainer(middling, rank=8, device="cpu", dtype="float32", gradient_checkpointing=True, tokens_per_batch=longest)
    assert predicting.predict(str(middling), steps, again.how, recompute_where_needed=False).fits


def test_a_model_that_cannot_fit_at_all_is_told_so(middling, tmp_path, exact):
    exact(1e6)
    with pytest.raises(TrainError, match=r"no setting of train makes it fit, so choose a smaller model\.base"):
        TorchTrainer(middling, method="full", device="cpu").train(epoch_groups, [], tmp_path, lambda _: None)


def test_a_whole_model_that_does_not_fit_may_as_lora(middling):
    how = TorchTrainer(middling, method="full", device="cpu").how
    shape = replace(_shape(middling), parameters=10**10)
    encode = Encoder(predicting.load_shape(str(middling))[1], 4096)
    steps = [[encode(each) for each in epoch_groups(0)]]
    room = sum(predict_memory(shape, steps, replace(how, method="lora")).values()) + 1e9
    remedies = predicting.find_remedies(shape, steps, how, room)
    assert all("train.method = lora" in words for words in remedies)
    assert remedies


def test_layers_are_computed_twice_where_memory_would_not_suffice(middling, tmp_path, exact):
    options = {"rank": 8, "epochs": 1, "device": "cpu", "dtype": "float32"}
    trainer = TorchTrainer(middling, **options)
    trainer.train(epoch_groups, [], tmp_path / "plain", lambda _: None)
    memory = predicting.predict(str(middling), [epoch_groups(0)], trainer.how, recompute_where_needed=False).memory
    exact(sum(memory.values()) - 0.5 * memory["activations"])
    assert trainer.forecast(epoch_groups, []).gradient_checkpointing
    trainer.train(epoch_groups, [], tmp_path / "twice", lambda _: None)
    one, other = ((tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes() for name in ("plain", "twice"))
    assert one == other


def test_the_peak_of_memory_is_measured():
    peak = PeakMemory(CPU)
    taken = torch.ones(40_000_000)
    assert peak() > 4 * taken.numel()
    assert available_memory(CPU) > 0


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs the GNU C library")
def test_memory_that_was_freed_before_is_not_predicted() -> None:
    before = predicting._process_memory()
    held = [bytes(3000) for _ in range(60_000)]
    kept = held[::100]  # what is between them cannot go back by itself
    assert predicting._process_memory() - before > 120e6
    del held
    assert predicting._process_memory() - before < 60e6
    assert len(kept) == 600
