"""A project behind real HTTP on loopback."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from ragtune import Project
from ragtune.serve.app import create_app
from ragtune.serve.server import Server, listen
from ragtune.serve.state import State
from waiting import PATIENCE_S, until

QUESTION = "Who built the mill of Ardmoor?"
KEPT_OPEN_S = 3600
"""A connection that the server gives up just when a client asks again over it is an error of neither."""


@dataclass
class Served:
    """A running server."""

    url: str
    project: Project
    state: State
    server: Server

    def client(self, key: str | None = None, **options: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S, **options)


@contextlib.contextmanager
def running(project: Project, model: str | None = None) -> Iterator[Served]:
    """A server in a thread of this process."""
    app = create_app(project, model)
    state: State = app.state.ragtune
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, log_config=None, log_level="error", timeout_graceful_shutdown=1, timeout_keep_alive=KEPT_OPEN_S)
    server = Server(config, state, project.settings.serve.drain)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        until(lambda: server.started)
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", project, state, server)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        listening.close()
        assert not thread.is_alive()
