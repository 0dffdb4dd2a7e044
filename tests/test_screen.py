from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from ragtune import cli, screen
from ragtune.pipeline.records import SearchHit


def test_the_time_left_is_counted_from_where_this_sitting_began(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])
    progress = screen.LiveProgress()
    progress.start("train", 100)
    now[0] += 60  # a model was loaded
    progress.update("train", 50)  # a killed run goes on at its 50th step
    now[0] += 30
    progress.update("train", 60)
    assert "train: 60 of 100, 120 s left" in capsys.readouterr().err


def test_a_stage_that_knows_the_time_left_is_believed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [1000.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])
    progress = screen.LiveProgress()
    progress.start("train", 100)
    progress.update("train", 50, left=9000.0)
    now[0] += 30
    progress.update("train", 60, left=4000.0)
    assert "train: 60 of 100, 4000 s left" in capsys.readouterr().err


def test_a_bar_shows_the_time_left_that_its_stage_told(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(screen, "err", console)
    progress = screen.LiveProgress()
    progress.start("train", 100)
    progress.update("train", 50, left=9000.0)
    progress.update("train", 60, left=4000.0)
    assert progress._bars is not None
    progress._bars.refresh()
    progress.finish("train", "done")
    assert "1:06:40" in console.file.getvalue()


@pytest.mark.parametrize("name", ["red\x1b[31m.md", "title\x1b]0;x\x07.md", "c1\x9b2J.md", "turned\u202efdp.md"])
def test_names_of_files_steer_no_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    screen.show_hits([SearchHit(1, 1.0, name, "", 0, 4, f"text {name}")])
    screen.LiveProgress().note(f"skipped {name}")
    found = capsys.readouterr()
    for shown in (found.out, found.err):
        assert "⟨U+" in shown
        assert not set(shown) & set("\x1b\x07\x9b\u202e")


def test_an_error_steers_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["ragtune", "ingest", "gone\x1b[2J.md", "--project", str(tmp_path)])
    with pytest.raises(SystemExit):
        cli.main()
    assert "gone⟨U+001B⟩[2J.md does not exist" in capsys.readouterr().err


def test_a_terminal_is_told_what_takes_long_and_nothing_of_what_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(screen, "err", console)
    with screen.waiting("loading models"):
        pass
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
    monkeypatch.setattr(screen, "_LONG_S", 0.01)
    with screen.waiting("loading models"):
        time.sleep(0.3)
    assert "loading models …" in console.file.getvalue()  # type: ignore[attr-defined]
