"""Copies of web pages in the workspace: the bytes as they were last fetched, with what the server said of them beside.

So a changed reader or setting fetches nothing, an unchanged page costs a request without a body, and where the network is gone the corpus
stays as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath

from ragtune.prepare import Source, reader_version
from ragtune.workspace import write_bytes, write_json

_ABOUT = ".about.json"
_ENDINGS = {
    "text/html": ".html",
    "application/xhtml+xml": ".xhtml",
    "application/pdf": ".pdf",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/json": ".json",
    "application/ld+json": ".json",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "application/xml": ".xml",
    "text/xml": ".xml",
    "application/epub+zip": ".epub",
    "message/rfc822": ".eml",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.oasis.opendocument.text": ".odt",
    "application/vnd.apache.parquet": ".parquet",
    "application/x-ipynb+json": ".ipynb",
    "text/plain": ".txt",
    "application/zip": ".zip",
}
_SAYS_LITTLE = ("", "text/plain", "application/zip", "application/octet-stream", "binary/octet-stream")  # of any text, or any file
_DECODED = (".html", ".xhtml", ".md", ".csv", ".tsv", ".txt")  # by readers; XML says its encoding itself


@dataclass(frozen=True, slots=True)
class Copy:
    """A page as it was last fetched.

    Args:
        url: normalised.
        file: name of the file with its bytes, beside it.
        etag: to ask with whether it changed.
        modified: the Last-Modified header, for the same.
        at: when it was fetched, in UTC.
    """

    url: str
    file: str
    etag: str | None
    modified: str | None
    at: str


class Copies:
    """The folder of copies. A copy counts while what is known of it stands beside it, which is written last and removed first.

    Args:
        folder: made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, url: str) -> Copy | None:
        """The copy of a page, where there is a whole one."""
        try:
            copy = Copy(**json.loads(self._about(url).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return copy if self.path(copy).is_file() else None

    def path(self, copy: Copy) -> Path:
        """Where its bytes are."""
        return self.folder / copy.file

    def source(self, copy: Copy) -> Source:
        """What is read: named by its address, of the format that its server and its address tell."""
        return Source(self.path(copy), copy.url, ending="".join(PurePosixPath(copy.file).suffixes))

    def put(self, copy: Copy, data: bytes) -> None:
        """Keep a page in place of what was kept of it."""
        self.drop(copy.url)
        write_bytes(self.path(copy), data)
        with contextlib.suppress(TypeError, ValueError, OverflowError, OSError):  # a date that is none
            at = parsedate_to_datetime(copy.modified or "").timestamp()
            os.utime(self.path(copy), (at, at))  # for prepare.modified_since
        write_json(self._about(copy.url), asdict(copy))

    def drop(self, url: str) -> None:
        """Remove the copy of a page."""
        self._about(url).unlink(missing_ok=True)
        for path in self.files(url):
            path.unlink()

    def files(self, url: str) -> list[Path]:
        """All files of a page's copy."""
        return list(self.folder.glob(f"{_stem(url)}.*"))

    def keep_only(self, urls: Collection[str]) -> None:
        """Remove all other copies, and what a killed run left."""
        stems = {_stem(url) for url in urls}
        for path in self.folder.glob("*"):
            if path.name.partition(".")[0] not in stems:
                path.unlink(missing_ok=True)
        for path in self.folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    def _about(self, url: str) -> Path:
        return self.folder / f"{_stem(url)}{_ABOUT}"


def is_about(path: Path) -> bool:
    """Whether a file of the folder says what a copy is, and holds nothing of the page itself."""
    return path.name.endswith(_ABOUT)


def file_name(url: str, media_type: str) -> str:
    """The name of a copy's file; its ending, by the media type and then by the address, tells which reader it gets."""
    by_name = Source(Path(), url.partition("://")[2].partition("?")[0].partition("/")[2]).suffix
    known = not reader_version(f"page{by_name}").startswith("none-")
    by_type = _ENDINGS.get(media_type)
    ending = by_name if known and (media_type in _SAYS_LITTLE or by_type is None) else by_type or by_name
    return f"{_stem(url)}{ending if ending[1:].replace('.', '').isalnum() and len(ending) < 16 else '.bin'}"


def as_utf8(data: bytes, charset: str | None, name: str) -> bytes:
    """The bytes of a text as UTF-8 where its server names another encoding that fits: no reader is told what a server said."""
    if charset is None or not name.endswith(_DECODED):
        return data
    try:
        data.decode()
    except UnicodeDecodeError:
        try:
            return data.decode(charset).encode()
        except (LookupError, ValueError):
            return data
    return data


def _stem(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]
