"""Whole runs of a tiny model on Keras: equal to PyTorch's step for step, and to themselves after a kill or on two devices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("peft", reason="peft is not installed")
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("keras_hub", reason="keras-hub is not installed")

import tensorflow as tf
from safetensors.numpy import load_file

from killed_runs import CHILDREN, kill_after
from made_checkpoints import make_checkpoint
from made_groups import epoch_groups, group
from ragtune.engine.huggingface import HuggingFaceEngine
from ragtune.errors import ModelError, TrainError
from ragtune.prompts import build_messages
from ragtune.train import loop
from ragtune.train.keras.trainer import KerasTrainer
from ragtune.train.loop import OnStep
from ragtune.train.sequences import ANSWER_TOKENS
from ragtune.train.torch import TorchTrainer

CHILDREN.set_forkserver_preload(["ragtune.train.keras.trainer"])
HELD_OUT = [group(20, passages=(9, 1)), group(21, passages=(10,))]
COMMON: dict[str, Any] = {
    "rank": 4, "alpha": 8.0, "epochs": 3, "answers_per_step": 4, "learning_rate": 5e-3, "device": "cpu", "dtype": "float32",
}  # fmt: skip


def run(base: Path, output: Path, kind: Any = KerasTrainer, watch: Any = None, **options: Any):
    lines: list[dict[str, float]] = []
    return kind(base, **COMMON | options).train(epoch_groups, HELD_OUT, output, lines.append, watch), lines


def adapter(output: Path) -> dict[str, np.ndarray]:
    return load_file(output / "adapter" / "adapter_model.safetensors")


def assert_equal_adapters(one: Path, other: Path) -> None:
    """To two thousandths of each matrix, and to a tenth of an update for each weight: Adam makes much of gradients near zero."""
    found, wanted = adapter(one), adapter(other)
    assert found.keys() == wanted.keys()
    for name, weight in wanted.items():
        np.testing.assert_allclose(found[name], weight, rtol=0, atol=0.1 * COMMON["learning_rate"], err_msg=name)
        assert np.linalg.norm(found[name] - weight) <= 2e-3 * np.linalg.norm(weight), name


def column(lines: list[dict[str, float]], name: str) -> list[float]:
    return [line[name] for line in lines if name in line]


@pytest.fixture(scope="module")
def undisturbed(tiny_chat, tmp_path_factory):
    output = tmp_path_factory.mktemp("keras")
    return output, *run(tiny_chat, output)


OPTIONS = {
    "plain": {},
    "clipped, decayed and averaged": {"max_grad_norm": 0.5, "weight_decay": 0.1, "average_checkpoints": 3},
    "rehearsing, scaled by the root, on attention": {"rehearsal": 1.0, "rslora": True, "targets": ("attention",)},
    "few tokens at once": {"tokens_per_batch": 200},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_run_is_that_of_the_pytorch_trainer_step_for_step(kind, tiny_chat, tmp_path):
    """In float32, after nine updates: losses to 2e-5, gradient norms to 2e-4, weights as :func:`assert_equal_adapters` says."""
    one, ours = run(tiny_chat, tmp_path / "k", **OPTIONS[kind])
    other, theirs = run(tiny_chat, tmp_path / "t", TorchTrainer, **OPTIONS[kind])
    assert (one.steps, one.answers, one.tokens, one.device, one.dtype) == (other.steps, other.answers, other.tokens, "cpu", "float32")
    assert ours[0].keys() == theirs[0].keys()
    for name, tolerance in (("loss", 2e-5), ("validation_loss", 2e-5), ("gradient_norm", 2e-4), ("learning_rate", 1e-12)):
        assert column(ours, name) == pytest.approx(column(theirs, name), rel=tolerance)
    assert one.validation_loss == pytest.approx(other.validation_loss, rel=2e-5)
    assert_equal_adapters(tmp_path / "k", tmp_path / "t")
    configs = [json.loads((tmp_path / name / "adapter" / "adapter_config.json").read_text()) for name in "kt"]
    assert configs[0] == configs[1]


def test_a_run_stops_early_where_the_pytorch_trainer_does(tiny_chat, tmp_path):
    options = {"early_stopping": 1, "learning_rate": 0.3, "warmup": 0.0}
    one, ours = run(tiny_chat, tmp_path / "k", **options)
    other, _ = run(tiny_chat, tmp_path / "t", TorchTrainer, **options)
    assert (one.steps, one.best_step) == (other.steps, other.best_step)
    assert one.steps < ours[-1]["steps"]
    assert one.validation_loss == min(column(ours, "validation_loss")) < ours[-1]["validation_loss"]


def test_a_run_learns_and_reports(undisturbed):
    output, result, lines = undisturbed
    assert sum(column(lines, "loss")[-3:]) < 0.9 * sum(column(lines, "loss")[:3])
    assert result.validation_loss == lines[-1]["validation_loss"]
    assert len(column(lines, "validation_loss")) == 3
    assert [json.loads(line)["step"] for line in (output / "metrics.jsonl").read_text().splitlines()] == list(range(1, result.steps + 1))
    assert lines[-1]["eta_s"] == 0 < lines[0]["eta_s"]
    assert list((output / "tensorboard").iterdir())


def test_what_was_trained_is_what_the_engine_answers_with(undisturbed, tiny_chat):
    output, result, _ = undisturbed
    assert engine_loss(tiny_chat, output) == pytest.approx(result.validation_loss, rel=1e-4)


def engine_loss(base: Path, output: Path) -> float:
    """The validation loss as the engine has it."""
    engine = HuggingFaceEngine(base, device="cpu", dtype="float32")
    pairs = [(build_messages(branch.question, each.passages), branch.completion) for each in HELD_OUT for branch in each.branches]
    return sum(nll for nll, _ in engine.nll(pairs, adapter=output / "adapter")) / ANSWER_TOKENS / len(pairs)


@pytest.mark.parametrize("kind", ["gemma2", "gemma3", "qwen2 tied window", "qwen3 tied window", "mistral window"])
def test_families_with_windows_are_trained_and_rehearsed(kind, tmp_path):
    """The PyTorch trainer refuses them; the engine answers with them."""
    base = make_checkpoint(tmp_path / "base", kind, max_position_embeddings=4096)
    with pytest.raises((ModelError, TrainError), match=r"cannot be trained here|the model sees 7 at once"):
        run(base, tmp_path / "torch", TorchTrainer)
    result, _ = run(base, tmp_path / "keras", max_steps=2, rehearsal=1.0)
    assert engine_loss(base, tmp_path / "keras") == pytest.approx(result.validation_loss, rel=1e-3)


KILLED = {
    "plain": {},
    "the best kept": {"early_stopping": 2, "learning_rate": 0.1, "warmup": 0.0},
    "dropout, averages and rehearsal": {"dropout": 0.2, "average_checkpoints": 6, "rehearsal": 0.5, "tokens_per_batch": 300},
}


@pytest.mark.parametrize("kind", KILLED)
def test_a_run_that_is_killed_ends_at_the_weights_of_one_that_was_not(kind, tiny_chat, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    run(tiny_chat, tmp_path / "whole", **KILLED[kind])
    killed = tmp_path / "killed"
    for more in (2, 3):
        kill_after(more, _child, tiny_chat, killed, KILLED[kind])
    _, lines = run(tiny_chat, killed, **KILLED[kind])
    whole, resumed = adapter(tmp_path / "whole"), adapter(killed)
    assert 0 < len(lines) < 12
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    assert _losses(tmp_path / "whole") == _losses(killed)


def _losses(output: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (output / "metrics.jsonl").read_text().splitlines()]


def _child(base: Path, output: Path, options: dict[str, Any], on_step: OnStep) -> None:
    KerasTrainer(base, **COMMON | options).train(epoch_groups, HELD_OUT, output, on_step)


def test_another_seed_ends_elsewhere_and_dropout_changes_the_run(undisturbed, tiny_chat, tmp_path):
    run(tiny_chat, tmp_path / "seed", seed=1, max_steps=2)
    run(tiny_chat, tmp_path / "dropout", dropout=0.2, max_steps=2)
    run(tiny_chat, tmp_path / "none", max_steps=2)
    seed, dropout, none = (adapter(tmp_path / name) for name in ("seed", "dropout", "none"))
    assert not any(np.array_equal(seed[name], none[name]) for name in none)
    assert not any(np.array_equal(dropout[name], none[name]) for name in none if "lora_B" in name)


_TWO = """
import json, sys
from pathlib import Path
from ragtune.train.keras import backend
import tensorflow as tf
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path[:0] = sys.argv[3:]
from test_keras_training import COMMON, HELD_OUT
from made_groups import epoch_groups
from ragtune.train.keras.trainer import KerasTrainer
lines = []
options = COMMON | {"device": None, "devices": ("CPU:0", "CPU:1"), "rehearsal": 1.0}
KerasTrainer(sys.argv[1], **options).train(epoch_groups, HELD_OUT, Path(sys.argv[2]), lines.append)
print(json.dumps(lines))
"""


def test_two_devices_give_the_loss_of_one(tiny_chat, tmp_path):
    """Each has half of the rows of a pass, and a pass of one row leaves one device idle."""
    _, lines = run(tiny_chat, tmp_path / "one", rehearsal=1.0)
    here = Path(__file__).parent
    command = [sys.executable, "-c", _TWO, str(tiny_chat), str(tmp_path / "two"), *map(str, (here, *here.parents[:2]))]
    made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert made.returncode == 0, made.stderr
    there = json.loads(made.stdout.splitlines()[-1])
    for name in ("loss", "gradient_norm", "validation_loss"):
        assert column(there, name) == pytest.approx(column(lines, name), rel=2e-4)
    assert_equal_adapters(tmp_path / "two", tmp_path / "one")


def test_how_long_the_texts_of_a_rehearsal_take_is_measured_where_there_are_any(tiny_chat):
    assert KerasTrainer(tiny_chat, **COMMON, rehearsal=1.0).rehearsal_seconds() > 0
    assert KerasTrainer(tiny_chat, **COMMON).rehearsal_seconds() == 0


def test_a_text_that_is_rehearsed_needs_no_pipeline_of_its_own(tiny_chat, monkeypatch):
    """It would take longer than the text."""
    learner = KerasTrainer(tiny_chat, **COMMON, rehearsal=1.0).load()
    sequences = [learner.encode(each) for each in HELD_OUT]
    learner.rehearse_anything(sequences[0])
    made, held = [], []
    pipeline = tf.data.Dataset.from_generator
    monkeypatch.setattr(tf.data.Dataset, "from_generator", lambda *given, **named: made.append(1) or pipeline(*given, **named))
    monkeypatch.setattr(learner, "_learn", lambda *_: 0.0)
    monkeypatch.setattr(learner, "_hold", lambda *given: held.append(given) or 0.0)
    for step, fed in enumerate(learner.feed([sequences] * 4)):
        learner.gradients(fed, step)
    assert (len(made), len(held)) == (1, 2)
    ids_bt, mask_bt, weights_bt, factor = (each.numpy() for each in held[0])
    words = learner.texts[0].branches[0].completion
    assert ids_bt[0, mask_bt[0] == 1].tolist() == [*learner.texts[0].branches[0].question, *words]
    assert (weights_bt > 0).sum() * factor == pytest.approx(2.0)


def test_divergence_stops_the_run_and_says_what_to_do(tiny_chat, tmp_path):
    with pytest.raises(TrainError, match=r"diverged at step \d+ .* lower train.learning_rate"):
        run(tiny_chat, tmp_path, learning_rate=1e30, max_grad_norm=1e30, warmup=0.0)


def test_a_checkpoint_of_another_backend_is_not_gone_on_from(tiny_chat, tmp_path):
    run(tiny_chat, tmp_path, TorchTrainer, max_steps=1)
    with pytest.raises(TrainError, match="other settings"):
        run(tiny_chat, tmp_path, max_steps=1)


def test_questions_are_answered_on_the_way_as_the_engine_will_answer_them(undisturbed, tiny_chat, tmp_path):
    prompts = [build_messages(each.branches[0].question, each.passages) for each in HELD_OUT]
    written: list[list[str]] = []

    def watch(model: Any, tokenizer: Any) -> float:
        found = HuggingFaceEngine.over(model, tokenizer).generate(prompts, max_new_tokens=8)
        written.append([generation.text for _, generation in sorted(found, key=lambda each: each[0])])
        return len(written) / 10

    _, lines = run(tiny_chat, tmp_path, watch=watch)
    assert column(lines, "validation_f1") == [0.1, 0.2, 0.3]
    engine = HuggingFaceEngine(tiny_chat, device="cpu", dtype="float32")
    after = engine.generate(prompts, adapter=tmp_path / "adapter", max_new_tokens=8)
    assert [generation.text for _, generation in sorted(after, key=lambda each: each[0])] == written[-1] != written[0]
    same = adapter(undisturbed[0])
    assert all(np.array_equal(weight, same[name]) for name, weight in adapter(tmp_path).items())


def test_a_forecast_counts_what_a_run_then_does(undisturbed, tiny_chat):
    made = KerasTrainer(tiny_chat, **COMMON).forecast(epoch_groups, HELD_OUT)
    result = undisturbed[1]
    assert (made.steps, made.answers, made.fits) == (result.steps, result.answers, True)
    assert made.tokens == pytest.approx(result.tokens, rel=0.1)
    assert made.seconds > 0
    assert result.predicted_memory == pytest.approx(made.peak, rel=0.5)


def test_a_run_without_room_is_pointed_to_pytorch_where_that_has_room(tiny_chat, tmp_path, monkeypatch):
    made, steps = KerasTrainer(tiny_chat, **COMMON), [epoch_groups(0)]
    assert made._other_backend(steps, 1e12) == {
        "train.backend = torch": pytest.approx(TorchTrainer(tiny_chat, **COMMON).predict(steps).peak, rel=0.1)
    }
    windowed = make_checkpoint(tmp_path / "windowed", "gemma2", max_position_embeddings=4096)
    assert KerasTrainer(windowed, **COMMON)._other_backend(steps, 1e12) == {}
    monkeypatch.setattr("ragtune.train.keras.trainer.room", lambda _: 1.0)
    with pytest.raises(TrainError, match="choose a smaller model"):
        run(tiny_chat, tmp_path / "model")


def test_mixed_precision_trains_float32_adapters_on_a_bfloat16_base(tiny_chat, tmp_path):
    result, lines = run(tiny_chat, tmp_path, dtype="bfloat16")
    assert result.dtype == "bfloat16"
    assert {weight.dtype for weight in adapter(tmp_path).values()} == {np.dtype("float32")}
    assert sum(column(lines, "loss")[-3:]) < 0.9 * sum(column(lines, "loss")[:3])


def test_a_device_that_is_not_there_is_refused(tiny_chat):
    with pytest.raises(TrainError, match=r"TensorFlow has no device for model\.device = cuda:7"):
        KerasTrainer(tiny_chat, device="cuda:7")
