"""Office files and e-books are zips of XML, and both can be made to swell when opened: a guard before any parser sees them."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import TypeAlias

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from ragtune.errors import ReadError
from ragtune.types import JSON

Properties: TypeAlias = dict[str, JSON]

_LARGEST_PART = 64 << 20  # bytes of XML once inflated; a book of 1,000 pages has about 10 MiB
_LARGEST_ARCHIVE = 512 << 20
_HIGHEST_RATIO = 200  # Word's own XML deflates 5 to 30 fold
_OLE = b"\xd0\xcf\x11\xe0"  # what Office wraps around an encrypted file
_DC = "{http://purl.org/dc/elements/1.1/}"
_CORE = {
    "title": f"{_DC}title",
    "author": f"{_DC}creator",
    "date": f"{_DC}date",
    "language": f"{_DC}language",
    "modified": "{http://purl.org/dc/terms/}modified",
}


@dataclass(frozen=True, slots=True)
class Package:
    """An opened file that has passed the guard.

    Args:
        parts: names of what is in it.
        properties: title, author, date and language, as far as it states them.
    """

    archive: zipfile.ZipFile
    parts: frozenset[str]
    properties: Properties


def open_package(data: bytes, name: str, main: str, kind: str, doctypes: bool = False) -> Package:
    """Open a zip of XML.

    Args:
        data: the whole file.
        name: of the source, for messages.
        main: a part that must be there.
        kind: what the file is meant to be, with its article.
        doctypes: whether its XML may declare a document type (XHTML does); entities it may never declare.

    Raises:
        ReadError: it is something else, locked, damaged or a trap.
    """
    if data.startswith(_OLE):
        raise ReadError(f"{name} is locked with a password, or of an old format under a new ending: save it anew, without a password")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        parts = archive.infolist()
        total = sum(part.file_size for part in parts)
        if total > _LARGEST_ARCHIVE or total > _HIGHEST_RATIO * max(len(data), 1 << 20):
            raise ReadError(f"{name} would swell from {len(data):,} to {total:,} bytes when opened: not read")
        names = frozenset(archive.namelist())
        if main not in names:
            raise ReadError(f"{name} is not {kind}: {main} is missing")
        for part in parts:
            if part.filename.endswith((".xml", ".rels", ".xhtml", ".html", ".opf", ".ncx")):
                _check_part(archive, part, name, doctypes)
        core = archive.read("docProps/core.xml") if "docProps/core.xml" in names else b""
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ReadError(f"{name} is damaged or locked with a password: {error}") from error
    return Package(archive, names, dublin_core(core))


def _check_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo, name: str, doctypes: bool) -> None:
    if part.file_size > _LARGEST_PART:
        raise ReadError(f"{name} holds {part.file_size:,} bytes of XML in {part.filename}: more than {_LARGEST_PART:,} are not read")
    forbidden = b"<!ENTITY" if doctypes else b"<!DOCTYPE"
    with archive.open(part) as stream:
        # zipfile stops at the size that the directory states, so the check above cannot be lied to; zeros are of UTF-16
        if forbidden in stream.read().replace(b"\0", b""):
            raise ReadError(f"{name} declares XML entities in {part.filename}, which no office program writes: not read")


def dublin_core(xml: bytes | str) -> Properties:
    """What a file says of itself; nothing where that cannot be read."""
    try:
        root = fromstring(xml) if xml else None
    except (ParseError, DefusedXmlException, ValueError):
        root = None
    if root is None:
        return {}
    elements = {key: root.find(f".//{tag}") for key, tag in _CORE.items()}
    found = {key: " ".join("".join(element.itertext()).split()) for key, element in elements.items() if element is not None}
    return {key: value for key, value in found.items() if value}
