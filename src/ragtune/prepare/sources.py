"""Which files to read: folders, files and globs to a sorted list of sources with stable names.

A source's name becomes its document's ``source``: the path under the ingested folder, so that it survives moving the folder.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragtune.errors import ReadError


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read.

    Args:
        path: where it is now.
        name: POSIX path under the ingested folder; the file's name where a file was given. Unique in one :func:`find_sources`.
    """

    path: Path
    name: str


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """Find the files under folders, single files and glob patterns.

    Hidden files and folders are passed over, and so is every symbolic link that leads out of the folder it stands in.
    Where two roots give the same name, the later one's is preceded by its folder's name (and a number if that does not tell them apart).

    Args:
        paths: in the order given; the order of the result depends on it only where names clash.

    Returns:
        Sources in the order of their names.

    Raises:
        ReadError: a path does not exist, or a pattern matches nothing.
    """
    named: dict[str, Source] = {}
    seen: set[Path] = set()
    for root in _expand(paths):
        files = _walk(root) if root.is_dir() else iter([(root, root.name)])
        for path, name in files:
            real = path.resolve()
            if real in seen:
                continue
            seen.add(real)
            name = _distinguish(name, path, root, named)
            named[name] = Source(path, name)
    return [named[name] for name in sorted(named)]


def _expand(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.exists():
            yield path
            continue
        pattern = str(path)
        matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []  # noqa: PTH207 - patterns may be absolute
        if not matches:
            raise ReadError(f"{path} does not exist: give a file, a folder or a quoted pattern that matches some")
        yield from map(Path, matches)


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    """Files under ``root`` with their POSIX path; links to folders are never followed, links to files only within ``root``."""
    inside = root.resolve()
    for folder, folders, files in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder) / name
            if name.startswith(".") or not path.is_file():  # sockets, pipes and dangling links are not documents
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                continue
            yield path, path.relative_to(root).as_posix()


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
