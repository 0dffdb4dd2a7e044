"""Word documents: mammoth to HTML, then the same Markdown as web pages get.

Behind a guard for hostile archives: a Word file is a zip of XML, and both can be made to swell when opened.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from xml.etree import ElementTree

import mammoth
from bs4 import BeautifulSoup

from ragtune.errors import ReadError
from ragtune.prepare.read.equations import write_out_equations
from ragtune.prepare.read.html import to_markdown
from ragtune.prepare.sources import Source
from ragtune.structure import first_heading
from ragtune.types import JSON, Document

_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_LARGEST_PART = 64 << 20  # bytes of XML once inflated; a book of 1,000 pages has about 10 MiB
_LARGEST_ARCHIVE = 512 << 20
_HIGHEST_RATIO = 200  # Word's own XML deflates 5 to 30 fold
_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"
_CORE = {
    "title": "{http://purl.org/dc/elements/1.1/}title",
    "author": "{http://purl.org/dc/elements/1.1/}creator",
    "language": "{http://purl.org/dc/elements/1.1/}language",
    "modified": "{http://purl.org/dc/terms/}modified",
}


def read(source: Source) -> list[Document]:
    """The whole file as one document."""
    data = source.path.read_bytes()
    metadata = _check(data, source.name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            html = mammoth.convert_to_html(
                io.BytesIO(write_out_equations(data)), style_map=_STYLES, convert_image=mammoth.images.img_element(_no_image)
            )
        text = to_markdown(BeautifulSoup(html.value, "lxml"))
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # what mammoth raises on damaged files is anything from KeyError to ExpatError
        raise ReadError(f"{source.name} is damaged: {type(error).__name__}: {error}") from error
    title = metadata.get("title")
    return [Document(source.name, first_heading(text) or (title if isinstance(title, str) else ""), text, _MEDIA_TYPE, metadata)]


def _no_image(_image: object) -> dict[str, str]:
    """Images are not embedded as data: only their alternative text is kept."""
    return {"src": ""}


def _check(data: bytes, name: str) -> dict[str, JSON]:
    """Refuse what is no Word file or a trap; give its core properties."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
            total = sum(part.file_size for part in parts)
            if total > _LARGEST_ARCHIVE or total > _HIGHEST_RATIO * max(len(data), 1 << 20):
                raise ReadError(f"{name} would swell from {len(data):,} to {total:,} bytes when opened: not read")
            for part in parts:
                if part.filename.endswith((".xml", ".rels")):
                    _check_part(archive, part, name)
            if "word/document.xml" not in archive.namelist():
                raise ReadError(f"{name} is not a Word document: word/document.xml is missing")
            core = archive.read("docProps/core.xml") if "docProps/core.xml" in archive.namelist() else b""
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ReadError(f"{name} is damaged or locked with a password: {error}") from error
    return _properties(core)


def _check_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo, name: str) -> None:
    if part.file_size > _LARGEST_PART:
        raise ReadError(f"{name} holds {part.file_size:,} bytes of XML in {part.filename}: more than {_LARGEST_PART:,} are not read")
    with archive.open(part) as stream:
        # zipfile stops at the size that the directory states, so the check above cannot be lied to; zeros are of UTF-16
        if b"<!DOCTYPE" in stream.read().replace(b"\0", b""):
            raise ReadError(f"{name} declares XML entities in {part.filename}, which Word never writes: not read")


def _properties(core: bytes) -> dict[str, JSON]:
    try:
        root = ElementTree.fromstring(core) if core else None  # noqa: S314 - no entities: _check_part has looked
    except ElementTree.ParseError:
        root = None
    if root is None:
        return {}
    found = {key: (root.findtext(tag) or "").strip() for key, tag in _CORE.items()}
    return {key: value for key, value in found.items() if value}
