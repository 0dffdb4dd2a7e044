from __future__ import annotations

import pytest

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
