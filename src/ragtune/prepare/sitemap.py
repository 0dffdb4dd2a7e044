"""What a site says of itself: sitemaps (https://www.sitemaps.org/protocol.html) and robots.txt (RFC 9309)."""

from __future__ import annotations

import io
import re
import zlib
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import defusedxml.ElementTree
from protego import Protego

from ragtune.errors import ReadError
from ragtune.prepare.web import AGENT

_ROOT = re.compile(rb"<(?:[\w.-]+:)?(urlset|sitemapindex)[\s>]")
_HEAD = 4096  # bytes in which a sitemap shows itself: a declaration, comments and style sheets stand before its root
_PACKED = b"\x1f\x8b"
_LONGEST_DELAY_S = 60.0


def unpacked(data: bytes, largest: int) -> bytes:
    """A sitemap's bytes without gzip around them.

    Raises:
        ReadError: they swell beyond ``largest`` bytes, or are damaged.
    """
    if not data.startswith(_PACKED):
        return data
    try:
        text = zlib.decompressobj(wbits=31).decompress(data, largest + 1)
    except zlib.error as error:
        raise ReadError(f"the gzip file is damaged ({error})") from None
    if len(text) > largest:
        raise ReadError(f"it unpacks to more than {largest} bytes (web.largest)")
    return text


def is_sitemap(data: bytes) -> bool:
    """Whether bytes, unpacked, are a sitemap or an index of sitemaps."""
    head = data[:_HEAD]
    found = _ROOT.search(head)
    return found is not None and b"<html" not in head[: found.start()].lower()


def listed(data: bytes) -> tuple[list[str], bool]:
    """The addresses that a sitemap lists, in its order, each once; and whether they are sitemaps themselves.

    Raises:
        ReadError: it is not well-formed.
    """
    found: dict[str, None] = {}
    index = False
    try:
        for _, element in defusedxml.ElementTree.iterparse(io.BytesIO(data), events=("end",)):
            name = _local(element)
            if name == "sitemapindex":
                index = True
            if name in ("url", "sitemap"):
                found.update(dict.fromkeys(_location(element)))
                element.clear()
    except (ParseError, defusedxml.DefusedXmlException, ValueError) as error:
        raise ReadError(f"the sitemap is not well-formed XML ({error})") from None
    return list(found), index


def _location(entry: Element) -> list[str]:
    return [place.text.strip() for place in entry if _local(place) == "loc" and place.text and place.text.strip()]


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


class Robots:
    """What a robots.txt lets ragtune do.

    Args:
        text: of the file; empty where the site has none, which allows everything.
    """

    def __init__(self, text: str = "") -> None:
        self._rules = Protego.parse(text)

    def allows(self, address: str) -> bool:
        """Whether an address may be fetched."""
        return bool(self._rules.can_fetch(address, AGENT))

    @property
    def delay_s(self) -> float:
        """Seconds that it asks for between two requests, a minute at most."""
        return min(float(self._rules.crawl_delay(AGENT) or 0), _LONGEST_DELAY_S)

    @property
    def sitemaps(self) -> list[str]:
        """Addresses of the site's sitemaps."""
        return list(self._rules.sitemaps)
