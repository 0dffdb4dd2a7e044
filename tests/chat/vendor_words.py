"""What vendors say when they refuse, in their documented words, and which of ragtune's errors it is."""

from __future__ import annotations

from faults import Answer, gemini_error, openai_error
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
from ragtune.types import Message

KEY = "zz-secret-0123456789abcdef"
ASKED = [Message("system", "Answer the question."), Message("user", "What is the capital of France?")]
GARBAGE = (
    Answer(body="<html>Welcome</html>"),
    Answer(body="{", headers={"Content-Type": "application/json"}),
    Answer(body={"ok": True}),
    Answer(body={"choices": [{}], "candidates": [{}]}),
)

_RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
_QUOTA_WORDS = "You exceeded your current quota, please check your plan and billing details."


def _passed(quota: str) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]}


OPENAI: dict[str, tuple[Answer, type[ChatError], str]] = {
    "a wrong key": (
        openai_error(401, "Incorrect API key provided: sk-local*********3456.", "invalid_api_key"),
        KeyRefusedError,
        "check COMPATIBLE_API_KEY in .env",
    ),
    "no money left": (openai_error(402, "Insufficient Balance", "invalid_request_error"), QuotaError, "add some at the vendor"),
    "no quota left": (
        openai_error(429, _QUOTA_WORDS, "insufficient_quota", headers={"Retry-After": "1"}),
        QuotaError,
        "no quota or money left",
    ),
    "a model that the key may not use": (
        openai_error(403, "Project `proj_1` does not have access to model `m`", "model_not_found"),
        NoSuchModelError,
        "the key may not use it",
    ),
    "a country": (
        openai_error(403, "Country, region, or territory not supported", "unsupported_country_region_territory"),
        ChatError,
        "status 403",
    ),
    "an unknown model": (
        openai_error(404, "The model `m` does not exist or you do not have access to it.", "model_not_found"),
        NoSuchModelError,
        "ragtune models list --hosted",
    ),
    "a retired model": (openai_error(404, "The model `m` has been deprecated, learn more", "model_not_found"), NoSuchModelError, "retired"),
    "a model that is gone": (openai_error(410, "Gone"), NoSuchModelError, "is retired"),
    "a wrong address": (Answer(404, {"detail": "Not Found"}), NoSuchModelError, "chat.base_urls"),
    "too many requests": (openai_error(429, "Rate limit reached for m", "rate_limit_exceeded"), RateLimitError, "chat.requests_per_minute"),
    "a long prompt": (
        openai_error(400, "This model's maximum context length is 4096 tokens.", "context_length_exceeded"),
        ContextOverflowError,
        "fewer or shorter passages",
    ),
    "a limit out of range": (openai_error(400, "Invalid max_tokens value, the valid range is [1, 8192]"), ChatError, "status 400"),
    "a filtered prompt": (
        openai_error(400, "The response was filtered due to the prompt triggering content management policy.", "content_filter"),
        RefusalError,
        "filter refuses the prompt",
    ),
    "DeepSeek's filter": (openai_error(400, "Content Exists Risk", "invalid_request_error"), RefusalError, "filter"),
    "a gateway": (Answer(403, {"error": "forbidden"}), ChatError, "status 403"),
    "a failing server": (openai_error(500, "The server had an error", "server_error"), UnreachableError, "failed with status 500"),
    "an overloaded server": (Answer(503, "<html>Service Unavailable</html>"), UnreachableError, "failed with status 503"),
}

GEMINI: dict[str, tuple[Answer, type[ChatError], str]] = {
    "a wrong key": (
        gemini_error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"),
        KeyRefusedError,
        "check GEMINI_API_KEY in .env",
    ),
    "no key": (
        gemini_error(403, "Method doesn't allow unregistered callers. Use API Key", "PERMISSION_DENIED"),
        KeyRefusedError,
        "",
    ),
    "the quota of a day": (
        gemini_error(429, _QUOTA_WORDS, "RESOURCE_EXHAUSTED", [_passed("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), _RETRY]),
        QuotaError,
        "no quota",
    ),
    "the quota of a minute": (
        gemini_error(429, _QUOTA_WORDS, "RESOURCE_EXHAUSTED", [_passed("GenerateRequestsPerMinutePerProjectPerModel"), _RETRY]),
        RateLimitError,
        "too many requests",
    ),
    "an unknown model": (
        gemini_error(404, "models/m is not found for API version v1beta, or is not supported for generateContent.", "NOT_FOUND"),
        NoSuchModelError,
        "not known",
    ),
    "a retired model": (gemini_error(404, "models/m is no longer available.", "NOT_FOUND"), NoSuchModelError, "retired"),
    "a long prompt": (
        gemini_error(400, "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).", "INVALID_ARGUMENT"),
        ContextOverflowError,
        "fewer or shorter",
    ),
    "a country": (gemini_error(400, "User location is not supported for the API use.", "FAILED_PRECONDITION"), ChatError, "status 400"),
    "an overloaded model": (gemini_error(503, "The model is overloaded. Please try again later.", "UNAVAILABLE"), UnreachableError, "503"),
    "a gateway": (Answer(403, {"error": "forbidden"}), ChatError, "status 403"),
    "a page": (Answer(502, "<html>Bad Gateway</html>"), UnreachableError, "502"),
}
