"""Files that clients send: under safe names into the project's ``uploads/``, each whole or not at all, none over another unasked."""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

from ragtune.errors import ConfigError

_LONGEST = 200  # bytes of a name; file systems take 255
_DEEPEST = 8
_PATH_BYTES = 1000
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?")
_UNSAFE = re.compile(r'[<>:"|?*#%\x7f]')
"""What Windows takes in no name, and ``#`` and ``%``, which part a document's name and an address."""
_LONGEST_ENDING = 20
_ASIDE = re.compile(r"\.[0-9a-f]{16}\.tmp")
_YOUNG_S = 3600.0
Outcome = Literal["saved", "unchanged", "replaced"]


def safe_name(name: str) -> str:
    """The last part of a name as a file's name that every system takes.

    Raises:
        ConfigError: nothing of it can be a name.
    """
    last = re.split(r"[/\\]", name)[-1]
    text = unicodedata.normalize("NFC", "".join(each for each in last if unicodedata.category(each)[0] != "C"))
    text = _UNSAFE.sub("_", text).strip().lstrip(".").rstrip(". ").lstrip()  # hidden files are no documents
    if not text:
        raise ConfigError(f"{name[:100]!r} has nothing that can be a file's name")
    if _DEVICES.fullmatch(text):
        text = f"_{text}"
    stem, dot, ending = text.rpartition(".")
    if not stem or len(ending) > _LONGEST_ENDING:
        stem, dot, ending = text, "", ""
    kept = stem.encode()[: _LONGEST - len(f"{dot}{ending}".encode())].decode(errors="ignore").rstrip(". ")
    return f"{kept}{dot}{ending}"


def safe_folder(folder: str) -> str:
    """A path under ``uploads/``, each part of it safe; empty is ``uploads/`` itself.

    Raises:
        ConfigError: a part cannot be a name, or there are too many.
    """
    parts = [part for part in re.split(r"[/\\]", folder) if part not in ("", ".")]
    if ".." in parts:
        raise ConfigError(f"folder {folder[:100]!r}: '..' leads out of uploads/; name a folder in it")
    safe = "/".join(map(safe_name, parts))
    if len(parts) > _DEEPEST or len(safe.encode()) > _PATH_BYTES:
        raise ConfigError(f"folder {folder[:100]!r}: take at most {_DEEPEST} folders in each other, and {_PATH_BYTES} bytes")
    return safe


def sweep(uploads: Path) -> None:
    """Delete what a killed server left of uploads and of what was removed; what is young may be another server's."""
    for path in uploads.rglob(".*.tmp"):
        if _ASIDE.fullmatch(path.name):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _YOUNG_S:
                    path.unlink()


@contextlib.contextmanager
def removed(path: Path) -> Iterator[None]:
    """A file is gone for the block, so that what begins there does not see it, and for good after it.

    An error puts it back, unless another one has taken its name meanwhile.
    """
    aside = _aside(path)
    there = True
    try:
        path.rename(aside)
    except FileNotFoundError:
        there = False
    try:
        yield
    except BaseException:
        if there:
            with contextlib.suppress(FileExistsError):
                _take_name(aside, path)
        raise
    finally:
        aside.unlink(missing_ok=True)


class NameTakenError(ConfigError):
    """A file of that name is there, with other content."""


def save(uploads: Path, folder: str, name: str, data: IO[bytes], *, replace: bool) -> tuple[str, Outcome]:
    """Write a file.

    Args:
        uploads: the project's folder for them; made where it is not there.
        folder: in it, as the client names it.
        name: as the client names it.
        data: its bytes, from their start.
        replace: write it over one of that name.

    Returns:
        Its path under the project, and what became of it.

    Raises:
        NameTakenError: there is another file of that name.
        ConfigError: it cannot have that name.
        OSError: it cannot be written.
    """
    under = safe_folder(folder)
    path = uploads / under / safe_name(name)
    shown = f"{uploads.name}/{path.relative_to(uploads).as_posix()}"
    with contextlib.suppress(FileExistsError, NotADirectoryError):
        path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.is_dir() or path.is_dir():
        raise ConfigError(f"{shown}: there is a folder of that name, or a file of a folder's: take another name")
    if not path.parent.resolve().is_relative_to(uploads.resolve()):
        raise ConfigError(f"{shown}: a link leads out of {uploads.name}/: take another folder")
    temporary = _aside(path)
    try:
        with temporary.open("xb") as file:
            shutil.copyfileobj(data, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        return shown, _put(temporary, path, shown, replace=replace)
    finally:
        temporary.unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    """A name beside a file's: hidden, so that no ingest reads it."""
    return path.with_name(f".{secrets.token_hex(8)}.tmp")


def _put(temporary: Path, path: Path, shown: str, *, replace: bool) -> Outcome:
    try:
        _take_name(temporary, path)
    except FileExistsError:
        if path.is_file() and filecmp.cmp(temporary, path, shallow=False):
            return "unchanged"
        if not replace:
            raise NameTakenError(f"{shown} is there already, with other content: send replace=true, or another name") from None
        temporary.replace(path)
        return "replaced"
    return "saved"


def _take_name(temporary: Path, path: Path) -> None:
    """Put a whole file where none is: of several that are sent at once under one name, the first has it. A rename would go over it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # the file system knows no such links
        path.open("xb").close()
        temporary.replace(path)
