"""E-books: the pages of an EPUB in reading order, each as a web page is read."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Collection
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ragtune.errors import ReadError
from ragtune.prepare.clean import RULES, Rule, clean_text
from ragtune.prepare.read.html import read_page
from ragtune.prepare.read.package import Package, dublin_core, open_package
from ragtune.prepare.sources import Source
from ragtune.types import JSON, Document

_CONTAINER = "META-INF/container.xml"


def read(source: Source, rules: Collection[Rule] = RULES, counts: Counter[str] | None = None) -> list[Document]:
    """The whole book as one document; ``page_starts`` in its metadata holds where each of its pages starts.

    Each page is cleaned by itself, by the rules that are switched on; what they did is added to the counts.
    """
    package = open_package(source.read_bytes(), source.name, _CONTAINER, "an EPUB", doctypes=True)
    try:
        root = fromstring(package.archive.read(_CONTAINER)).find(".//{*}rootfile")
        place = root.get("full-path", "") if root is not None else ""
        if place not in package.parts:
            raise ReadError(f"{source.name} is damaged: it names no book")
        opf = package.archive.read(place)
        pages = _pages(package, fromstring(opf), posixpath.dirname(place))
    except (ParseError, DefusedXmlException, ValueError, KeyError) as error:
        raise ReadError(f"{source.name} is damaged: {error}") from error
    if not pages:
        raise ReadError(f"{source.name} holds no pages")
    if _is_locked(package, pages):
        raise ReadError(f"{source.name} is locked by its seller (DRM): not read")
    cleaned = [clean_text(read_page(package.archive.read(page))[1], rules) for page in pages]
    text = ""
    starts: list[JSON] = []
    for part, made in cleaned:
        if counts is not None:
            counts.update(made)
        if not part:
            continue
        text += "\n\n" if text else ""
        starts.append(len(text))
        text += part
    metadata = dublin_core(opf)
    return [Document(source.name, str(metadata.get("title", "")), text, "application/epub+zip", metadata | {"page_starts": starts})]


def _pages(package: Package, opf: Element, folder: str) -> list[str]:
    """Parts of the book in reading order, without its table of contents."""
    items = {item.get("id"): item for item in opf.findall(".//{*}manifest/{*}item")}
    found: list[str] = []
    for ref in opf.findall(".//{*}spine/{*}itemref"):
        item = items.get(ref.get("idref"))
        if item is None or "nav" in (item.get("properties") or "").split() or "html" not in (item.get("media-type") or ""):
            continue
        name = posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))
        if name in package.parts and name not in found:
            found.append(name)
    return found


def _is_locked(package: Package, pages: list[str]) -> bool:
    name = "META-INF/encryption.xml"
    if name not in package.parts:
        return False
    listed = package.archive.read(name)
    return any(page.encode() in listed for page in pages)
