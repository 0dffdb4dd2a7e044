"""Leave files out by path, size and age, before they are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase

from ragtune.prepare.sources import Source
from ragtune.types import Reason


@dataclass(frozen=True, slots=True)
class Filters:
    """Which files are wanted.

    Args:
        include: patterns of paths, of which one must fit; empty: any path does. ``*`` passes folders, too.
        exclude: patterns of which none may fit.
        smallest: bytes.
        largest: bytes; ``None``: any size.
        modified_since: day in local time; ``None``: any.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    smallest: int = 0
    largest: int | None = None
    modified_since: date | None = None

    def refuses_name(self, name: str) -> str | None:
        """Why a source of that name is left out whatever it holds, ``None`` where it is not."""
        if self.include and not any(fnmatchcase(name, pattern) for pattern in self.include):
            return "no pattern of prepare.include fits"
        return next((f"prepare.exclude has {pattern}" for pattern in self.exclude if fnmatchcase(name, pattern)), None)

    def refuses(self, source: Source) -> str | None:
        """Why a file is left out, ``None`` where it is wanted, or cannot be looked at, which is for the reader to say."""
        if reason := self.refuses_name(source.name):
            return reason
        if not self.smallest and self.largest is None and self.modified_since is None:
            return None
        try:
            found = source.path.stat()
        except OSError:
            return None
        if found.st_size < self.smallest:
            return f"{found.st_size} bytes are less than prepare.smallest = {self.smallest}"
        if self.largest is not None and found.st_size > self.largest:
            return f"{found.st_size} bytes are more than prepare.largest = {self.largest}"
        modified = datetime.fromtimestamp(found.st_mtime).astimezone().date()
        if self.modified_since is not None and modified < self.modified_since:
            return f"modified on {modified}, before prepare.modified_since = {self.modified_since}"
        return None


def filter_sources(sources: Iterable[Source], filters: Filters) -> tuple[list[Source], list[Reason]]:
    """The files that are wanted, and the others with the reason."""
    wanted, left_out = [], []
    for source in sources:
        reason = filters.refuses(source)
        if reason is None:
            wanted.append(source)
        else:
            left_out.append(Reason(source.name, reason))
    return wanted, left_out
