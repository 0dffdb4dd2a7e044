"""A local embedder that is loaded when it is needed: what it says before is what the loaded model says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

from safetensors.numpy import load_file, save_file

from ragtune.embed.local import LocalEmbedder
from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder
from ragtune.errors import ModelError
from ragtune.testing import check_embedder

KEPT = ".ragtune-embedder.json"
TEXTS = ["", "The mill of Calder.", "slate heron " * 400, "Ünïcode 🚠 9,5"]


def forbidden() -> Any:
    raise AssertionError("the model must not be loaded")


@pytest.fixture
def folder(tiny_embedder: Path, tmp_path: Path) -> Path:
    """A model of a minute ago."""
    copy = shutil.copytree(tiny_embedder, tmp_path / "model", ignore=shutil.ignore_patterns(KEPT))
    for path in copy.rglob("*"):
        os.utime(path, (time.time() - 60,) * 2)
    return copy


def open_embedder(folder: Path, dimensions: int | None = None) -> LocalEmbedder:
    return LocalEmbedder(folder, lambda: SentenceTransformersEmbedder(folder, device="cpu", dimensions=dimensions), dimensions)


def facts(embedder: Any) -> tuple[Any, ...]:
    return embedder.name, embedder.fingerprint, embedder.dimension, embedder.max_tokens, embedder.count_tokens(TEXTS)


def test_a_model_that_was_loaded_before_tells_and_counts_without_being_loaded(folder: Path) -> None:
    expected = facts(SentenceTransformersEmbedder(folder, device="cpu"))
    assert facts(open_embedder(folder)) == expected
    again = LocalEmbedder(folder, forbidden)
    assert facts(again) == expected
    assert (again.embed_documents([]).shape, again.embed_queries([]).shape) == ((0, 32), (0, 32))


def test_it_fulfils_the_contract_whether_it_was_loaded_before_or_not(folder: Path) -> None:
    check_embedder(lambda: open_embedder(folder))
    assert (folder / KEPT).is_file()


def test_other_weights_other_dimensions_and_another_library_are_told_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_embedder(folder)
    short = open_embedder(folder, 8)
    assert (short.dimension, short.fingerprint != whole.fingerprint) == (8, True)
    assert open_embedder(folder).fingerprint == whole.fingerprint
    weights = folder / "model.safetensors"
    save_file({name: value + 0.1 for name, value in load_file(weights).items()}, weights, metadata={"format": "pt"})
    assert open_embedder(folder).fingerprint != whole.fingerprint
    os.utime(weights, (time.time() - 30,) * 2)
    assert open_embedder(folder).fingerprint != whole.fingerprint
    monkeypatch.setattr("ragtune.embed.local.version", lambda _: "0.1")
    with pytest.raises(AssertionError, match="must not be loaded"):
        LocalEmbedder(folder, forbidden)


def test_of_a_model_that_was_written_just_now_nothing_is_kept(folder: Path) -> None:
    later = time.time() + 3600  # still just now when the model is loaded
    os.utime(folder / "config_sentence_transformers.json", (later, later))
    open_embedder(folder)
    assert not (folder / KEPT).exists()


def test_weights_that_change_behind_its_back_are_never_mixed(folder: Path) -> None:
    open_embedder(folder)
    waiting = LocalEmbedder(folder, lambda: SentenceTransformersEmbedder(folder, device="cpu"))
    weights = folder / "model.safetensors"
    save_file({name: value + 0.1 for name, value in load_file(weights).items()}, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not the one that was there before"):
        waiting.embed_documents(["a"])
    assert open_embedder(folder).fingerprint != waiting.fingerprint


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"of": 1}'])
def test_a_torn_description_is_made_again(folder: Path, damage: str) -> None:
    expected = facts(open_embedder(folder))
    (folder / KEPT).write_text(damage, encoding="utf-8")
    assert facts(open_embedder(folder)) == expected
    assert json.loads((folder / KEPT).read_text(encoding="utf-8"))["is"]["fingerprint"] == expected[1]


def test_a_tokenizer_that_counts_otherwise_than_the_model_is_not_used(folder: Path) -> None:
    open_embedder(folder)
    kept = json.loads((folder / KEPT).read_text(encoding="utf-8"))
    assert kept["is"]["counts"] is True
    plain = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    plain["normalizer"] = None
    loaded = SentenceTransformersEmbedder(folder, device="cpu")
    (folder / "tokenizer.json").write_text(json.dumps(plain), encoding="utf-8")
    os.utime(folder / "tokenizer.json", (time.time() - 60,) * 2)
    other = LocalEmbedder(folder, lambda: loaded)
    assert other.count_tokens(TEXTS) == loaded.count_tokens(TEXTS)
    assert json.loads((folder / KEPT).read_text(encoding="utf-8"))["is"]["counts"] is False


def test_a_static_model_reads_any_length(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "slate": 1, "heron": 2, "mill": 3}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu").save(str(tmp_path / "static"))
    embedder = open_embedder(tmp_path / "static")
    assert embedder.count_tokens(["slate heron", "mill " * 5000]) == [2, 5000]
    assert embedder.max_tokens > 100_000
    one, other = embedder.embed_documents(["slate heron", "heron slate"])
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_an_unchanged_project_loads_neither_torch_nor_transformers(folder: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.md").write_text("# A\n\nSlate heron.", encoding="utf-8")
    project.mkdir()
    lines = (
        f"documents = [{json.dumps(str(tmp_path / 'documents'))}]\n[prepare]\nchunk_size = 40\n[embed]\nmodel = {json.dumps(str(folder))}\n"
    )
    (project / "ragtune.toml").write_text(lines, encoding="utf-8")
    script = (
        "import sys; from ragtune import Project; project = Project(sys.argv[1]); project.ingest()\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers'} & sys.modules.keys()\n"
        "project.index(); print(sorted(heavy), sorted({'torch', 'transformers'} & sys.modules.keys()))"
    )

    def loaded() -> str:
        return subprocess.run([sys.executable, "-c", script, str(project)], capture_output=True, check=True, text=True).stdout

    loaded()
    assert loaded() == "[] []\n", "unchanged"
    (tmp_path / "documents" / "a.md").write_text("# A\n\nGrey heron.", encoding="utf-8")
    assert loaded() == "[] ['torch', 'transformers']\n", "ingest counts tokens without them, index embeds with them"
