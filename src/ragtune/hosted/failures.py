"""What a server's refusal means: status, code and words of any vendor to one of ragtune's errors, with no key in it."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ragtune.errors import (
    ChatError,
    ContextOverflowError,
    KeyRefusedError,
    NoSuchModelError,
    QuotaError,
    RateLimitError,
    RefusalError,
    UnreachableError,
)

_OVERFLOW = re.compile(
    r"context.{0,12}(length|window|size)|maximum context|too many (input )?tokens|prompt is too long|exceeds?.{0,40}(context|token)"
    r"|input token count|too large to process",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient[_ ](quota|balance|funds|credit)|billing_hard_limit|billing_not_active|out of credits|per_?day", re.IGNORECASE
)
_QUOTA_PERHAPS = re.compile(r"exceeded your current quota|billing", re.IGNORECASE)
"""Gemini says this of a limit by the minute too, and then says when to come back."""
_KEY = re.compile(
    r"api[_ ]?key|unauthenticated|unauthori[sz]ed|(invalid|incorrect|expired) ((auth\w*|access|bearer) )?(token|credential)s?\b",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"model.{0,80}(not[_ ]found|not exist|unknown|invalid|deprecated|retired|decommission|shut ?down|no longer|not supported)"
    r"|(not found|unknown|no such|invalid|deprecated|retired) model|not have access to (the )?model",
    re.IGNORECASE,
)
_RETIRED = re.compile(r"deprecated|retired|decommission|shut ?down|no longer", re.IGNORECASE)
_REFUSED = re.compile(
    r"content[_ ](filter|policy|management)|safety|flagged|moderation|content_policy_violation|content exists risk", re.IGNORECASE
)
_SECRET = re.compile(r"\b(sk|rk|pk|gsk|hf|AIza|ya29|key)[-_A-Za-z0-9.*]{12,}")
_TRANSPORTS = ("httpx", "httpx2", "httpcore", "httpcore2", "h11", "requests", "urllib3", "aiohttp")
_NEVER_CONNECTED = ("ConnectError", "ConnectTimeout", "NewConnectionError", "ConnectTimeoutError", "ClientConnectorError")
_MAYBE_CHARGED = (408, 502, 504, 524)
"""Statuses of a server in between that waited in vain for the one that works."""


def classify(
    name: str,
    *,
    status: int | None,
    code: str = "",
    message: str = "",
    headers: Mapping[str, str] | None = None,
    secret: str | None = None,
    key_variable: str | None = None,
    reached: bool = True,
) -> ChatError:
    """The error for a refusal.

    Args:
        name: ``provider:model``.
        status: HTTP status; ``None`` where there was no answer.
        code: the vendor's own code, e.g. ``insufficient_quota``.
        message: the vendor's words.
        headers: of the answer, for ``Retry-After``.
        secret: the key that was sent, taken out of the words wherever it stands.
        key_variable: the variable that the key belongs into.
        reached: the request may have got to the server, see :func:`is_never_sent`.
    """
    said = redact(" ".join(message.split()), secret)[:300]
    words = f"{code} {said}"
    wait = retry_after(headers or {})
    key = key_variable or "its key"
    if status == 402 or (status in (403, 429) and (_QUOTA.search(words) or (wait is None and _QUOTA_PERHAPS.search(words)))):
        return QuotaError(f"{name}: the account has no quota or money left ({said}): add some at the vendor, or choose another model")
    if status == 401 or (status in (400, 403) and _KEY.search(words)):
        return KeyRefusedError(f"{name}: the server refuses the key ({said}): check {key} in .env")
    if status == 429:
        return RateLimitError(f"{name}: too many requests ({said}): set chat.requests_per_minute or chat.concurrency lower", wait)
    if status == 413 or (status in (400, 422, 500) and _OVERFLOW.search(words)):
        return ContextOverflowError(f"{name}: the prompt is longer than the model's context ({said}): show fewer or shorter passages")
    if status in (404, 410) or (status in (400, 403) and _MODEL.search(words)):
        gone = "is retired" if status == 410 or _RETIRED.search(words) else "is not known to the server, or the key may not use it"
        if status == 404 and not re.search("model", words, re.IGNORECASE):
            gone = "is not there, or the address is not that of its API (chat.base_urls)"
        return NoSuchModelError(f"{name}: the model {gone} ({said}): see 'ragtune models list --hosted', or ask the vendor for its list")
    if status in (400, 403) and _REFUSED.search(words):
        return RefusalError(f"{name}: the vendor's filter refuses the prompt ({said})")
    if status is None or status >= 500 or status in (408, 409, 425):
        what = "cannot be reached, or does not answer" if status is None else f"failed with status {status}"
        return UnreachableError(
            f"{name}: the server {what} ({said}): try again later; the same command goes on where it was",
            wait,
            answered=not reached or (status is not None and status not in _MAYBE_CHARGED),
        )
    return ChatError(f"{name}: the server refuses the request with status {status} ({said})")


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error is one of the transport under an SDK: which HTTP library that is, is the SDK's choice."""
    return isinstance(error, OSError) or any(kind.__module__.split(".")[0] in _TRANSPORTS for kind in type(error).__mro__)


def is_never_sent(error: BaseException) -> bool:
    """Whether an error is that of a connection which was never made, so that no server has seen the request."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ConnectionRefusedError | socket.gaierror):
            return True
        if type(found).__name__ in _NEVER_CONNECTED and type(found).__module__.split(".")[0] in _TRANSPORTS:
            return True
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return False


def other_dimension(name: str, got: int, known: int, *, asked: bool = False) -> str:
    """What to say where an embedder's vectors have another length than was asked for, or than those before them."""
    if asked:
        return f"{name}: embed.dimensions asks for {known}, and vectors of {got} came: the model cannot be shortened so, set it otherwise"
    return (
        f"{name}: vectors of {got} dimensions came, and of {known} before: the server has another model now. Start it with the old one, "
        f"or set embed.dimensions = {got} and run 'ragtune index', which embeds everything anew"
    )


def not_a_chat_api(name: str, why: str) -> ChatError:
    """The error for an answer in another form than the protocol's."""
    return ChatError(f"{name}: the answer is not one of a chat API ({why}): is the server's address right (chat.base_urls)?")


def redact(text: str, secret: str | None = None) -> str:
    """Text without the key, and without anything that looks like one."""
    if secret and len(secret) >= 4:
        text = text.replace(secret, "…")
    return _SECRET.sub("…", text)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer's headers ask to wait: ``retry-after-ms``, or ``Retry-After`` in seconds or as a date (RFC 9110, 10.2.3)."""
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        if "retry-after-ms" in lower:
            return max(0.0, float(lower["retry-after-ms"]) / 1000)
        value = lower.get("retry-after")
        if value is None:
            return None
        if re.fullmatch(r"\d+(\.\d+)?", value.strip()):
            return float(value)
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
