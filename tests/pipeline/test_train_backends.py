"""Training with Keras on TensorFlow, through the commands: what it makes is a model like any other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ragtune import Project, cli
from ragtune.config import load_settings
from ragtune.errors import ConfigError, TrainError
from ragtune.pipeline.train import read_settings
from ragtune.rag import Answer
from tiny_project import write_project_with_dataset
from waiting import PATIENCE_S

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

QUICK = [
    "evaluate.arms=['base', 'tuned']", "evaluate.contexts=['retrieved']", "evaluate.max_questions=3", "train.max_answers=8",
    "model.dtype='float32'",
]  # fmt: skip


@pytest.fixture(scope="module")
def with_dataset(tmp_path_factory, tiny_chat, tiny_embedder) -> Path:
    return write_project_with_dataset(tmp_path_factory.mktemp("backends"), tiny_chat, tiny_embedder)


@pytest.fixture
def ready(with_dataset, tmp_path) -> Path:
    return shutil.copytree(with_dataset, tmp_path / "copy")


def test_a_model_that_keras_trained_is_evaluated_and_answers(ready, capsys, monkeypatch):
    pytest.importorskip("keras_hub", reason="keras-hub is not installed")
    own = [part for each in [*QUICK, "train.watch_questions=2", "train.epochs=1"] for part in ("--set", each)]
    monkeypatch.setattr("sys.argv", ["ragtune", "train", "--backend", "keras", "--project", str(ready), "--json", *own])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    made = json.loads(capsys.readouterr().out)
    folder = Path(made["folder"])
    assert sorted(path.name for path in (folder / "adapter").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line["validation_f1"] <= 1 for line in lines if "validation_f1" in line)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["figures"]["backend"], manifest["figures"]["dtype"], manifest["device"]) == ("keras", "float32", "cpu")
    assert (manifest["settings"]["train"]["backend"], manifest["settings"]["train"]["rank"]) == ("keras", 2)
    assert {"keras", "keras-hub", "tensorflow"} <= manifest["versions"].keys()
    keras = Project(ready, overrides=[*QUICK, "train.epochs=1", "train.backend='keras'"])
    assert not keras.train().made
    with_torch = Project(ready, overrides=[*QUICK, "train.epochs=1"]).train()
    assert (with_torch.made, with_torch.figures["backend"]) == (True, "torch")
    assert with_torch.figures["train_loss"] == pytest.approx(made["figures"]["train_loss"], rel=1e-3)
    assert made["figures"].keys() == with_torch.figures.keys()
    evaluation = keras.evaluate(model=made["name"], split="validation")
    assert {each.arm for each in evaluation.report.forgetting} == {"base", "tuned"}
    *_, answer = keras.ask("Who built the mill of Calder?")
    assert isinstance(answer, Answer)


def test_a_plan_for_keras_says_what_it_would_take(ready):
    pytest.importorskip("keras_hub", reason="keras-hub is not installed")
    plan = Project(ready, overrides=["train.backend='keras'", "train.epochs=1"]).plan_tuning()
    assert plan.seconds > 0
    assert plan.forecast.fits


def test_the_backend_is_no_part_of_the_keys_of_pytorchs_models(ready):
    settings = load_settings(ready, [])
    assert "backend" not in read_settings(settings)
    assert read_settings(load_settings(ready, ["train.backend=keras"])) == read_settings(settings) | {"backend": "keras"}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.method='dora'", r"train\.method = dora is PyTorch's alone: set train\.method = lora, or train with PyTorch"),
        ("train.method='full'", r"train\.method = full is PyTorch's alone"),
        ("train.gradient_checkpointing=true", r"train\.gradient_checkpointing = true is PyTorch's alone: .* train\.tokens_per_batch lower"),
        ("model.device='mps'", r"model\.device = mps is no device of TensorFlow's"),
    ],
)
def test_what_pytorch_alone_does_is_refused_before_anything_is_made(setting, said, ready):
    with pytest.raises(TrainError, match=said):
        Project(ready, overrides=["train.backend='keras'", setting]).train()
    assert not list((ready / ".ragtune").glob("models/*"))


def test_a_retriever_is_always_tuned_with_pytorch(ready, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["ragtune", "train", "--retriever", "--backend", "keras", "--project", str(ready)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "--retriever takes" in capsys.readouterr().err


def test_an_unknown_backend_is_named(ready):
    with pytest.raises(ConfigError, match=r"train\.backend"):
        Project(ready, overrides=["train.backend='jax'"])


def test_without_tensorflow_the_extra_is_named(ready):
    code = "import sys; sys.modules.update(dict.fromkeys(('keras', 'tensorflow'))); from ragtune import cli; cli.main()"
    command = [sys.executable, "-c", code, "train", "--backend", "keras", "--project", str(ready)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 2, done.stderr
    assert "run pip install 'ragtune[tensorflow]'" in " ".join(done.stderr.split())
