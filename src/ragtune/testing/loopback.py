"""An HTTP server on loopback whose requests can be made to fail: what a fake of a paid API stands on."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Fault:
    """How a request fails: a status with a code, or a connection cut before the work, after it, or in the middle of its answer."""

    status: int = 0
    code: str = ""
    message: str = "made to fail"
    cut: str = ""


@dataclass
class Answer:
    """What is sent back: one body, or as server-sent events the pieces of a ``stream``."""

    body: dict[str, Any]
    status: int = 200
    stream: Sequence[dict[str, Any]] = ()


class Refusal(Exception):  # noqa: N818 - an answer of the server, not a fault of it
    """A request that is answered with an error, in a body that both OpenAI's and Google's SDK understand."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code, "status": code}}


Serve = Callable[[str, str, Any, bytes], tuple[Answer, Fault | None]]
"""Method, target, headers and body of a request to an answer, and how its sending fails."""


class Loopback(ThreadingHTTPServer):
    """Listens on 127.0.0.1 in a thread of its own.

    Args:
        port: 0 takes a free one.
        serve: does what a request asks for, or raises :class:`Refusal`.
        errors: gets what goes wrong in the server itself; that a client is gone is no fault.
    """

    daemon_threads = True

    def __init__(self, port: int, serve: Serve, errors: list[BaseException]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.serve, self.errors = serve, errors
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self.shutdown()
        self.server_close()
        self._thread.join(10)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the library's
        """Keep what is wrong."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Loopback

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ARG002 - the library's
        return

    def _serve(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault: Fault | None = None
        try:
            answer, fault = self.server.serve(method, self.path, self.headers, body)
        except Refusal as refused:
            answer = Answer(refused.body, refused.status)
        cut = fault.cut if fault is not None else ""
        if cut in ("before", "after"):
            self._cut()
            return
        data = json.dumps(answer.body).encode()
        if answer.stream:
            data = "".join(f"data: {each}\n\n" for each in (*map(json.dumps, answer.stream), "[DONE]")).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/event-stream" if answer.stream else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")  # so that no client is left with an open socket
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
