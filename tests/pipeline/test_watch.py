"""Following the sources: what changes is searchable soon, and what goes wrong in one round does not end it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_sync_stateful import read_here

from ragtune import Project
from ragtune.errors import ReadError
from ragtune.pipeline import watch as watching
from ragtune.pipeline.records import WatchRound
from ragtune.pipeline.watch import FileHashes
from ragtune.progress import Silent
from ragtune.workspace import hash_file
from site_server import Page, Site
from tiny_project import PLACES, Sources, document
from waiting import PATIENCE_S

pytest.importorskip("faiss", reason="faiss is not installed")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child processes, and looks that follow each other closely."""
    monkeypatch.setattr("ragtune.pipeline.ingest.read_sources", read_here)
    monkeypatch.setattr(watching, "_EVERY_S", 0.05)


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def names(made: WatchRound, part: str = "read") -> list[str]:
    return [each.source for each in getattr(made.ingested, part)]


def put(path: Path, data: str | bytes) -> None:
    """Write a file that no look finds half written."""
    whole = path.parents[1] / path.name
    whole.write_bytes(data.encode() if isinstance(data, str) else data)
    whole.replace(path)


def later(do: Any, seconds: float = 0.2) -> None:
    threading.Timer(seconds, do).start()


def test_rounds_follow_what_is_written_changed_and_deleted(project: Path, sources: Sources) -> None:
    rounds = Project(project).watch()
    assert len(names(next(rounds))) == 8
    new = sources.documents / "new.md"
    later(lambda: put(new, document(PLACES[9], 3)))
    made = next(rounds)
    assert (names(made), made.error) == (["new.md"], None)
    assert made.indexed is not None
    assert made.indexed.embedded > 0
    assert "new.md" in {hit.source for hit in Project(project).search(f"Who built the mill of {PLACES[9]}?", 9)}
    later(lambda: put(new, document(PLACES[10], 3)))
    assert names(next(rounds)) == ["new.md"]
    later(new.unlink)
    assert names(next(rounds), "removed") == ["new.md"]
    rounds.close()  # type: ignore[attr-defined]


def test_files_that_come_one_after_the_other_are_one_round(project: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Project(project).watch()
    next(rounds)
    left = list(range(8))

    def copy(_seconds: float) -> None:
        """One between any two looks."""
        if left:
            number = left.pop()
            (sources.documents / f"new{number}.md").write_text(f"# Number {number}\n\nSlate {number}.", encoding="utf-8")

    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=copy))
    assert len(names(next(rounds))) == 8


def test_a_round_tells_what_is_new_and_one_with_nothing_new_is_none(project: Path, sources: Sources) -> None:
    notes = Notes()
    (sources.documents / "blob.bin").write_bytes(b"\0\1")
    rounds = Project(project, progress=notes).watch()
    assert names(next(rounds), "skipped") == ["blob.bin"]
    later(lambda: os.utime(sources.documents / "calder.md"))
    later(lambda: put(sources.documents / "new.md", document(PLACES[9], 3)), 1.5)
    made = next(rounds)
    assert (names(made), names(made, "skipped")) == (["new.md"], [])
    later(lambda: put(sources.documents / "other.bin", b"\0\2"))
    assert names(next(rounds), "skipped") == ["other.bin"]
    assert [note for note in notes.notes if "Ctrl-C" in note] == ["watching 1 source; Ctrl-C ends"]
    rounds.close()  # type: ignore[attr-defined]


def test_unchanged_files_are_not_even_hashed_again(project: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in sources.documents.iterdir():
        os.utime(path, (1e9, 1e9))
    hashed: list[str] = []
    monkeypatch.setattr(watching, "hash_file", lambda path: hashed.append(path.name) or hash_file(path))
    monkeypatch.setattr(watching, "_FRESH_S", -1.0)
    rounds = Project(project).watch()
    next(rounds)
    assert len(hashed) == 8
    hashed.clear()
    later(lambda: put(sources.documents / "new.md", "# New\n\nSlate."))
    next(rounds)
    assert hashed == ["new.md"]


def test_a_hash_is_not_trusted_of_a_file_that_changed_just_now(tmp_path: Path) -> None:
    hashes, path = FileHashes(), tmp_path / "a"
    path.write_bytes(b"one")
    first = hashes(path)
    about = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert hashes(path) == hash_file(path) != first


def test_what_is_wrong_in_a_later_round_is_told_and_mended_by_the_next(project: Path, sources: Sources) -> None:
    rounds = Project(project).watch()
    next(rounds)
    away = sources.documents.with_name("away")
    later(lambda: sources.documents.rename(away))
    made = next(rounds)
    assert "does not exist" in (made.error or "")
    later(lambda: away.rename(sources.documents))
    made = next(rounds)
    assert made.error is None
    assert made.ingested is not None
    assert (made.ingested.unchanged, made.ingested.removed) == (8, ())


def test_patterns_and_single_files_are_followed(project: Path, sources: Sources) -> None:
    rounds = Project(project).watch([sources.documents / "c*.md", sources.documents / "dunmere.md"])
    assert sorted(names(next(rounds))) == ["calder.md", "dunmere.md"]
    later(lambda: put(sources.documents / "copper.md", document(PLACES[9], 2)))
    assert names(next(rounds)) == ["copper.md"]
    later(lambda: put(sources.documents / "dunmere.md", document(PLACES[10], 2)))
    assert names(next(rounds)) == ["dunmere.md"]


def test_what_is_wrong_in_the_first_round_ends_it(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="does not exist"):
        next(Project(project).watch([tmp_path / "nowhere"]))


def test_a_failed_index_leaves_what_was_ingested_and_is_tried_again(
    project: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragtune.errors import CorpusError

    rounds = Project(project).watch()
    next(rounds)
    monkeypatch.setattr(watching, "_RETRY_S", 0.2)
    build = watching.build_index

    def failing(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(watching, "build_index", build)
        raise CorpusError("the disk is full")

    monkeypatch.setattr(watching, "build_index", failing)
    later(lambda: put(sources.documents / "new.md", document(PLACES[9], 3)))
    made = next(rounds)
    assert (names(made), made.error) == (["new.md"], "the disk is full")
    made = next(rounds)
    assert made.indexed is not None
    assert made.indexed.embedded > 0


def test_a_round_waits_for_another_command_and_others_run_between_rounds(project: Path, sources: Sources) -> None:
    opened = Project(project)
    rounds = opened.watch()
    next(rounds)
    assert Project(project).ingest().unchanged == 8, "no lock is held while it waits"
    with opened.workspace.lock("train"):
        later(lambda: put(sources.documents / "new.md", document(PLACES[9], 3)), 0)
        results: list[WatchRound] = []
        thread = threading.Thread(target=lambda: results.append(next(rounds)))
        thread.start()
        thread.join(1)
        assert results == []
    thread.join()
    assert names(results[0]) == ["new.md"]


@pytest.fixture
def served() -> Iterator[Site]:
    pytest.importorskip("protego", reason="protego is not installed")
    with Site() as server:
        server.pages["/a"] = Page(f"<h1>A</h1><p>{document(PLACES[9], 3)}</p>", etag='"1"')
        yield server


@pytest.mark.parametrize(("recheck", "asked"), [("0.4", True), ("0", False)])
def test_pages_are_looked_at_again_after_their_time_and_not_with_each_file(
    project: Path, sources: Sources, served: Site, recheck: str, asked: bool
) -> None:
    opened = Project(project, overrides=["web.private=true", "web.delay=0", f"web.recheck={recheck}"])
    rounds = opened.watch([str(sources.documents), served.url("/a")])
    assert len(names(next(rounds))) == 9
    served.took()
    served.pages["/a"] = Page("<h1>A</h1><p>Another text altogether.</p>", etag='"2"')
    if asked:
        made = next(rounds)
        assert (names(made), served.took()) == ([served.url("/a")], [("/a", 200)])
        return
    later(lambda: put(sources.documents / "new.md", "# New\n\nSlate."))
    made = next(rounds)
    assert (names(made), names(made, "removed"), served.took()) == (["new.md"], [], [])


def test_the_command_prints_a_line_for_each_round_and_ends_at_ctrl_c(project: Path, sources: Sources) -> None:
    command = [sys.executable, "-m", "ragtune.cli", "ingest", "--watch", "--json", "--quiet", "--project", str(project)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts) as running:
        try:
            assert running.stdout is not None
            assert json.loads(running.stdout.readline())["ingested"]["documents"] == 8
            put(sources.documents / "new.md", document(PLACES[9], 3))
            made = json.loads(running.stdout.readline())
            assert [each["source"] for each in made["ingested"]["read"]] == ["new.md"]
            running.send_signal(signal.SIGINT)
            errors = running.communicate(timeout=PATIENCE_S)[1]
        finally:
            running.kill()
    assert (running.returncode, "Traceback" in errors) == (130, False)
    assert "stopped" in errors


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has what it starts in the background ignore them
