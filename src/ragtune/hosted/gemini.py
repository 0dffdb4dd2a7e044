"""What every client of Gemini's protocol shares: the connections, and the errors of Google's libraries as ragtune's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import google.auth
from google import genai
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.genai import errors, types

from ragtune.errors import KeyRefusedError
from ragtune.hosted.failures import classify, is_lost_connection, is_never_sent, redact

_LOG_IN = "run 'gcloud auth application-default login', or name a service account's file in GOOGLE_APPLICATION_CREDENTIALS"


def connect(api_key: str | None, *, base_url: str | None = None, timeout: float = 120.0) -> genai.Client:
    """A client of the Gemini API; it makes one attempt a call.

    Args:
        api_key: of the Gemini API.
        base_url: another server of the same protocol.
        timeout: seconds to wait for the next bytes.
    """
    options = types.HttpOptions(base_url=base_url, api_version="v1beta", timeout=int(timeout * 1000))
    return genai.Client(api_key=api_key or "none", vertexai=False, http_options=options)


def connect_vertex(
    project: str, location: str, *, credentials: Any = None, base_url: str | None = None, timeout: float = 120.0
) -> genai.Client:
    """A client of Vertex AI; it makes one attempt a call.

    Args:
        project: the Google Cloud project that pays.
        location: a region such as ``us-central1``, or ``global``.
        credentials: of google-auth; ``None`` takes the application default ones.
        base_url: another server of the same protocol.
        timeout: seconds to wait for the next bytes.

    Raises:
        KeyRefusedError: there are no credentials.
    """
    options = types.HttpOptions(base_url=base_url, api_version="v1beta1", timeout=int(timeout * 1000))
    credentials = credentials or find_credentials()
    return genai.Client(vertexai=True, project=project, location=location, credentials=credentials, http_options=options)


def find_credentials() -> Any:
    """Google's application default credentials.

    Raises:
        KeyRefusedError: there are none.
    """
    try:
        return google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])[0]
    except DefaultCredentialsError as error:
        raise KeyRefusedError(f"vertex: there are no credentials that could be used ({redact(str(error))[:200]}): {_LOG_IN}") from None


def translate(name: str, error: Exception, *, secret: str | None = None, key_variable: str | None = None) -> Exception:
    """An error of the SDK, or of the libraries under it, as one of ragtune's; any other is given back as it is."""
    if isinstance(error, errors.APIError):
        found = classify(
            name,
            status=error.code,
            code=f"{error.status or ''} {_quotas(error)}",
            message=str(error.message or error),
            headers=_headers(error),
            secret=secret,
            key_variable=key_variable,
        )
    elif isinstance(error, GoogleAuthError) and not error.retryable:
        found = KeyRefusedError(f"{name}: {type(error).__name__}")
    elif isinstance(error, GoogleAuthError) or is_lost_connection(error):
        found = classify(name, status=None, message=f"{type(error).__name__}: {error}", secret=secret, reached=not is_never_sent(error))
    else:
        return error
    if isinstance(found, KeyRefusedError) and name.startswith("vertex:"):
        said = redact(" ".join(str(error).split()), secret)[:300]
        return KeyRefusedError(f"{name}: Google does not take the credentials ({said}): {_LOG_IN}")
    return found


def _details(error: errors.APIError, kind: str) -> list[Mapping[str, Any]]:
    """Google's own records in an error (https://cloud.google.com/apis/design/errors#error_details)."""
    said = error.details.get("error") if isinstance(error.details, Mapping) else None
    details = said.get("details") if isinstance(said, Mapping) else None
    return [detail for detail in details or () if isinstance(detail, Mapping) and str(detail.get("@type", "")).endswith(kind)]


def _headers(error: errors.APIError) -> dict[str, str]:
    """The answer's headers; how long to wait stands in the body."""
    headers = dict(getattr(error.response, "headers", None) or {})
    for detail in _details(error, "RetryInfo"):
        headers.setdefault("retry-after", str(detail.get("retryDelay", "")).removesuffix("s"))
    return headers


def _quotas(error: errors.APIError) -> str:
    """The names of the passed quotas, which say whether they are of a minute or a day."""
    return " ".join(
        str(violation.get("quotaId", "")) for detail in _details(error, "QuotaFailure") for violation in detail.get("violations", ())
    )
