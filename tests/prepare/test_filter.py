from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path

import pytest

from ragtune.prepare import Filters, Source, filter_sources


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    made = []
    for name, size, day in (("a.md", 5, 1), ("guides/b.pdf", 50, 2), ("guides/old/c.md", 500, 3)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        at = datetime(2026, 3, day, 12).timestamp()
        os.utime(path, (at, at))
        made.append(Source(path, name))
    return [*made, Source(tmp_path / "gone.md", "gone.md")]


@pytest.mark.parametrize(
    ("filters", "kept", "reason"),
    [
        (Filters(), ["a.md", "guides/b.pdf", "guides/old/c.md", "gone.md"], ""),
        (Filters(include=("*.md",)), ["a.md", "guides/old/c.md", "gone.md"], "no pattern of prepare.include fits"),
        (Filters(include=("guides/*",), exclude=("*/old/*",)), ["guides/b.pdf"], "prepare.exclude has */old/*"),
        (Filters(smallest=50), ["guides/b.pdf", "guides/old/c.md", "gone.md"], "5 bytes are less than prepare.smallest = 50"),
        (Filters(largest=50), ["a.md", "guides/b.pdf", "gone.md"], "500 bytes are more than prepare.largest = 50"),
        (
            Filters(modified_since=date(2026, 3, 2)),
            ["guides/b.pdf", "guides/old/c.md", "gone.md"],
            "modified on 2026-03-01, before prepare.modified_since = 2026-03-02",
        ),
    ],
)
def test_what_does_not_fit_is_left_out_with_the_reason(sources: list[Source], filters: Filters, kept: list[str], reason: str) -> None:
    wanted, left_out = filter_sources(sources, filters)
    assert [source.name for source in wanted] == kept
    assert sorted(each.source for each in left_out) == sorted({source.name for source in sources} - set(kept))
    assert not reason or reason in {each.reason for each in left_out}
