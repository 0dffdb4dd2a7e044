"""What every client of OpenAI's protocol shares: the SDK's errors as ragtune's."""

from __future__ import annotations

import openai

from ragtune.errors import ChatError
from ragtune.hosted.failures import classify


def translate(name: str, error: openai.APIError, *, secret: str | None = None, key_variable: str | None = None) -> ChatError:
    """An error of the SDK as one of ragtune's."""
    status = getattr(error, "status_code", None)
    response = getattr(error, "response", None)
    kind = error.code or error.type or ""
    message = error.message
    if status is None:
        cause = error.__cause__
        message = f"{message} {type(cause).__name__}: {cause}" if cause is not None else message
    return classify(
        name,
        status=status,
        code=str(kind),
        message=message,
        headers=dict(response.headers) if response is not None else None,
        secret=secret,
        key_variable=key_variable,
    )
