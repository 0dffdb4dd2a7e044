"""The two streams: progress on stderr, results on stdout, with nothing in them that would steer a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ragtune.page import visible
from ragtune.types import Reason

if TYPE_CHECKING:
    pass


class _Console(Console):
    """Writes out characters that would steer the terminal: names of files, texts of documents and models' answers may hold any."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


out = _Console(highlight=False)
err = _Console(stderr=True, highlight=False)
LINES = 20
"""Of reasons that are shown."""


def show_reasons(label: str, reasons: Sequence[Reason], limit: int = LINES) -> None:
    """Sources with the reason for each; of many the first, and how many more there are."""
    for reason in reasons[:limit]:
        out.print(Text.assemble((f"  {label}: ", "yellow"), reason.line), soft_wrap=True)
    if len(reasons) > limit:
        out.print(f"  … and {len(reasons) - limit} more: --json lists them all")


def flat(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as one level of names and words, without those that are not known."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name} · ")
        elif value is not None:
            yield f"{prefix}{name}", f"{value:.4g}" if isinstance(value, float) else str(value)


def clock(seconds: float) -> str:
    """A time in the unit that fits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
