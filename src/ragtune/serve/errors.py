"""Every error as OpenAI's clients read it: a status, and ``{"error": {...}}`` with what happened and what to do."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import Scope

from ragtune.errors import (
    BusyError,
    ChatError,
    ContextOverflowError,
    CorpusError,
    KeyRefusedError,
    LateError,
    LockedError,
    MissingExtraError,
    ModelError,
    NoSuchModelError,
    QuotaError,
    RagtuneError,
    RateLimitError,
    RefusalError,
    SchemaError,
    SpendingCapError,
    UnreachableError,
)
from ragtune.serve.records import ErrorBody, ErrorDetail

logger = logging.getLogger("ragtune.serve")

REQUEST_ID = "ragtune.request"
"""Where the scope of a request holds its id."""

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_STATUSES: tuple[tuple[type[RagtuneError], int, str], ...] = (
    (BusyError, 429, "queue_full"),
    (RateLimitError, 429, "rate_limit_exceeded"),
    (QuotaError, 429, "insufficient_quota"),
    (SpendingCapError, 429, "spending_cap_reached"),
    (NoSuchModelError, 404, "model_not_found"),
    (KeyRefusedError, 403, "model_not_offered"),
    (ContextOverflowError, 400, "context_length_exceeded"),
    (SchemaError, 400, "invalid_schema"),
    (RefusalError, 400, "content_filter"),
    (LateError, 504, "timeout"),
    (UnreachableError, 502, "no_answer"),
    (ChatError, 502, "model_failed"),
    (LockedError, 409, "locked"),
    (CorpusError, 409, "not_ready"),
    (ModelError, 409, "model_not_ready"),
    (MissingExtraError, 409, "not_installed"),
)


class ApiError(HTTPException):
    """An error of a request, by status.

    Args:
        status: of HTTP.
        message: what happened and what to do.
        code: for programs.
        param: the field that is wrong.
        retry_after: seconds after which to ask again.
    """

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, retry_after: float | None = None
    ) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(status, message, headers)
        self.code = code
        self.param = param


def draining() -> ApiError:
    """What new questions are told while the server stops."""
    return ApiError(503, "the server is stopping: ask again in a moment", code="draining", retry_after=5)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a path for OpenAPI, besides those that all have."""
    said = {
        400: "The request is wrong.",
        401: "There is no key, or it is not known.",
        403: "The key lacks a scope, or the page may not ask.",
        404: "There is no such thing.",
        409: "The project cannot do that now.",
        413: "The request is too large.",
        429: "Too many requests: see Retry-After.",
        500: "A bug; the log has its traceback under the request's id.",
        502: "The model did not answer.",
        503: "The server is stopping.",
        504: "The model did not answer in time (serve.timeout).",
    }
    return {status: {"model": ErrorBody, "description": said[status]} for status in sorted({400, 401, 403, 413, 500, *statuses})}


def to_http(error: BaseException) -> ApiError:
    """An error of ragtune's as one of HTTP; a bug says nothing of itself: :func:`log_bug` does."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException | StarletteHTTPException):
        return ApiError(error.status_code, str(error.detail))
    if isinstance(error, RagtuneError):
        status, code = next(((status, code) for kind, status, code in _STATUSES if isinstance(error, kind)), (400, None))
        return ApiError(status, str(error), code=code, retry_after=_wait(error) if status == 429 else None)
    return ApiError(500, "the server has a bug here: its log says more, under this request's id", code="internal_error")


def log_bug(scope: Scope, error: BaseException) -> None:
    """Write an error with its traceback into the log, under its request's id, if it is a bug."""
    if to_http(error).status_code == 500:
        logger.error("%s %s %s failed", scope[REQUEST_ID], scope["method"], scope["path"], exc_info=error)


def error_body(error: ApiError) -> dict[str, Any]:
    """The body of an error."""
    kind = _TYPES.get(error.status_code, "server_error")
    return ErrorBody(error=ErrorDetail(message=str(error.detail), type=kind, code=error.code, param=error.param)).model_dump()


def install(app: FastAPI) -> None:
    """Have an app answer with these errors."""

    async def plain(request: Request, error: Exception) -> JSONResponse:
        headers = getattr(error, "headers", None)
        if getattr(error, "status_code", None) == 405:
            headers = {"Allow": ", ".join(_methods(request))}
        return _response(to_http(error), headers)

    async def invalid(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it alone
        return _response(_invalid(error))

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(StarletteHTTPException, plain)
    app.add_exception_handler(RagtuneError, plain)


def _methods(request: Request) -> list[str]:
    """What a path takes, where the router that refused a method knows the first of its routes alone."""
    path = getattr(request.scope.get("route"), "path_format", None)
    return sorted(method.upper() for method in request.app.openapi()["paths"].get(path, {}))


def _invalid(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    if first["type"] == "json_invalid":  # its place is a character, not a field
        return ApiError(400, f"the request is not JSON: {first['ctx']['error']} at character {first['loc'][-1] + 1}", code="json_invalid")
    place = [str(part) for part in first["loc"]]
    param = ".".join(place[1:]) or None
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    return ApiError(400, f"{param or 'the request'}: {first['msg']}{more}", code=str(first["type"]), param=param)


def _response(error: ApiError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(error_body(error), error.status_code, {**(headers or {}), **(error.headers or {})})


def _wait(error: RagtuneError) -> float:
    return float(getattr(error, "retry_after", None) or 60.0 if not isinstance(error, BusyError) else error.retry_after)
