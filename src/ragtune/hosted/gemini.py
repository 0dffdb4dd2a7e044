"""What every client of Gemini's protocol shares: the connection, and the SDK's errors as ragtune's."""

from __future__ import annotations

from google import genai
from google.genai import errors, types

from ragtune.errors import ChatError
from ragtune.hosted.failures import classify, is_lost_connection


def connect(api_key: str | None, *, base_url: str | None = None, timeout: float = 120.0) -> genai.Client:
    """A client of the Gemini API; it makes one attempt a call.

    Args:
        api_key: of the Gemini API.
        base_url: another server of the same protocol.
        timeout: seconds to wait for the next bytes.
    """
    options = types.HttpOptions(base_url=base_url, api_version="v1beta", timeout=int(timeout * 1000))
    return genai.Client(api_key=api_key or "none", vertexai=False, http_options=options)


def translate(name: str, error: Exception, *, secret: str | None = None, key_variable: str | None = None) -> ChatError | None:
    """An error of the SDK, or of the transport under it, as one of ragtune's; ``None`` where it is neither."""
    if is_lost_connection(error):
        return classify(name, status=None, message=f"{type(error).__name__}: {error}", secret=secret)
    if not isinstance(error, errors.APIError):
        return None
    headers = getattr(error.response, "headers", None)
    return classify(
        name,
        status=error.code,
        code=str(error.status or ""),
        message=str(error.message or error),
        headers=dict(headers) if headers else None,
        secret=secret,
        key_variable=key_variable,
    )
