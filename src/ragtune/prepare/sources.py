"""Which files to read: folders, files and globs to a sorted list of sources with stable names.

A source's name becomes its document's ``source``: the path under the ingested folder, so that it survives moving the folder; of a web page
its address (:mod:`ragtune.prepare.web`).
"""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ragtune.errors import ReadError


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a row or record hold what; where there are none of that name, the usual names count.

    Args:
        id: what follows ``#`` in its document's name.
        title: its document's title.
        text: its document's text, in this order; the other fields become metadata.
    """

    id: str | None = None
    title: str | None = None
    text: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read.

    Args:
        path: where it is now; of a member of an archive, where the archive is.
        name: POSIX path under the ingested folder; the file's name where a file was given. Unique in one :func:`find_sources`.
        data: the bytes of a member of an archive; ``None`` where the file itself is meant.
        fields: which fields hold what, for files of rows and records.
        ending: of a web page, whose address need not tell what it is; empty where the name tells. What is packed in it has its own.
    """

    path: Path
    name: str
    data: bytes | None = None
    fields: Fields = Fields()
    ending: str = ""

    @property
    def suffix(self) -> str:
        """The ending in small letters, with the dot; that of a packed tar is one: ``.tar.gz``."""
        if self.ending and self.data is None:
            return self.ending
        endings = [ending.lower() for ending in PurePosixPath(self.name).suffixes[-2:]]
        return "".join(endings) if len(endings) == 2 and endings[0] == ".tar" else endings[-1] if endings else ""

    @property
    def like(self) -> str:
        """A name with that ending, for what asks a name about its format."""
        return self.name if not self.ending else f"page{self.suffix}"

    def open(self) -> IO[bytes]:
        """A stream of its bytes."""
        return self.path.open("rb") if self.data is None else io.BytesIO(self.data)

    def read_bytes(self) -> bytes:
        """All of its bytes."""
        return self.path.read_bytes() if self.data is None else self.data


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file or folder that could not be looked at.

    Args:
        name: as a source's; ``.`` is the ingested folder itself.
        reason: why.
    """

    name: str
    reason: str

    def hides(self, source: str) -> bool:
        """Whether a source of that name may lie there unseen; a name may be preceded by the name of its root."""
        return self.name == "." or any(f"{name}/".startswith(f"{self.name}/") for name in (source, source.partition("/")[2]))


def find_sources(
    paths: Sequence[Path], on_unreadable: Callable[[Unreadable], None] | None = None, *, labelled: Sequence[Path] = ()
) -> list[Source]:
    """Find the files under folders, single files and glob patterns.

    Hidden files and folders are passed over, and so is every symbolic link that leads out of the folder it stands in.
    Where two roots give the same name, the later one's is preceded by its folder's name (and a number if that does not tell them apart).

    Args:
        paths: in the order given; the order of the result depends on it only where names clash.
        on_unreadable: called with every file and folder under them that cannot be looked at, or whose name is not Unicode.
        labelled: folders whose files' names always begin with the folder's.

    Returns:
        Sources in the order of their names.

    Raises:
        ReadError: a path does not exist or cannot be looked at, or a pattern matches nothing.
    """

    def report(name: str, reason: str) -> None:
        if on_unreadable is not None:
            on_unreadable(Unreadable(os.fsencode(name).decode("utf-8", "replace"), reason))

    named: dict[str, Source] = {}
    seen: set[Path] = set()
    for root in _expand(paths, report):
        files = _walk(root, report) if root.is_dir() else iter([(root, root.name, root.resolve())])
        for path, name, real in files:
            if real in seen:
                continue
            seen.add(real)
            name = f"{root.name}/{name}" if root in labelled else name
            name = _distinguish(name, path, root, named)
            if not _is_unicode(name):
                report(name, "its name is not valid UTF-8: rename it")
                continue
            named[name] = Source(path, name)
    return [named[name] for name in sorted(named)]


def _expand(paths: Sequence[Path], report: Callable[[str, str], None]) -> Iterator[Path]:
    for path in paths:
        try:
            there = path.exists()
        except OSError as error:
            raise ReadError(f"{path} cannot be looked at ({error.strerror or error}): check its permissions") from error
        if there:
            yield path
            continue
        pattern = str(path)
        matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []  # noqa: PTH207 - patterns may be absolute
        if not matches:
            raise ReadError(f"{path} does not exist: give a file, a folder or a quoted pattern that matches some")
        _look_into_folders(path, report)
        yield from map(Path, matches)


def _look_into_folders(pattern: Path, report: Callable[[str, str], None]) -> None:
    """Report every folder that cannot be read where a pattern may have matches: it passes over them without a word.

    Its matches are called by their file's name, so any of them may lie there: hence the name of the whole.
    """
    steps = pattern.parts
    fixed = next(i for i, step in enumerate(steps) if glob.has_magic(step))
    base = Path(*steps[:fixed])
    deepest = None if "**" in steps else len(steps) - fixed - 1

    def on_error(error: OSError) -> None:
        report(".", f"the folder {error.filename} cannot be read: {error.strerror or error}")

    for folder, folders, _ in os.walk(base, onerror=on_error, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if deepest is not None and len(Path(folder).relative_to(base).parts) >= deepest:
            folders.clear()


def _walk(root: Path, report: Callable[[str, str], None]) -> Iterator[tuple[Path, str, Path]]:
    """Files under ``root`` with their POSIX path and where they really lie; links to folders are never followed, to files only within."""
    inside = root.resolve()

    def on_error(error: OSError) -> None:
        report(Path(error.filename).relative_to(root).as_posix(), f"the folder cannot be read: {error.strerror or error}")

    for folder, folders, files in os.walk(root, onerror=on_error, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        under = Path(folder).relative_to(root)
        here, lead = inside / under, "" if under == Path() else f"{under.as_posix()}/"
        for name in sorted(files):
            path = Path(folder) / name
            try:
                # sockets, pipes and dangling links are not documents
                document = not name.startswith(".") and path.is_file()
            except OSError as error:  # a folder may be listed and yet not let its files be looked at
                report(f"{lead}{name}", f"it cannot be looked at: {error.strerror or error}")
                continue
            if not document:
                continue
            is_link = path.is_symlink()
            real = path.resolve() if is_link else here / name  # resolving each would take longer than reading it
            if not is_link or real.is_relative_to(inside):
                yield path, f"{lead}{name}", real


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _distinguish(name: str, path: Path, root: Path, taken: dict[str, Source]) -> str:
    if name not in taken:
        return name
    parent = (root if root.is_dir() else path.parent).resolve().name
    candidate = f"{parent}/{name}"
    number = 2
    while candidate in taken:
        candidate = f"{parent}-{number}/{name}"
        number += 1
    return candidate
