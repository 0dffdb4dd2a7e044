"""What every client of OpenAI's protocol shares: the SDK's errors as ragtune's."""

from __future__ import annotations

import re

import openai

from ragtune.errors import ChatError
from ragtune.hosted.failures import classify, is_never_sent


def translate(name: str, error: openai.APIError, *, secret: str | None = None, key_variable: str | None = None) -> ChatError:
    """An error of the SDK as one of ragtune's."""
    status = getattr(error, "status_code", None)
    response = getattr(error, "response", None)
    kind = error.code or error.type or ""
    if status is None and not isinstance(error, openai.APIConnectionError):  # said within a stream
        status = status_of(kind)
    return classify(
        name,
        status=status,
        code=str(kind),
        message=said_by(error),
        headers=dict(response.headers) if response is not None else None,
        secret=secret,
        key_variable=key_variable,
        reached=not is_never_sent(error),
    )


def said_by(error: openai.APIError) -> str:
    """The words of an error and of what caused it."""
    cause = error.__cause__
    return error.message if cause is None else f"{error.message} {type(cause).__name__}: {cause}"


def status_of(code: str) -> int:
    """The status for an error that comes without one."""
    if code.isdigit():
        return int(code)
    return 429 if re.search("rate_limit|quota", code) else 500
