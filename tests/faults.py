"""A server on loopback that fails in each way that a vendor's can: every request is answered by the next line of a script.

What it says follows the vendors' documented words; its whole answers are held to the vendors' SDKs by tests/chat/test_faults.py.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_SILENT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """One answer.

    ``body`` is sent as JSON, or as it is where it is text. ``events`` are sent as server-sent events instead; after them, or after half of
    the body, the socket is closed where ``cut``. ``silent``: nothing is sent, until the client goes or the server ends.
    """

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    events: tuple[object, ...] | None = None
    cut: bool = False
    silent: bool = False


@dataclass(frozen=True)
class Request:
    """What a client sent; names of headers in lower case."""

    path: str
    headers: Mapping[str, str]
    body: Any


class FaultServer:
    """A context manager; the last line of the script answers all further requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._script: list[Answer | Callable[[Request], Answer]] = []
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.root = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.root}/v1"

    def script(self, *answers: Answer | Callable[[Request], Answer]) -> None:
        """Answer so from now on; a function answers what it is asked."""
        with self._lock:
            self._script = list(answers)
            self.requests.clear()

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()

    def _next(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        return answer(request) if callable(answer) else answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        faults = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"null")
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = faults._next(Request(self.path, headers, body))
                self.close_connection = True
                if answer.silent:
                    faults._ending.wait(_SILENT_S)
                    return
                self.send_response(answer.status)
                self.send_header("Connection", "close")
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.events is None:
                    self._whole(answer)
                else:
                    self._stream(answer)
                if answer.cut:
                    self.connection.shutdown(socket.SHUT_RDWR)

            def _whole(self, answer: Answer) -> None:
                body = (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()
                if "Content-Type" not in answer.headers:
                    self.send_header("Content-Type", "text/html" if isinstance(answer.body, str) else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if answer.cut else body)
                self.wfile.flush()

            def _stream(self, answer: Answer) -> None:
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for event in answer.events or ():
                    data = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                    self.wfile.flush()
                if not answer.cut:
                    self.wfile.write(b"0\r\n\r\n")
                    self.wfile.flush()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def openai_error(
    status: int, message: str, code: str | None = None, *, param: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """An error as OpenAI's API and its like write it."""
    return Answer(
        status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}, headers=headers or {}
    )


def openai_reply(text: str | None = "Paris.", *, finish: str = "stop", refusal: str | None = None, usage: bool = True) -> Answer:
    """A chat completion; 20 tokens of prompt and 5 of answer."""
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "served-model",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "logprobs": None,
                "message": {"role": "assistant", "content": text, "refusal": refusal},
            }
        ],
    }
    if usage:
        body["usage"] = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    return Answer(body=body)


def openai_stream(
    pieces: Iterable[str] = ("Par", "is."),
    *,
    finish: str | None = "stop",
    usage: bool = True,
    cut: bool = False,
    then: Iterable[object] = (),
) -> Answer:
    """A chat completion in pieces; without ``finish`` it never says that it ended."""
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "served-model"}
    events: list[object] = [
        {**frame, "choices": [{"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}]} for piece in pieces
    ]
    events += then
    if finish is not None and not cut:
        events.append({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if usage:
            events.append({**frame, "choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}})
        events.append("[DONE]")
    return Answer(events=tuple(events), cut=cut)


def gemini_error(
    code: int, message: str, status: str, details: Iterable[object] = (), *, headers: Mapping[str, str] | None = None
) -> Answer:
    """An error as Google's APIs write it."""
    return Answer(code, {"error": {"code": code, "message": message, "status": status, "details": list(details)}}, headers=headers or {})


def gemini_body(
    text: str | None = "Paris.", *, finish: str | None = "STOP", usage: bool = True, block: str | None = None
) -> dict[str, Any]:
    """The body of a GenerateContentResponse; 20 tokens of prompt, 5 of answer and 2 of thoughts."""
    body: dict[str, Any] = {"modelVersion": "served-model", "responseId": "1"}
    if block is not None:
        body["promptFeedback"] = {"blockReason": block}
    else:
        candidate: dict[str, Any] = {"index": 0}
        if text is not None:
            candidate["content"] = {"role": "model", "parts": [{"text": text}]}
        if finish is not None:
            candidate["finishReason"] = finish
        body["candidates"] = [candidate]
    if usage:
        body["usageMetadata"] = {"promptTokenCount": 20, "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "totalTokenCount": 27}
    return body


def gemini_reply(text: str | None = "Paris.", *, finish: str | None = "STOP", usage: bool = True, block: str | None = None) -> Answer:
    """A whole answer of Gemini's."""
    return Answer(body=gemini_body(text, finish=finish, usage=usage, block=block))


def gemini_stream(
    pieces: Iterable[str] = ("Par", "is."), *, finish: str | None = "STOP", cut: bool = False, then: Iterable[object] = ()
) -> Answer:
    """An answer of Gemini's in pieces; without ``finish`` it never says that it ended."""
    events: list[object] = [gemini_body(piece, finish=None, usage=False) for piece in pieces]
    events += then
    if finish is not None and not cut:
        events.append(gemini_body("", finish=finish))
    return Answer(events=tuple(events), cut=cut)
