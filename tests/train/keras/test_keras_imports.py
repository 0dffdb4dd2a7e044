"""TensorFlow is imported when it is asked for, and never else; and it lives with PyTorch in one process, whichever came first."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("peft", reason="peft is not installed")
pytest.importorskip("torch", reason="torch is not installed")
_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None

_TRAIN = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from made_groups import epoch_groups, group

def train(kind, name):
    made = kind(sys.argv[1], rank=2, max_steps=2, answers_per_step=4, device="cpu", dtype="float32")
    return made.train(epoch_groups, [group(20)], Path(sys.argv[2]) / name, lambda _: None).validation_loss
"""
_ABSENT = """
found = sorted({name.partition(".")[0] for name in sys.modules} & {"tensorflow", "keras", "keras_hub", "tf_keras"})
assert not found, f"imported: {found}"
"""
_SEARCH = "import sqlite3; sqlite3.connect(':memory:').execute('CREATE VIRTUAL TABLE t USING fts5(text)')\n"
_TORCH = "from ragtune.train.torch import TorchTrainer; assert train(TorchTrainer, 'torch') > 0\n"
_KERAS = "from ragtune.train.keras.trainer import KerasTrainer; assert train(KerasTrainer, 'keras') > 0\n"
WITHOUT = {
    "the package and the command's help": """
import sys
import ragtune, ragtune.cli, ragtune.project, ragtune.build
sys.argv = ["ragtune", "--help"]
try:
    ragtune.cli.main()
except SystemExit:
    pass
""",
    "training with PyTorch": _TRAIN + _TORCH,
    "serving and evaluating": _TRAIN
    + """
import ragtune.pipeline.evaluate, ragtune.pipeline.run, ragtune.serve.server
from ragtune.engine.huggingface import HuggingFaceEngine
from ragtune.prompts import build_messages
assert list(HuggingFaceEngine(Path(sys.argv[1]), device="cpu").generate([build_messages("Who?", None)], max_new_tokens=2))
""",
    "embedding": """
import sys
from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder
import ragtune.train.rankers
""",
}


def child(script: str, *arguments: object) -> None:
    here = Path(__file__).parents[1]
    command = [sys.executable, "-c", script, *map(str, arguments), str(here), str(here.parent)]
    made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert made.returncode == 0, made.stderr


@pytest.mark.skipif(not _TENSORFLOW, reason="tensorflow is not installed, so nothing could import it")
@pytest.mark.parametrize("what", WITHOUT)
def test_tensorflow_is_not_imported_by(what, tiny_chat, tmp_path):
    child(WITHOUT[what] + _ABSENT, tiny_chat, tmp_path)


@pytest.mark.skipif(not _TENSORFLOW, reason="tensorflow is not installed")
@pytest.mark.parametrize("first", ["ragtune", "tensorflow"])
def test_a_corpus_has_its_full_text_search_beside_tensorflows_sqlite(first, tmp_path):
    second = {"ragtune": "tensorflow", "tensorflow": "ragtune"}[first]
    child(f"import {first}, {second}\n{_SEARCH}", tmp_path)


@pytest.mark.skipif(not _TENSORFLOW, reason="tensorflow is not installed")
@pytest.mark.parametrize("first", [_TORCH, "import tensorflow\n"], ids=["torch first", "tensorflow first"])
def test_both_train_in_one_process(first, tiny_chat, tmp_path):
    child(_TRAIN + first + _KERAS + _TORCH, tiny_chat, tmp_path)
