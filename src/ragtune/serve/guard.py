"""What is true of every request and response: an id, headers that protect the page, a limit of size, and from where it may come."""

from __future__ import annotations

import secrets
import time
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragtune.config.sections import ServeSettings
from ragtune.serve.errors import REQUEST_ID, ApiError, error_body, log_bug, to_http
from ragtune.serve.state import is_loopback
from ragtune.serve.streams import ClientLeftError

UPLOADS = "/api/documents"
"""The path whose requests may be as large as an upload."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_SAFE = {"GET", "HEAD", "OPTIONS"}
_METHODS = {*_SAFE, "POST", "PUT", "PATCH", "DELETE"}


class Guard:
    """ASGI middleware around the whole app.

    Args:
        app: inside of it.
        serve: host, origins and sizes are read.
    """

    def __init__(self, app: ASGIApp, serve: ServeSettings) -> None:
        self._app = app
        self._serve = serve
        own = {"localhost", "127.0.0.1", "[::1]", serve.host, f"[{serve.host}]"}
        through_proxies = {urlsplit(origin).hostname or "" for origin in serve.origins}
        self._hosts = own | through_proxies if is_loopback(serve.host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[REQUEST_ID] = id_ = f"req-{secrets.token_hex(8)}"
        status, begun = 0, time.perf_counter()

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(scope=message), scope["path"], message["status"], id_)
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, self._limited(scope, receive), with_headers)
        except ClientLeftError:
            return
        except Exception as error:
            log_bug(scope, error)
            if status:
                raise
            found = to_http(error)
            await JSONResponse(error_body(found), found.status_code, found.headers)(scope, receive, with_headers)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"  # any word is one, and each would be a series of its own
            scope["app"].state.ragtune.monitor.request(method, route, status, time.perf_counter() - begun)

    def _check(self, scope: Scope) -> None:
        """That the request was meant for this server and comes from where it may.

        A page of somewhere else can have its name lead here (DNS rebinding), and can send forms here without being asked.
        """
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] if ":" in host else host
        if self._hosts is not None and name.lower() not in self._hosts:
            raise ApiError(
                400,
                f"this server answers on its own machine alone, not as {name!r}: where a proxy stands before it, add its address to "
                "serve.origins; else set serve.host to the address to be reached by",
            )
        origin = headers.get("origin")
        if origin is None or scope["method"] in _SAFE or "authorization" in headers or "api-key" in headers:
            return
        if _place(origin) != host.lower() and origin not in self._serve.origins:
            raise ApiError(403, f"a page of {origin} may not change anything here: add it to serve.origins", code="origin")

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        upload = scope["method"] == "POST" and scope["path"] == UPLOADS
        limit = self._serve.largest_upload if upload else self._serve.largest_request
        name = "serve.largest_upload" if upload else "serve.largest_request"
        told = Headers(scope=scope).get("content-length", "")
        got = 0

        async def limited() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > limit or (told.isdecimal() and int(told) > limit):
                raise ApiError(413, f"the request is larger than {limit} bytes: send less, or raise {name}", code="too_large")
            return message

        return limited


async def check_query(request: Request) -> None:
    """That no parameter is said twice: which one would be meant?

    Raises:
        ApiError: one is.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ApiError(400, f"{twice} is given more than once: say it once", param=twice)


def _place(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _add_headers(headers: MutableHeaders, path: str, status: int, id_: str) -> None:
    headers["X-Request-Id"] = id_
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if path.startswith("/assets/") and status == 200:
        headers["Cache-Control"] = "public, max-age=31536000, immutable"  # their names change with their content
    else:
        headers.setdefault("Cache-Control", "no-store" if path.startswith(("/api/", "/v1/")) else "no-cache")
