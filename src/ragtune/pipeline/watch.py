"""Follow the sources: ingest and index again whenever something changes, until it is stopped.

Files are looked at, not listened to: that works on every file system, network ones too, for any number of files. A look costs what listing
them costs, so many files are looked at less often; a file's bytes are read again only where its size, times or number changed.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ragtune.config import Settings
from ragtune.errors import LockedError, RagtuneError
from ragtune.pipeline.consent import Confirm
from ragtune.pipeline.index import build_index
from ragtune.pipeline.ingest import always_sources, ingest, look_at_pages, source_paths
from ragtune.pipeline.records import IngestResult, WatchRound
from ragtune.progress import Progress, counted
from ragtune.types import Reason
from ragtune.workspace import Workspace, hash_file, now

_EVERY_S = 1.0
_SHARE = 0.1  # of the time may go into looking
_LONGEST_UNREST_S = 30.0  # files that change all the time are read in between
_RETRY_S = 60.0  # after a round that failed, though no file changed
_FRESH_S = 2.0  # a file that changed so lately may change again without other times to show for it

_State = tuple[int, int, int, int]


def watch(
    workspace: Workspace,
    settings: Settings,
    paths: Sequence[Path | str],
    progress: Progress,
    *,
    yes: bool = False,
    confirm: Confirm | None = None,
) -> Iterator[WatchRound]:
    """Bring corpus and index up to the sources, now and after each change.

    A round holds the writers' lock and no more; where another command holds it, the round waits. What is wrong in a later round is its
    result, and does not end the watch.

    Args:
        workspace: of the project.
        settings: prepare, embed, index and web are read, once.
        paths: as for :func:`ragtune.pipeline.ingest.ingest`.
        progress: told what goes on.
        yes: spend what a hosted embedder costs, up to ``chat.max_cost``.
        confirm: asked before money is spent, where ``yes`` was not said.

    Yields:
        What each round did, for ever: the first, and later ones that did something, met something new or went wrong.

    Raises:
        RagtuneError: the first round fails.
    """
    hashes = FileHashes()
    asked = -settings.web.recheck
    first = True
    known: IngestResult | None = None
    failed = False
    progress = _Once(progress)
    while True:
        roots = source_paths(workspace, settings, paths)
        seen = _look(roots)
        ask = first or (0 < settings.web.recheck <= time.monotonic() - asked)
        try:
            made = _round(workspace, settings, roots, progress, hashes, ask=ask, yes=yes, confirm=confirm)
        except RagtuneError as error:
            if first:
                raise
            made = WatchRound(now(), error=str(error))
        if ask:
            asked = time.monotonic()
        fresh = _fresh(made, known)
        if first or failed or made.error or _tells(fresh):
            yield fresh
        if first:
            named = sum(root not in always_sources(workspace) for root in roots)
            progress.note(f"watching {counted(named, 'source')}; Ctrl-C ends")
        first = False
        known, failed = made.ingested or known, made.error is not None
        due = asked + settings.web.recheck if settings.web.recheck and any(isinstance(root, str) for root in roots) else None
        retry = time.monotonic() + _RETRY_S if made.error else None
        _wait(roots, seen, min((each for each in (due, retry) if each is not None), default=None))


class _Once:
    """Says a note once, however many rounds have it."""

    def __init__(self, progress: Progress) -> None:
        self.start, self.update, self.finish = progress.start, progress.update, progress.finish
        self._note = progress.note
        self._said: set[str] = set()

    def note(self, message: str) -> None:
        """Something that the user should know, if it was not said before."""
        if message not in self._said:
            self._said.add(message)
            self._note(message)


def _fresh(made: WatchRound, known: IngestResult | None) -> WatchRound:
    """A round without what the one before had left out, too."""
    if made.ingested is None or known is None:
        return made

    def news(these: Sequence[Reason], before: Sequence[Reason]) -> tuple[Reason, ...]:
        there = set(before)
        return tuple(each for each in these if each not in there)

    done = made.ingested
    return replace(
        made,
        ingested=replace(
            done,
            skipped=news(done.skipped, known.skipped),
            left_out=news(done.left_out, known.left_out),
            duplicates=news(done.duplicates, known.duplicates),
        ),
    )


def _tells(made: WatchRound) -> bool:
    """Whether a round did something or met something new."""
    done, embedded = made.ingested, made.indexed.embedded if made.indexed else 0
    return done is None or bool(done.read or done.removed or done.retagged or done.skipped or done.left_out or done.duplicates or embedded)


class FileHashes:
    """SHA-256 of files, computed again where their size, times or number on the disk are others."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[_State, str]] = {}

    def __call__(self, path: Path) -> str:
        """The hash of a file as it is now."""
        before = _state(path)
        known = self._known.get(path)
        if known is not None and known[0] == before:
            return known[1]
        hash_ = hash_file(path)
        if _state(path) == before and time.time() - max(before[1:3]) / 1e9 > _FRESH_S:
            self._known[path] = before, hash_
        else:
            self._known.pop(path, None)
        return hash_


def _round(
    workspace: Workspace,
    settings: Settings,
    roots: Sequence[Path | str],
    progress: Progress,
    hashes: FileHashes,
    *,
    ask: bool,
    yes: bool,
    confirm: Confirm | None,
) -> WatchRound:
    waiting = False
    while True:
        try:
            with workspace.lock("ingest --watch"):
                pages = look_at_pages(workspace, settings, roots, progress, ask=ask)
                ingested = ingest(workspace, settings, roots, progress, pages=pages, hash_of=hashes)
                try:
                    indexed = build_index(workspace, settings, progress, quiet=True, yes=yes, confirm=confirm)
                except RagtuneError as error:
                    return WatchRound(now(), ingested, error=str(error))
                return WatchRound(now(), ingested, indexed)
        except LockedError as error:
            if not waiting:
                progress.note(f"{error} (this goes on by itself then)")
            waiting = True
            time.sleep(_EVERY_S)


def _wait(roots: Sequence[Path | str], seen: object, until: float | None) -> None:
    """Until the files differ from what was seen, and have come to rest; or until a time."""
    unrest = None
    last = seen
    while until is None or time.monotonic() < until:
        began = time.monotonic()
        state = _look(roots)
        took = time.monotonic() - began
        if state != seen:
            unrest = unrest or time.monotonic()
            if state == last or time.monotonic() - unrest > _LONGEST_UNREST_S:
                return
        last = state
        time.sleep(max(_EVERY_S, took / _SHARE))


def _look(roots: Sequence[Path | str]) -> dict[str, _State | None]:
    """State of every file that may be a source, and ``None`` of what cannot be looked at.

    Simpler than finding sources, and ten times as fast: what is one is for the round to say.
    """
    found: dict[str, _State | None] = {}
    for root in [str(root) for root in roots if isinstance(root, Path)]:
        there = not glob.has_magic(root) or os.path.lexists(root)
        for path in [root] if there else glob.glob(root, recursive=True):  # noqa: PTH207 - patterns may be absolute
            _look_into(path, found)
    return found


def _look_into(path: str, found: dict[str, _State | None]) -> None:
    waiting = [path]
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        found[entry.path] = _known(entry)
        except NotADirectoryError:
            found[path] = _known(Path(path))
        except OSError:
            found[path] = None


def _known(file: os.DirEntry[str] | Path) -> _State | None:
    try:
        return _state(file)
    except OSError:
        return None


def _state(file: os.DirEntry[str] | Path) -> _State:
    about = file.stat()
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino
