from __future__ import annotations

import io

import pytest
from rich.console import Console

from ragtune import screen


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
