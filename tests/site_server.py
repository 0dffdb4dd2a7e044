"""A web site on loopback: pages by path, with what was asked of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Page:
    """What a path answers; ``write``, where given, sends the body itself. An ``etag`` is compared, and a 304 sent where it fits."""

    body: bytes | str = b""
    kind: str = "text/html"
    status: int = 200
    etag: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    write: Callable[[Any], None] | None = None

    @property
    def data(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else self.body


class Site(ThreadingHTTPServer):
    """Serves ``pages`` while it is a context; what is not there is a 404."""

    daemon_threads = True

    def __init__(self, **pages: Page) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, int]] = []
        self.agents: set[str] = set()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def took(self) -> list[tuple[str, int]]:
        """What was asked since the last call: paths with the status that each got, robots.txt left out."""
        asked, self.asked = self.asked, []
        return [each for each in asked if each[0] != "/robots.txt"]

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(10)

    def handle_error(self, request: Any, client_address: Any) -> None:
        return  # that a client hangs up is what some tests are about


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path, Page("not here", status=404))
        self.server.agents.add(self.headers.get("User-Agent", ""))
        status = 304 if page.etag and self.headers.get("If-None-Match") == page.etag else page.status
        self.server.asked.append((self.path, status))
        self.send_response(status)
        if page.kind:
            self.send_header("Content-Type", page.kind)
        if page.etag:
            self.send_header("ETag", page.etag)
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        if page.write is None and "Content-Length" not in page.headers:
            self.send_header("Content-Length", str(len(page.data) if status != 304 else 0))
        self.end_headers()
        if page.write is not None:
            page.write(self)
        elif status != 304:
            self.wfile.write(page.data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's
        return
