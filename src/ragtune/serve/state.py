"""What every request finds: the project, its answers, and who is asking."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, cast
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from ragtune.access import SCOPES, AccessStore, Key, Scope
from ragtune.project import Project
from ragtune.serve.answering import Answering
from ragtune.serve.checks import Checks
from ragtune.serve.errors import ApiError, draining
from ragtune.serve.jobs import Jobs
from ragtune.serve.limits import Limits
from ragtune.serve.metrics import Metrics
from ragtune.serve.streams import Places
from ragtune.serve.telemetry import Telemetry
from ragtune.traces.store import TraceStore

_bearer = HTTPBearer(auto_error=False, description="A key of 'ragtune keys add'; none is needed while the project has no keys.")
_header = APIKeyHeader(name="api-key", auto_error=False, description="The same key in a header of its own.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Args:
        name: of the key; ``local`` where none is needed.
        scopes: what it may do.
        access: tags of documents that it may find; ``None`` is all documents.
        requests_per_minute: at most.
        tokens_per_minute: at most.
    """

    name: str
    scopes: frozenset[Scope]
    access: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


LOCAL = Caller("local", frozenset(SCOPES))
"""Whoever asks a server on loopback whose project has no keys."""


@dataclass
class State:
    """Of a running server, as ``app.state.ragtune``.

    Args:
        project: that is served.
        access: its keys.
        answering: its answers.
        places: for answers on their way.
        traces: what was asked and answered.
        monitor: counts and times.
        checks: of groundedness, by a judge.
        jobs: child processes that change the project.
        telemetry: where spans go; ``None`` where nobody wants them.
        limits: of keys.
        draining: the server stops: nothing new is begun.
    """

    project: Project
    access: AccessStore
    answering: Answering
    places: Places
    traces: TraceStore
    monitor: Metrics
    checks: Checks
    jobs: Jobs
    telemetry: Telemetry | None = None
    limits: Limits = field(default_factory=Limits)
    draining: bool = False

    @property
    def keys_required(self) -> bool:
        """Whether every caller needs a key: there are keys, or others than this machine can reach the server, by a proxy perhaps."""
        serve = self.project.settings.serve
        reached = [serve.host, *(urlsplit(origin).hostname or "" for origin in serve.origins)]
        return self.access.required or not all(map(is_loopback, reached))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def get_state(request: Request) -> State:
    """The state of the server that a request came to."""
    return cast("State", request.app.state.ragtune)


def require(scope: Scope, *, counted: bool = False) -> Callable[..., Caller]:
    """A dependency that gives the caller, who has a scope.

    Args:
        scope: that is needed.
        counted: it is a question, which a key's limits count, and which is refused while the server stops.
    """

    def caller(  # in a thread of the pool: it reads keys.db, which another process may be writing
        state: Annotated[State, Depends(get_state)],
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        header: Annotated[str | None, Depends(_header)],
    ) -> Caller:
        if counted and state.draining:
            raise draining()
        found = _identify(state, bearer.credentials if bearer else header)
        if scope not in found.scopes:
            raise ApiError(
                403, f"the key {found.name} lacks the scope {scope}: make one with 'ragtune keys add NAME --scope {scope}'", code="scope"
            )
        if counted:
            state.limits.enter(found.name, found.requests_per_minute, found.tokens_per_minute)
        return found

    return caller


async def asked_by(
    state: Annotated[State, Depends(get_state)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> Callable[[], Caller]:
    """A dependency that tells who asks now: a key may be revoked or run out while a response still goes on."""
    return lambda: _identify(state, bearer.credentials if bearer else header)


def _identify(state: State, secret: str | None) -> Caller:
    if not state.keys_required:
        return LOCAL
    if not secret:
        raise ApiError(401, "this server needs a key: send it as 'Authorization: Bearer rt-…'", code="missing_api_key")
    key = state.access.find(secret)
    if key is None:
        raise ApiError(401, "this key is not known: it is wrong, was revoked or has expired", code="invalid_api_key")
    return _caller(key)


def _caller(key: Key) -> Caller:
    return Caller(key.name, frozenset(key.scopes), key.access, key.requests_per_minute, key.tokens_per_minute)
