from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ragtune.errors import ReadError
from ragtune.prepare import Unreadable, find_sources


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def names(*paths: Path) -> list[str]:
    return [source.name for source in find_sources(paths)]


def test_a_folder_gives_paths_under_it_in_order(tmp_path: Path) -> None:
    make(tmp_path, "b.md", "a/z.txt", "a/b/c.pdf")
    assert names(tmp_path) == ["a/b/c.pdf", "a/z.txt", "b.md"]


def test_a_single_file_is_called_by_its_name(tmp_path: Path) -> None:
    make(tmp_path, "deep/one.md")
    assert names(tmp_path / "deep/one.md") == ["one.md"]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, ".git/config", "a/.DS_Store", "a/b.md")
    assert names(tmp_path) == ["a/b.md"]


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "outside/secret.md", "in/a.md", "in/sub/b.md")
    (tmp_path / "in/out.md").symlink_to(tmp_path / "outside/secret.md")
    (tmp_path / "in/folder").symlink_to(tmp_path / "outside")
    (tmp_path / "in/sub/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/gone.md").symlink_to(tmp_path / "nowhere")
    assert names(tmp_path / "in") == ["a.md", "sub/b.md"]


def test_a_link_within_the_folder_gives_its_file_once(tmp_path: Path) -> None:
    make(tmp_path, "a.md")
    (tmp_path / "b.md").symlink_to(tmp_path / "a.md")
    assert names(tmp_path) == ["a.md"]


def test_the_same_name_under_two_roots_is_told_apart(tmp_path: Path) -> None:
    make(tmp_path, "one/readme.md", "two/readme.md", "x/two/readme.md")
    assert names(tmp_path / "one", tmp_path / "two", tmp_path / "x/two") == ["readme.md", "two-2/readme.md", "two/readme.md"]
    assert names(tmp_path / "one/readme.md", tmp_path / "two/readme.md") == ["readme.md", "two/readme.md"]


def test_the_same_file_by_two_ways_is_there_once(tmp_path: Path) -> None:
    make(tmp_path, "a/b.md")
    assert names(tmp_path, tmp_path / "a/b.md", tmp_path / "a") == ["a/b.md"]


def test_a_pattern_is_expanded(tmp_path: Path) -> None:
    make(tmp_path, "a/1.md", "a/2.txt", "b/3.md")
    assert names(tmp_path / "**" / "*.md") == ["1.md", "3.md"]


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="does not exist"):
        find_sources([tmp_path / "nothing"])
    with pytest.raises(ReadError, match="does not exist"):
        find_sources([tmp_path / "*.md"])


def test_a_folder_that_cannot_be_read_is_reported_with_what_it_may_hide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/secret/b.md", "a/c.md", "secret.md")
    scandir = os.scandir

    def deny(path: Any) -> Any:
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", deny)
    found: list[Unreadable] = []
    assert [source.name for source in find_sources([tmp_path], found.append)] == ["a/c.md", "secret.md"]
    assert names(tmp_path) == ["a/c.md", "secret.md"]
    assert found == [Unreadable("a/secret", "the folder cannot be read: Permission denied")]
    hidden = ("a/secret/b.md", "a/secret/deep/b.md", "root/a/secret/b.md", "root-2/a/secret/b.md")
    assert all(found[0].hides(name) for name in hidden)
    assert not any(found[0].hides(name) for name in ("a/c.md", "a/secret.md", "secret.md", "secret/b.md"))
    assert Unreadable(".", "").hides("any.md")


@pytest.mark.parametrize(("pattern", "said"), [("**/*.md", True), ("*/*.md", True), ("*.md", False)])
def test_a_folder_that_a_pattern_cannot_look_into_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, said: bool
) -> None:
    make(tmp_path, "secret/b.md", "a/c.md", "d.md")
    scandir = os.scandir

    def deny(path: Any) -> Any:
        if Path(os.fsdecode(path)).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", deny)
    found: list[Unreadable] = []
    find_sources([tmp_path / pattern], found.append)
    expected = [Unreadable(".", f"the folder {tmp_path / 'secret'} cannot be read: Permission denied")]
    assert found == (expected if said else [])


def test_a_file_that_cannot_be_looked_at_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.md", "b.md")
    is_file = Path.is_file

    def deny(path: Path) -> bool:
        if path.name == "a.md":
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", deny)
    found: list[Unreadable] = []
    assert [source.name for source in find_sources([tmp_path], found.append)] == ["b.md"]
    assert found == [Unreadable("a.md", "it cannot be looked at: Permission denied")]


def test_a_name_that_is_not_unicode_is_reported_and_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "a.md")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md")).write_text("x")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    found: list[Unreadable] = []
    assert [source.name for source in find_sources([tmp_path], found.append)] == ["a.md"]
    assert found == [Unreadable("caf\ufffd.md", "its name is not valid UTF-8: rename it")]
