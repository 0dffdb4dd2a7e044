"""The process of a server: its address, its start, and its end in which running answers are finished."""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from ragtune.errors import ConfigError, CorpusError
from ragtune.project import Project
from ragtune.serve.app import create_app
from ragtune.serve.state import State, is_loopback

logger = logging.getLogger("ragtune.serve")
_CUT_SECONDS = 1
"""That answers which did not end in time have to be told so."""
_KEPT_SECONDS = 75
"""That a connection stays open for another request. Clients give theirs up sooner (httpx, on which OpenAI's SDK stands, after five seconds,
as long as uvicorn's own keeping): where both do so at once, a request is lost."""


class Server(uvicorn.Server):
    """Stops in two steps: first it refuses questions and is not ready, until the running ones are answered; then it is gone.

    Args:
        config: of uvicorn.
        state: of the app.
        drain: seconds that the first step may take.
    """

    def __init__(self, config: uvicorn.Config, state: State, drain: float) -> None:
        super().__init__(config)
        self._state = state
        self._drain = drain
        self._until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; asked once more, stop at once."""
        if self._until is not None or not self._state.places.taken:
            super().handle_exit(sig, frame)
        else:
            self._captured_signals.append(sig)
            self._until = time.monotonic() + self._drain
        self._state.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Whether it is over."""
        if self._until is not None and (not self._state.places.taken or time.monotonic() > self._until):
            self.should_exit = True
        return await super().on_tick(counter)


def serve(project: Project, model: str | None = None, ready: Callable[[str], None] = lambda _: None) -> None:
    """Serve a project until the process is told to stop.

    Args:
        project: that is served.
        model: what ``ragtune`` names.
        ready: told the address, as soon as questions are taken.

    Raises:
        ConfigError: the address cannot be listened on, or others could reach it without a key.
    """
    settings = project.settings.serve
    app = create_app(project, model)
    state: State = app.state.ragtune
    check_binding(settings.host, keys=state.access.required)
    listening = listen(settings.host, settings.port)
    try:
        _warm(state)
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEPT_SECONDS,
            timeout_graceful_shutdown=_CUT_SECONDS,
        )
        server = Server(config, state, settings.drain)
        name = f"[{settings.host}]" if ":" in settings.host else settings.host
        ready(f"http://{name}:{listening.getsockname()[1]}")
        previous = signal.getsignal(signal.SIGTERM)
        try:
            # The server raises the signal that stopped it once more, for whoever waits for it: an end by a signal is a good end here.
            signal.signal(signal.SIGTERM, lambda *_: None)
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGTERM, previous)
    finally:
        listening.close()


def check_binding(host: str, *, keys: bool) -> None:
    """Whether a server may listen on an address.

    Raises:
        ConfigError: others can reach it, and nobody would need a key.
    """
    if not is_loopback(host) and not keys:
        raise ConfigError(
            f"others can reach {host}, and the project has no keys, so anybody could read its documents: run 'ragtune keys add NAME' "
            "first, or serve on 127.0.0.1"
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: the address is taken, or none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio sends every piece at once, not with the next one, on sockets that it sees to be TCP's.
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(2048)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}): choose another with --port, or --port 0 for a free one"
        ) from None
    return listening


def _warm(state: State) -> None:
    """Load the model and the index before the first question; what is not there yet, the page or another command may bring."""
    for warning in state.answering.models.find().warnings:
        logger.warning(warning)
    try:
        with state.answering.retriever.lease() as lease:
            state.answering.retriever.compute(lambda: lease.retriever.retrieve(["What is this about?"], 1))
    except CorpusError as error:
        logger.warning("no question can be answered yet: %s", error)
