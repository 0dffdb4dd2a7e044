"""Fetch one web address within limits: of size, of time, to its own host, and to public addresses alone.

The check is made on the numeric address that is then connected to, at every hop, so that neither a redirect nor a name that resolves
differently the second time leads anywhere else. Proxies named in the environment are not used, for through one it could not be made.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import version
from urllib.parse import urljoin

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Url, parse_url

from ragtune.errors import ReadError

AGENT = "ragtune"
"""The name that rules in robots.txt are looked up for."""
USER_AGENT = f"{AGENT}/{version('ragtune')} (+https://github.com/ragtune/ragtune)"
_MOST_REDIRECTS = 5
_PIECE = 64 << 10  # bytes
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ANSWERS = frozenset({200, 304, 404, 410})
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a fetch may take.

    Args:
        largest: bytes of the answer, unpacked.
        timeout_s: wall seconds for all of it, redirects included.
        private: whether private, loopback, link-local and reserved addresses may be connected to.
    """

    largest: int
    timeout_s: float
    private: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer.

    Args:
        status: 200, 304, 404 or 410.
        data: the body of a 200, unpacked.
        media_type: in small letters, without parameters; empty where the server does not say.
        charset: that the server names, if it does.
        etag: to ask with the next time.
        modified: the Last-Modified header.
    """

    status: int
    data: bytes = b""
    media_type: str = ""
    charset: str | None = None
    etag: str | None = None
    modified: str | None = None


class RefusedError(ReadError):
    """The server answers that it does not give this (a status of 400 to 499 other than 404, 410 and 429)."""


class HostError(ReadError):
    """The host is not reached, too slow, busy (429) or failing (500 and above): it may give this another time."""


def normalise(address: str, base: str = "") -> str:
    """A web address in its one form: scheme and host in small letters, no default port, no fragment, dots resolved, the rest quoted.

    Raises:
        ReadError: it is no address of the web, or holds a user name or password, which it then does not repeat.
    """
    if "@" in address.partition("://")[2].partition("/")[0]:
        raise ReadError("a web address with a user name or password in it is not taken: leave them out")
    try:
        url = parse_url(urljoin(base, address.strip()))
    except (LocationParseError, ValueError) as error:
        raise ReadError(f"{address} is not a web address ({error})") from None
    if url.scheme not in _PORTS or not url.host:
        raise ReadError(f"{address} is not a web address: only http:// and https:// are read")
    if url.auth is not None:
        raise ReadError("a web address with a user name or password in it is not taken: leave them out")
    port = None if url.port == _PORTS[url.scheme] else url.port
    return Url(url.scheme, None, url.host, port, url.path or "/", url.query).url


def site(address: str) -> str:
    """Host, and port where it is not the scheme's own: what "the same host" means."""
    url = parse_url(address)
    return f"{url.host}:{url.port}" if url.port else str(url.host)


def fetch(
    address: str, limits: Limits, *, known: Mapping[str, str] | None = None, allow: Callable[[str], None] = lambda _address: None
) -> Fetched:
    """Fetch an address, following redirects on its own host.

    Args:
        address: normalised.
        limits: of size, time and network.
        known: headers that make the request conditional, ``If-None-Match`` and ``If-Modified-Since``.
        allow: asked before every request; raises :class:`ReadError` where it must not be made.

    Raises:
        HostError: the host cannot be reached or fails.
        RefusedError: it answers with a status that is none of :class:`Fetched`'s.
        ReadError: it is too large, or leads elsewhere.
    """
    late = threading.Event()
    cut = _Cut(limits.timeout_s, late)
    here = address
    try:
        for _ in range(_MOST_REDIRECTS + 1):
            allow(here)
            answer = _ask(here, limits, dict(known or {}), cut)
            if late.is_set():  # what was cut off may look like a whole answer
                raise TimeoutError
            if isinstance(answer, Fetched):
                return answer
            here = _follow(address, here, answer)
        raise ReadError(f"{address} redirects more than {_MOST_REDIRECTS} times")
    except (HTTPError, OSError) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise HostError(f"{address} took more than {limits.timeout_s:g} s and was stopped (web.timeout)") from None
        raise HostError(f"{address} cannot be fetched: {_plain(error)}") from None
    finally:
        cut.end()


def _follow(first: str, here: str, location: str) -> str:
    target = normalise(location, here)
    if site(target) != site(first):
        raise ReadError(f"{first} redirects to another host, {site(target)}: ingest {target} itself if you want it")
    if here.startswith("https:") and target.startswith("http:"):
        raise ReadError(f"{first} redirects from https to http, which is not followed")
    return target


def _ask(address: str, limits: Limits, headers: dict[str, str], cut: _Cut) -> Fetched | str:
    """The answer, or where it redirects to."""
    url = parse_url(address)
    connection = _connect(url, limits, cut)
    with contextlib.closing(connection):
        sent = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "gzip, deflate", **headers}
        connection.request("GET", url.request_uri, headers=sent, preload_content=False, decode_content=True)
        with contextlib.closing(connection.getresponse()) as response:
            return _answer(address, response, limits)


def _answer(address: str, response: BaseHTTPResponse, limits: Limits) -> Fetched | str:
    location = response.headers.get("Location")
    if response.status in _REDIRECTS and location:
        return location
    if response.status not in _ANSWERS:
        busy = response.status == 429 or response.status >= 500
        raise (HostError if busy else RefusedError)(f"{address} answers {response.status} {response.reason or ''}".rstrip())
    data = _body(address, response, limits) if response.status == 200 else b""
    about = Message()
    about["Content-Type"] = kind = response.headers.get("Content-Type", "")
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    return Fetched(response.status, data, about.get_content_type() if kind else "", about.get_content_charset(), etag, modified)


def _body(address: str, response: BaseHTTPResponse, limits: Limits) -> bytes:
    """Piece by piece, unpacked no further than the limit."""
    too_large = f"{address} is larger than {limits.largest} bytes (web.largest) and is not read"
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > limits.largest:
        raise ReadError(too_large)
    pieces, size = [], 0
    while piece := response.read1(_PIECE, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > limits.largest:
            raise ReadError(too_large)
    return b"".join(pieces)


class _Cut:
    """Shuts a connection when the time is up, wherever it is waiting: a server may send a byte each second for ever."""

    def __init__(self, timeout_s: float, late: threading.Event) -> None:
        self._late = late
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(timeout_s, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connected: socket.socket) -> None:
        """Cut this one; TLS takes the socket's number over, hence the copy."""
        with self._lock:
            self._drop()
            self._socket = connected.dup()
        if self._late.is_set():
            self._expire()

    def end(self) -> None:
        """All is done."""
        self._timer.cancel()
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _expire(self) -> None:
        self._late.set()
        with self._lock:
            if self._socket is not None:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return


class _Guarded(HTTPConnection):
    """Connects to addresses that are allowed, and to no others."""

    limits: Limits
    cut: _Cut

    def _new_conn(self) -> socket.socket:
        return _open(self.host, int(self.port or 0), self.limits, self.cut)


class _GuardedTls(HTTPSConnection):
    """The same with TLS."""

    limits: Limits
    cut: _Cut

    def _new_conn(self) -> socket.socket:
        return _open(self.host, int(self.port or 0), self.limits, self.cut)


def _connect(url: Url, limits: Limits, cut: _Cut) -> _Guarded | _GuardedTls:
    host, port = str(url.host).strip("[]"), url.port or _PORTS[str(url.scheme)]
    connection: _Guarded | _GuardedTls
    if url.scheme == "https":
        connection = _GuardedTls(host, port, timeout=limits.timeout_s, ssl_context=ssl.create_default_context())
    else:
        connection = _Guarded(host, port, timeout=limits.timeout_s)
    connection.limits, connection.cut = limits, cut
    return connection


def _open(host: str, port: int, limits: Limits, cut: _Cut) -> socket.socket:
    refused: Exception | None = None
    for family, kind, protocol, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        number = str(where[0]).partition("%")[0]
        if not limits.private and not is_public(number):
            named = host if host == number else f"{host} is {number}, which"
            raise ReadError(f"{named} is no public address: web.private = true allows it, for an intranet")
        connected = socket.socket(family, kind, protocol)
        connected.settimeout(limits.timeout_s)
        cut.watch(connected)
        try:
            connected.connect(where)
        except OSError as error:
            connected.close()
            refused = error
            continue
        return connected
    raise refused or OSError(f"{host} has no address")


def is_public(number: str) -> bool:
    """Whether a numeric address is one of the public internet, also where it carries an IPv4 address within."""
    address = ipaddress.ip_address(number)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        elif inner is None and address.is_reserved:
            return False
        if inner is not None:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast


def _plain(error: BaseException) -> str:
    """An error in words, without the addresses of objects that urllib3 puts into its."""
    if isinstance(error, urllib3.exceptions.ProtocolError) and error.args:
        return str(error.args[0])
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
