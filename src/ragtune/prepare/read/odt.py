"""OpenDocument text: its elements as those of a web page, then the same Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from bs4 import BeautifulSoup
from lxml import etree

from ragtune.errors import ReadError
from ragtune.prepare.read.html import to_markdown
from ragtune.prepare.read.package import dublin_core, open_package
from ragtune.prepare.sources import Source
from ragtune.structure import first_heading
from ragtune.types import Document

_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
_TAGS = {
    f"{_TEXT}p": "p",
    f"{_TEXT}list-item": "li",
    f"{_TEXT}list-header": "li",
    f"{_TABLE}table": "table",
    f"{_TABLE}table-row": "tr",
    f"{_TABLE}table-cell": "td",
    f"{_TABLE}covered-table-cell": "td",
}
_NOT_TEXT = (
    f"{_TEXT}tracked-changes",
    f"{_TEXT}note-citation",
    f"{_TEXT}sequence-decls",
    f"{_TEXT}table-of-content",
    f"{_OFFICE}annotation",
    f"{_OFFICE}forms",
)


def read(source: Source) -> list[Document]:
    """The whole file as one document."""
    package = open_package(source.read_bytes(), source.name, "content.xml", "an OpenDocument file")
    if "META-INF/manifest.xml" in package.parts and b"encryption-data" in package.archive.read("META-INF/manifest.xml"):
        raise ReadError(f"{source.name} is locked with a password: save it without one")
    try:
        content = etree.fromstring(package.archive.read("content.xml"), etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise ReadError(f"{source.name} is damaged: {error}") from error
    body = content.find(f"{_OFFICE}body/{_OFFICE}text")
    if body is None:
        raise ReadError(f"{source.name} is not an OpenDocument text")
    numbered = {
        style.get(f"{_STYLE}name")
        for style in content.iter(f"{_TEXT}list-style")
        if style.find(f"{_TEXT}list-level-style-number[@{_TEXT}level='1']") is not None
    }
    text = to_markdown(BeautifulSoup("".join(_html(body, numbered)), "lxml"))
    metadata = dublin_core(package.archive.read("meta.xml")) if "meta.xml" in package.parts else {}
    title = metadata.get("title")
    title = title if isinstance(title, str) else first_heading(text)
    return [Document(source.name, title, text, "application/vnd.oasis.opendocument.text", metadata)]


def _html(element: etree._Element, numbered: set[str | None]) -> Iterator[str]:
    """An element's inside; the parser nests no deeper than recursion can."""
    yield escape(element.text or "")
    for child in element:
        if isinstance(child.tag, str) and child.tag not in _NOT_TEXT:
            yield from _element(child, numbered)
        yield escape(child.tail or "")


def _element(child: etree._Element, numbered: set[str | None]) -> Iterator[str]:
    match str(child.tag).removeprefix(_TEXT):
        case "s":
            yield " "
        case "tab":
            yield "\t"
        case "line-break":
            yield "<br>"
        case "note":
            yield f" ({' '.join(' '.join(child.itertext(f'{_TEXT}p', f'{_TEXT}span', with_tail=False)).split())})"
        case "h":
            level = child.get(f"{_TEXT}outline-level") or "1"
            yield from _wrapped(f"h{min(int(level), 6) if level.isdigit() else 1}", child, numbered)
        case "list":
            yield from _wrapped("ol" if child.get(f"{_TEXT}style-name") in numbered else "ul", child, numbered)
        case _:
            tag = _TAGS.get(str(child.tag))
            yield from _wrapped(tag, child, numbered) if tag else _html(child, numbered)


def _wrapped(tag: str, child: etree._Element, numbered: set[str | None]) -> Iterator[str]:
    yield f"<{tag}>"
    yield from _html(child, numbered)
    yield f"</{tag}>"
