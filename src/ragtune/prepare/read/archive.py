"""Archives, zip and tar: their members one after the other, in memory, within limits. Nothing is ever unpacked to a disk."""

from __future__ import annotations

import lzma
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace

from ragtune.errors import ReadError
from ragtune.prepare.sources import Source
from ragtune.types import Reason

MOST_MEMBERS = 10_000
_LARGEST_MEMBER = 256 << 20  # bytes
_LARGEST_TOTAL = 4 << 30
_HIGHEST_RATIO = 200  # text packs 3 to 30 fold


def unpack(source: Source) -> Iterator[Source | Reason]:
    """Its members, named ``archive.zip/path/within``, and why some are not read; hidden files and links are passed over.

    Raises:
        ReadError: it is damaged, or would swell beyond the limits.
    """
    seen: set[str] = set()
    for number, member in enumerate(_zip(source) if source.suffix == ".zip" else _tar(source)):
        if number >= MOST_MEMBERS:
            raise ReadError(
                f"{source.name} holds more than {MOST_MEMBERS:,} files: the others are not read, unpack it and ingest the folder"
            )
        if isinstance(member, Source) and member.name in seen:
            yield Reason(member.name, f"{source.name} holds {member.name} twice: only the first is read")
        else:
            yield member
        seen.add(member.name if isinstance(member, Source) else member.source)


def _zip(source: Source) -> Iterator[Source | Reason]:
    try:
        with source.open() as stream, zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            _check_total(sum(member.file_size for member in members), _size(source), source.name)
            for member in members:
                if not member.is_dir():
                    yield from _zip_member(source, archive, member)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise ReadError(f"{source.name} is damaged: {error}") from error


def _zip_member(source: Source, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[Source | Reason]:
    name = _name(source, member.filename)
    if isinstance(name, Reason) or name is None:
        yield from [] if name is None else [name]
    elif member.flag_bits & 1:
        yield Reason(name, f"{name} is locked with a password: unpack {source.name} and ingest the folder")
    elif member.file_size > _LARGEST_MEMBER:
        yield _too_large(name, member.file_size)
    else:
        try:
            yield replace(source, name=name, data=archive.read(member))
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, OSError) as error:
            yield Reason(name, f"{name} is damaged: {error}")


def _tar(source: Source) -> Iterator[Source | Reason]:
    total = 0
    try:
        with source.open() as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
            for member in archive:
                total += member.size
                _check_total(total, _size(source), source.name)  # before its bytes are inflated
                if not member.isreg():
                    continue
                name = _name(source, member.name)
                if isinstance(name, Reason):
                    yield name
                elif name is not None and member.size > _LARGEST_MEMBER:
                    yield _too_large(name, member.size)
                elif name is not None and (content := archive.extractfile(member)) is not None:
                    yield replace(source, name=name, data=content.read())
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise ReadError(f"{source.name} is damaged: {error}") from error


def _size(source: Source) -> int:
    return source.path.stat().st_size if source.data is None else len(source.data)


def _check_total(total: int, size: int, name: str) -> None:
    if total > _LARGEST_TOTAL or total > _HIGHEST_RATIO * max(size, 1 << 20):
        raise ReadError(f"{name} would swell from {size:,} to {total:,} bytes when unpacked: not read")


def _too_large(name: str, size: int) -> Reason:
    return Reason(name, f"{name} has {size:,} bytes: of an archive, files of at most {_LARGEST_MEMBER:,} are read")


def _name(source: Source, member: str) -> str | Reason | None:
    """A member's name as a source's; ``None`` where it is hidden."""
    path = member.replace("\\", "/")
    steps = path.split("/")
    if path.startswith("/") or ".." in steps or (len(steps[0]) == 2 and steps[0][1] == ":"):
        shown = posixpath.join(source.name, path.lstrip("/"))
        return Reason(shown, f"{path} leads out of {source.name}: not read")
    steps = [step for step in steps if step not in ("", ".")]
    if not steps or steps[0] == "__MACOSX" or any(step.startswith(".") for step in steps):
        return None
    return f"{source.name}/{'/'.join(steps)}".encode("utf-8", "replace").decode()
