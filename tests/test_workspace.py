"""Locks between processes, atomic writes, manifests and names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ragtune import workspace as module
from ragtune.errors import LockedError, ProjectError
from ragtune.workspace import Manifest, Workspace, hash_file, read_manifest, stage_key, write_bytes, write_json, write_manifest

HOLD = """
import sys, time
from pathlib import Path
from ragtune.workspace import Workspace
with Workspace(Path(sys.argv[1])).lock("train"):
    print("held", flush=True)
    time.sleep(3600)
"""
WRITE = """
import sys
from pathlib import Path
from ragtune.workspace import write_bytes
number = 0
while True:
    number += 1
    write_bytes(Path(sys.argv[1]), bytes([number % 256]) * 300_000)
    print(number, flush=True)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def manifest(name: str, key: str = "k", created: str = "2026-01-01") -> Manifest:
    return Manifest("models", name, key, {"dataset": "d"}, {"train": {"epochs": 1}}, {"loss": 0.5}, created, 1.0, {"torch": "2"})


def test_a_second_process_is_refused_and_told_who_writes(tmp_path):
    holder = start(HOLD, tmp_path)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(LockedError, match=rf"'ragtune train' \(process {holder.pid}, since 20.* UTC\)"),
            Workspace(tmp_path).lock("ingest"),
        ):
            pass
    finally:
        kill(holder)


def test_a_killed_holder_frees_the_lock(tmp_path):
    holder = start(HOLD, tmp_path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    kill(holder)
    with Workspace(tmp_path).lock("ingest"):
        assert json.loads((tmp_path / ".ragtune" / "lock.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".ragtune" / "lock.json").exists()


def test_an_error_inside_frees_the_lock(tmp_path):
    workspace = Workspace(tmp_path)
    with pytest.raises(ZeroDivisionError), workspace.lock("ingest"):
        _ = 1 / 0
    with workspace.lock("index"):
        pass


def test_a_workspace_that_cannot_be_made_is_a_project_error(tmp_path):
    (tmp_path / ".ragtune").write_text("in the way", encoding="utf-8")
    with pytest.raises(ProjectError, match="cannot be written to"), Workspace(tmp_path).lock("ingest"):
        pass


def test_a_workspace_that_may_only_be_read_is_a_project_error(tmp_path, monkeypatch):
    def refuse(path: Path, _data: bytes) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_bytes", refuse)  # the file mode does not stop a superuser, who may run this
        with pytest.raises(ProjectError, match="cannot be written to"), Workspace(tmp_path).lock("ingest"):
            pass
    with Workspace(tmp_path).lock("ingest"):
        pass


def test_the_workspace_hides_itself_from_git(tmp_path):
    with Workspace(tmp_path).lock("ingest"):
        pass
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".ragtune" / "corpus.db").write_bytes(b"x")
    assert subprocess.run(["git", "-C", str(tmp_path), "status", "--short"], check=True, capture_output=True).stdout == b""


def test_a_killed_writer_leaves_the_old_content_or_the_new(tmp_path):
    path = tmp_path / "deep" / "file"
    for writes in (1, 3, 7):
        writer = start(WRITE, path)
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < writes:
            pass
        kill(writer)
        content = path.read_bytes()
        assert len(content) == 300_000
        assert len(set(content)) == 1


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_json_is_written_as_text_that_people_can_read(tmp_path):
    write_json(tmp_path / "a.json", {"b": "Zürich", "a": [1]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "Zürich" in text
    assert text.endswith("}\n")
    assert list(json.loads(text)) == ["b", "a"]


def test_a_manifest_comes_back_as_it_was_written(tmp_path):
    assert read_manifest(tmp_path) is None
    write_manifest(tmp_path, manifest("one"))
    assert read_manifest(tmp_path) == manifest("one")


@pytest.mark.parametrize("damage", ["{", '{"kind": "models"}', '{"unknown": 1}', "[]"])
def test_a_damaged_manifest_is_an_error_that_says_what_to_do(tmp_path, damage):
    (tmp_path / "manifest.json").write_text(damage, encoding="utf-8")
    with pytest.raises(ProjectError, match=r"manifest\.json is damaged .* remove its folder"):
        read_manifest(tmp_path)


def test_the_newest_finished_artifact_is_found_and_unfinished_ones_are_not(tmp_path):
    workspace = Workspace(tmp_path)
    write_manifest(workspace.artifact("models", "b-first"), manifest("b-first", "k1", "2026-01-01"))
    write_manifest(workspace.artifact("models", "a-second"), manifest("a-second", "k2", "2026-01-02"))
    workspace.artifact("models", "unfinished").mkdir()
    assert [found.name for found in workspace.manifests("models")] == ["b-first", "a-second"]
    assert workspace.find("models", None).name == "a-second"
    assert workspace.find("models", "b-first").key == "k1"
    found = workspace.find_key("models", "k1")
    assert found is not None
    assert found.name == "b-first"
    assert workspace.find_key("models", "k3") is None
    with pytest.raises(ProjectError, match=r"no finished model named unfinished \(there are: b-first, a-second\): run 'ragtune train'"):
        workspace.find("models", "unfinished")


def test_a_missing_artifact_says_how_to_make_one(tmp_path):
    with pytest.raises(ProjectError, match="there is no finished dataset: run 'ragtune dataset'"):
        Workspace(tmp_path).find("datasets", None)


@pytest.mark.parametrize("name", ["", ".", "..", "../models", "a/b", "a\\b", ".hidden", "a\0b", "a:b", "a\nb", "a" * 300])
def test_a_name_cannot_leave_its_folder(tmp_path, name):
    with pytest.raises(ProjectError, match="cannot be a name"):
        Workspace(tmp_path).artifact("models", name)


def test_a_key_changes_with_each_part_and_with_no_order(tmp_path):
    key = stage_key("train", 1, {"a": 1, "b": 2}, {"x": "y"})
    assert key == stage_key("train", 1, {"b": 2, "a": 1}, {"x": "y"})
    others = [("index", 1, {"a": 1, "b": 2}, {"x": "y"}), ("train", 2, {"a": 1, "b": 2}, {"x": "y"})]
    others += [("train", 1, {"a": 1, "b": 3}, {"x": "y"}), ("train", 1, {"a": 1, "b": 2}, {"x": "z"})]
    assert len({key, *(stage_key(*other) for other in others)}) == 5


def test_a_files_hash_is_its_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(Path(tmp_path / "a")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
