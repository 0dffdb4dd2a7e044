"""Whole runs of a tiny model: what they write, that a kill costs nothing, and what they refuse."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft", reason="peft is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from killed_runs import CHILDREN, kill_after  # noqa: E402
from made_checkpoints import make_checkpoint  # noqa: E402
from made_groups import epoch_groups, group  # noqa: E402
from ragtune.dtype import best_dtype  # noqa: E402
from ragtune.engine.huggingface import HuggingFaceEngine  # noqa: E402
from ragtune.errors import ModelError, TrainError  # noqa: E402
from ragtune.prompts import build_messages  # noqa: E402
from ragtune.train import loop as training  # noqa: E402
from ragtune.train.learner import TorchLearner  # noqa: E402
from ragtune.train.loop import OnStep  # noqa: E402
from ragtune.train.schedule import is_averaged, learning_rate  # noqa: E402
from ragtune.train.sequences import ANSWER_TOKENS, split_steps  # noqa: E402
from ragtune.train.torch import TorchTrainer  # noqa: E402
from ragtune.types import TrainResult  # noqa: E402
from tiny_models import save_chat_model  # noqa: E402

CHILDREN.set_forkserver_preload(["ragtune.train.torch"])
HELD_OUT = [group(20, passages=(9, 1)), group(21, passages=(10,))]


def trainer(base: Path, **options) -> TorchTrainer:
    return TorchTrainer(
        base, **{"rank": 4, "alpha": 8.0, "epochs": 3, "answers_per_step": 4, "learning_rate": 5e-3, "device": "cpu"} | options
    )


def run(base: Path, output: Path, **options):
    lines: list[dict[str, float]] = []
    return trainer(base, **options).train(epoch_groups, HELD_OUT, output, lines.append), lines


def metrics(output: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def weights(output: Path):
    whole = output / "model" / "model.safetensors"
    return load_file(whole if whole.is_file() else output / "adapter" / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def undisturbed(tiny_chat, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed")
    return output, *run(tiny_chat, output)


def test_a_run_learns_and_reports(undisturbed):
    output, result, lines = undisturbed
    assert (result.answers, result.device, result.dtype) == (
        3 * 14,
        "cpu",
        "bfloat16" if best_dtype(torch.device("cpu")) == torch.bfloat16 else "float32",
    )
    assert result.steps == len(lines) == lines[0]["steps"]
    assert sum(line["loss"] for line in lines[-3:]) < 0.9 * sum(line["loss"] for line in lines[:3])
    assert result.validation_loss == lines[-1]["validation_loss"]
    assert sum("validation_loss" in line for line in lines) == 3
    assert [line["step"] for line in metrics(output)] == list(range(1, result.steps + 1))
    assert {"loss", "learning_rate", "gradient_norm", "answers", "tokens", "seconds", "answers_per_s", "epoch"} <= metrics(output)[0].keys()
    assert lines[-1]["eta_s"] == 0 < lines[0]["eta_s"]
    assert lines[-1]["tokens"] == result.tokens
    assert list((output / "tensorboard").iterdir())


def test_a_run_that_ended_and_was_not_noted_as_finished_is_not_trained_again(undisturbed, tiny_chat, tmp_path):
    output, result, _ = undisturbed
    again = Path(shutil.copytree(output, tmp_path / "again"))
    shutil.rmtree(again / "adapter")
    repeated, lines = run(tiny_chat, again)
    assert (_without_memory(repeated), lines) == (_without_memory(result), [])
    assert all(torch.equal(tensor, weights(again)[name]) for name, tensor in weights(output).items())
    assert metrics(again) == metrics(output)


def test_what_goes_on_before_the_first_step_is_told_from_its_begin_to_its_end(tiny_chat, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_PATIENCE", 1)  # a run so short is not timed otherwise
    told: dict[str, list[tuple[int, int]]] = {}

    def tell(what: str, done: int, total: int) -> None:
        told.setdefault(what, []).append((done, total))

    trainer(tiny_chat, rehearsal=1.0, max_steps=4).train(epoch_groups, HELD_OUT, tmp_path, [].append, None, tell)
    assert list(told) == ["rehearsal", "timing"]
    for steps in told.values():
        total = steps[0][1]
        assert steps == [(done, total) for done in range(total + 1)]
    told.clear()
    trainer(tiny_chat, rehearsal=1.0, max_steps=4).train(epoch_groups, HELD_OUT, tmp_path, [].append, None, tell)
    assert not told  # the texts are there, and the run is at its end


def _without_memory(result: TrainResult) -> TrainResult:
    return replace(result, predicted_memory=None, peak_memory=None)


def test_equal_runs_end_at_equal_weights_and_another_seed_elsewhere(undisturbed, tiny_chat, tmp_path):
    run(tiny_chat, tmp_path / "again")
    run(tiny_chat, tmp_path / "other", seed=1)
    first, again, other = weights(undisturbed[0]), weights(tmp_path / "again"), weights(tmp_path / "other")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


METHODS = {
    "lora": {},
    "dropout": {"dropout": 0.2},
    "dora": {"method": "dora", "dropout": 0.1},
    "rslora": {"rslora": True, "targets": ("attention",), "dropout": 0.1},
    "full": {"method": "full", "learning_rate": 1e-3},
    "averaged": {"average_checkpoints": 6},
    "stopped early": {"early_stopping": 2, "learning_rate": 0.3, "warmup": 0.0},
    "checkpointing": {"gradient_checkpointing": True, "dropout": 0.2, "dtype": "bfloat16"},
}


@pytest.mark.parametrize("kind", METHODS)
def test_a_run_that_is_killed_ends_at_the_weights_of_one_that_was_not(kind, tiny_chat, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    options = METHODS[kind]
    run(tiny_chat, tmp_path / "whole", **options)
    killed = tmp_path / "killed"
    # At three places: each child is let do some steps more than the one before, and none tidies up. A run that stops early has few.
    for more in (2, 3, 1) if len(metrics(tmp_path / "whole")) > 5 else (1, 1, 1):
        kill_after(more, _child, tiny_chat, killed, options)
        with (killed / "metrics.jsonl").open("a") as torn:
            torn.write('{"step": 9')
    run(tiny_chat, killed, **options)
    whole, resumed = weights(tmp_path / "whole"), weights(killed)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert _files(tmp_path / "whole") == _files(killed)
    wanted, given = metrics(tmp_path / "whole"), metrics(killed)
    assert [line["step"] for line in given] == [line["step"] for line in wanted]
    assert [line["loss"] for line in given] == [line["loss"] for line in wanted]
    assert given[-1]["answers"] == wanted[-1]["answers"]


def _files(output: Path) -> dict[str, bytes]:
    """What was trained, byte for byte."""
    return {str(path.relative_to(output)): path.read_bytes() for part in ("adapter", "model") for path in (output / part).glob("*")}


@pytest.mark.parametrize("method", ["lora", "dora", "full"])
def test_what_was_trained_is_what_answers(method, tiny_chat, tmp_path):
    """The engine gives the answers the likelihood that training ended at."""
    options = {"method": method, "dtype": "float32", "learning_rate": 2e-3}
    result, _ = run(tiny_chat, tmp_path, **options)
    folder = tmp_path / ("model" if method == "full" else "adapter")
    engine = HuggingFaceEngine(tiny_chat, device="cpu", dtype="float32")
    pairs = [(build_messages(branch.question, each.passages), branch.completion) for each in HELD_OUT for branch in each.branches]

    def loss(adapter: Path | None) -> float:
        return sum(nll for nll, _ in engine.nll(pairs, adapter=adapter)) / ANSWER_TOKENS / len(pairs)

    before = loss(None)
    assert loss(folder) == pytest.approx(result.validation_loss, rel=1e-4)
    assert loss(None) == before != pytest.approx(result.validation_loss, rel=1e-2)


def test_a_whole_model_is_a_model_of_its_own(tiny_chat, tmp_path):
    result, _ = run(tiny_chat, tmp_path, method="full", dtype="float32", learning_rate=1e-3)
    hardly = trainer(tmp_path / "model", dtype="float32", max_steps=1, learning_rate=1e-12)
    again = hardly.train(epoch_groups, HELD_OUT, tmp_path / "again", lambda _: None)
    assert again.validation_loss == pytest.approx(result.validation_loss, rel=1e-4)


def test_settings_of_adapters_are_refused_for_a_whole_model(tiny_chat):
    with pytest.raises(TrainError, match=r"train\.method = full has none: unset them"):
        trainer(tiny_chat, method="full", targets=("q_proj",))


def test_a_whole_model_is_trained_in_float32_with_the_kernels_of_a_gpu(tiny_chat, tmp_path, monkeypatch):
    """Its masks are float32 too, whatever format it is written in."""
    monkeypatch.setattr("ragtune.train.learner.KEPT_SCORES_BYTES", 0)  # what would be kept is computed by PyTorch's own kernels then
    result, _ = run(tiny_chat, tmp_path, method="full", dtype="bfloat16", learning_rate=1e-3)
    assert result.dtype == "bfloat16"
    assert torch.isfinite(torch.tensor(result.train_loss))


@pytest.mark.parametrize("options", [{}, {"dropout": 0.2}, {"method": "dora"}, {"method": "full"}])
def test_gradients_are_equal_where_layers_are_computed_twice(options, tiny_chat):
    gradients, losses = [], []
    for checkpointing in (False, True):
        made = trainer(tiny_chat, dtype="float32", gradient_checkpointing=checkpointing, **options)
        loaded = made.load()
        losses.append(loaded.gradients([loaded.encode(each) for each in epoch_groups(0)], 0))
        gradients.append([parameter.grad for parameter in loaded.parameters])
    assert losses[0] == losses[1]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert any(each.abs().sum() > 0 for each in gradients[0])


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(tiny_chat, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    _interrupt(tiny_chat, tmp_path)
    with pytest.raises(TrainError, match="other settings"):
        run(tiny_chat, tmp_path, learning_rate=1e-3)


def test_a_damaged_checkpoint_is_named(tiny_chat, tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(TrainError, match=r"checkpoint\.safetensors cannot be used"):
        run(tiny_chat, tmp_path)


def test_divergence_stops_the_run_and_says_what_to_do(tiny_chat, tmp_path):
    with pytest.raises(TrainError, match=r"diverged at step \d+ .* lower train.learning_rate"):
        run(tiny_chat, tmp_path, learning_rate=1e30, max_grad_norm=1e30, warmup=0.0)


@pytest.mark.parametrize(("epochs", "warmup"), [(9, 0.5), (5, 0.2)])
def test_a_loss_that_stays_far_above_its_start_stops_the_run_and_leaves_a_sound_checkpoint(
    tiny_chat, tmp_path, monkeypatch, epochs, warmup
):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    # A warm-up, so that some steps are learnt before the rate is too high.
    options = {"method": "full", "learning_rate": 10.0, "warmup": warmup, "answers_per_step": 1, "epochs": epochs}
    lines: list[dict[str, float]] = []
    with pytest.raises(
        TrainError, match=r"diverged: for 20 steps.* lower train\.learning_rate \(now 10\), .*the checkpoint in .* is from before"
    ):
        trainer(tiny_chat, **options).train(epoch_groups, [], tmp_path, lines.append)
    stopped = lines[-1]["step"]
    assert stopped < lines[-1]["steps"]
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as file:
        kept = json.loads(file.metadata()["progress"])
    assert kept["step"] <= stopped - 19
    assert kept["loss"] < 2 * kept["start"]
    assert not (tmp_path / "model").exists()


def test_a_run_that_memory_runs_out_in_says_what_to_do_and_goes_on_behind_it(undisturbed, tiny_chat, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    with monkeypatch.context() as patch:

        def gradients(learner, fed, step):
            if step == 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return real(learner, fed, step)

        real = TorchLearner.gradients
        patch.setattr(TorchLearner, "gradients", gradients)
        with pytest.raises(TrainError, match=r"train\.gradient_checkpointing = true, and run again, and it goes on from its checkpoint$"):
            run(tiny_chat, tmp_path)
        with pytest.raises(TrainError, match=r"or lower train\.tokens_per_batch, which begins another run$"):
            run(tiny_chat, tmp_path, gradient_checkpointing=True)
    _, lines = run(tiny_chat, tmp_path, gradient_checkpointing=True)
    assert lines[0]["step"] == 6
    expected = weights(undisturbed[0])
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(tmp_path).items())


def test_where_memory_runs_out_before_the_first_step_that_is_said_too(tiny_chat, tmp_path, monkeypatch):
    def refuse(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training, "_try", refuse)
    monkeypatch.setattr(training, "_PATIENCE", 1)
    with pytest.raises(TrainError, match=r"ran out, of which .* GB were thought to suffice.* and run again$"):
        run(tiny_chat, tmp_path)
    with pytest.raises(TrainError, match="ran out, of which"):
        trainer(tiny_chat).forecast(epoch_groups, HELD_OUT)


def test_a_run_that_learns_is_not_taken_for_one_that_diverges(tiny_chat, tmp_path):
    result, lines = run(tiny_chat, tmp_path, answers_per_step=1, epochs=8)
    assert result.steps == len(lines) >= 50
    assert result.predicted_seconds > 0


def train_and_look(made: TorchTrainer, output: Path):
    """The result, the lines and the weights after each step."""
    at: dict[int, dict[str, Any]] = {}
    lines: list[dict[str, float]] = []
    load = made.load

    def loaded(*arguments: Any) -> Any:
        made.now = load(*arguments)
        return made.now

    def look(line: dict[str, float]) -> None:
        lines.append(line)
        at[int(line["step"])] = {name: parameter.detach().clone() for name, parameter in made.now.trained.items()}

    made.load = loaded
    return made.train(epoch_groups, HELD_OUT, output, look), lines, at


def trained_name(name: str) -> str:
    return name.removeprefix("base_model.model.").removesuffix(".weight")


def test_weights_of_the_end_are_averaged(tiny_chat, tmp_path):
    result, lines, at = train_and_look(trainer(tiny_chat, average_checkpoints=3, dtype="float32"), tmp_path)
    last = [at[step] for step in range(result.steps - 2, result.steps + 1)]
    for name, tensor in weights(tmp_path).items():
        assert torch.allclose(tensor, sum(each[trained_name(name)] for each in last) / 3, atol=1e-7)
        assert not torch.equal(tensor, at[result.steps][trained_name(name)])
    assert result.validation_loss != lines[-1]["validation_loss"]


def test_a_run_stops_when_the_validation_loss_no_longer_falls_and_gives_the_weights_of_the_lowest(tiny_chat, tmp_path):
    made = trainer(tiny_chat, early_stopping=2, learning_rate=0.3, warmup=0.0, dtype="float32")
    result, lines, at = train_and_look(made, tmp_path)
    measured = {int(line["step"]): line["validation_loss"] for line in lines if "validation_loss" in line}
    best = min(measured, key=measured.__getitem__)
    assert result.steps == lines[-1]["step"] == [step for step in measured if step > best][1] < lines[-1]["steps"]
    assert (result.best_step, result.validation_loss) == (best, measured[best])
    assert all(torch.equal(tensor, at[best][trained_name(name)]) for name, tensor in weights(tmp_path).items())


def test_a_run_whose_validation_loss_falls_goes_to_its_end(tiny_chat, tmp_path):
    result, lines = run(tiny_chat, tmp_path, early_stopping=1)
    assert result.best_step == result.steps == lines[-1]["steps"]
    assert len([line for line in lines if "validation_loss" in line]) == min(10, result.steps)


def test_stopping_early_needs_something_to_validate_and_no_mean(tiny_chat, tmp_path):
    with pytest.raises(TrainError, match="needs validation questions"):
        trainer(tiny_chat, early_stopping=1).train(epoch_groups, [], tmp_path, lambda _: None)
    with pytest.raises(TrainError, match="set one to 0"):
        trainer(tiny_chat, early_stopping=1, average_checkpoints=2).train(epoch_groups, HELD_OUT, tmp_path, lambda _: None)


def test_which_weights_are_averaged():
    assert [step for step in range(1, 101) if is_averaged(step, 100, 3)] == [90, 95, 100]
    assert [step for step in range(1, 6) if is_averaged(step, 5, 9)] == [1, 2, 3, 4, 5]
    assert not any(is_averaged(step, 100, 0) for step in range(1, 101))


def test_questions_are_answered_on_the_way_as_the_engine_will_answer_them(tiny_chat, tmp_path):
    prompts = [build_messages(each.branches[0].question, each.passages) for each in HELD_OUT]
    written: list[list[str]] = []

    def watch(model: Any, tokenizer: Any) -> float:
        engine = HuggingFaceEngine.over(model, tokenizer)
        written.append([each.text for _, each in sorted(engine.generate(prompts, max_new_tokens=8), key=itemgetter(0))])
        return len(written) / 10

    lines: list[dict[str, float]] = []
    options = {"dtype": "float32", "dropout": 0.2}
    trainer(tiny_chat, **options).train(epoch_groups, HELD_OUT, tmp_path / "watched", lines.append, watch)
    assert [line["validation_f1"] for line in lines if "validation_f1" in line] == [0.1, 0.2, 0.3]
    assert [line["validation_f1"] for line in metrics(tmp_path / "watched") if "validation_f1" in line] == [0.1, 0.2, 0.3]
    engine = HuggingFaceEngine(tiny_chat, device="cpu", dtype="float32")
    after = engine.generate(prompts, adapter=tmp_path / "watched" / "adapter", max_new_tokens=8)
    assert [each.text for _, each in sorted(after, key=itemgetter(0))] == written[-1] != written[0]
    # Nobody who only watches changes anything.
    run(tiny_chat, tmp_path / "alone", **options)
    assert _files(tmp_path / "watched") == _files(tmp_path / "alone")


def test_a_text_longer_than_the_window_of_all_layers_is_refused(tmp_path):
    base = make_checkpoint(tmp_path / "base", "mistral", max_position_embeddings=4096, sliding_window=2048)
    assert run(base, tmp_path / "fits", max_steps=1)[0].steps == 1
    narrow = make_checkpoint(tmp_path / "narrow", "mistral", max_position_embeddings=4096, sliding_window=64)
    with pytest.raises(TrainError, match="the model sees 64 at once"):
        run(narrow, tmp_path / "model")


def test_what_does_not_fit_the_model_is_named(tiny, tmp_path):
    long = group(1, passages=tuple(range(100)))
    with pytest.raises(TrainError, match=r"question q1 needs \d+ tokens .* the model sees 1024 at once: lower retrieve.k"):
        trainer(tiny).train(lambda _: [long], [], tmp_path, lambda _: None)


def test_an_empty_dataset_is_refused(tiny_chat, tmp_path):
    with pytest.raises(TrainError, match="nothing to train on"):
        trainer(tiny_chat).train(lambda _: [], [], tmp_path, lambda _: None)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded"):
        trainer(tmp_path).answers_per_second([group(1)])


def test_a_damaged_setting_of_a_model_is_named(tmp_path):
    folder = save_chat_model(tmp_path / "model")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hidden_size": "wide"}))
    with pytest.raises(ModelError, match=r"cannot be loaded \(.*'hidden_size' expected int, got str"):
        trainer(folder).answers_per_second([group(1)])
    with pytest.raises(ModelError, match=r"cannot load model .*'hidden_size' expected int"):
        HuggingFaceEngine(folder, device="cpu")


def test_a_run_without_validation_has_no_validation_loss(tiny_chat, tmp_path):
    result = trainer(tiny_chat, max_steps=2).train(epoch_groups, [], tmp_path, lambda _: None)
    assert (result.steps, result.validation_loss) == (2, None)


def test_the_rate_of_training_is_measured(tiny_chat):
    assert trainer(tiny_chat).answers_per_second(epoch_groups(0), seconds=0.1) > 0


def test_steps_take_whole_groups_and_no_step_is_a_stub():
    groups = [group(*range(size)) for size in (1, 1, 1, 1, 3, 3, 12, 1, 4, 1)]
    sizes = [[len(each.branches) for each in step] for step in split_steps(groups, 4)]
    assert sizes == [[1, 1, 1, 1], [3, 3], [12, 1], [4, 1]]
    assert [len(step) for step in split_steps([group(1) for _ in range(9)], 4)] == [4, 5]


def test_the_rate_rises_then_falls_to_nothing():
    rates = [learning_rate(step, 100, 1.0, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.001
    assert not any(map(math.isnan, (learning_rate(0, 1, 1.0, 0.0), learning_rate(1, 2, 1.0, 1.0))))


class _StopError(Exception):
    pass


def _interrupt(base: Path, output: Path) -> None:
    """Leave a run after its second step, its checkpoint of the first in place."""

    def stop(line: dict[str, float]) -> None:
        if line["step"] == 2:
            raise _StopError

    with pytest.raises(_StopError):
        trainer(base).train(epoch_groups, HELD_OUT, output, stop)


def _child(base: Path, output: Path, options: dict[str, Any], on_step: OnStep) -> None:
    torch.set_num_threads(1)
    trainer(base, **options).train(epoch_groups, HELD_OUT, output, on_step)
