"""The list of purged sources, which no ingest takes in again: by name, and by the bytes of the file, so that another name helps nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from ragtune.errors import ProjectError
from ragtune.types import Reason
from ragtune.workspace import Workspace, write_json


@dataclass(frozen=True, slots=True)
class Entry:
    """A purged source.

    Args:
        source: of the document.
        hash: SHA-256 of its file's bytes; empty where only a part of the file was purged, or it was not known.
        at: when, in UTC.
    """

    source: str
    hash: str
    at: str


@dataclass(frozen=True, slots=True)
class Purged:
    """All of them, by source."""

    sources: Mapping[str, Entry]

    def reason(self, name: str) -> str:
        """Why a source that is on the list is left out."""
        return f"purged on {self.sources[name].at[:10]}: 'ragtune purge --undo {name}' takes it in again"

    def remove(self, hashes: dict[str, str]) -> list[Reason]:
        """Take purged files out of ``hashes``, which are by name."""
        by_hash = {entry.hash: entry for entry in self.sources.values() if entry.hash}
        reasons = []
        for name in sorted(hashes) if self.sources else ():
            entry = self.sources.get(name) or by_hash.get(hashes[name])
            if entry is not None:
                del hashes[name]
                same = "" if entry.source == name else f" as {entry.source}, which has the same bytes"
                reasons.append(Reason(name, f"purged on {entry.at[:10]}{same}: 'ragtune purge --undo {entry.source}' takes it in again"))
        return reasons


def read_purged(workspace: Workspace) -> Purged:
    """The list as it is.

    Raises:
        ProjectError: the file is damaged.
    """
    try:
        entries = [Entry(**entry) for entry in json.loads(workspace.purged.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        entries = []
    except (ValueError, TypeError) as error:
        raise ProjectError(f"{workspace.purged} is damaged ({error}): mend it, or remove it, and what was purged comes back") from None
    return Purged({entry.source: entry for entry in entries})


def write_purged(workspace: Workspace, entries: Iterable[Entry]) -> None:
    """Replace the list."""
    write_json(workspace.purged, [asdict(entry) for entry in sorted(entries, key=lambda entry: entry.source)])
