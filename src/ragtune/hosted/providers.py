"""Who serves chat models, embedders and tuning jobs, by the first part of ``provider:model``."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from ragtune.errors import ConfigError

Protocol = Literal["openai", "gemini", "langchain", "local"]


@dataclass(frozen=True, slots=True)
class Provider:
    """One server or family of servers.

    Args:
        name: first part of ``provider:model``.
        protocol: the wire protocol, and so the SDK that speaks it.
        base_url: where its API is; ``None`` is the SDK's own default, or must be set by the user.
        keys: environment variables that hold its key, the first that is set counts; empty where it needs none.
        prices: its name in the price list; ``None`` where nothing is charged by the token or no price is known.
    """

    name: str
    protocol: Protocol
    base_url: str | None = None
    keys: tuple[str, ...] = ()
    prices: str | None = None


_ALL = (
    Provider("local", "local"),
    Provider("openai", "openai", "https://api.openai.com/v1", ("OPENAI_API_KEY",), "openai"),
    Provider("deepseek", "openai", "https://api.deepseek.com", ("DEEPSEEK_API_KEY",), "deepseek"),
    Provider("gemini", "gemini", None, ("GEMINI_API_KEY", "GOOGLE_API_KEY"), "google"),
    Provider("vertex", "gemini", None, (), "google"),
    Provider("together", "openai", "https://api.together.xyz/v1", ("TOGETHER_API_KEY",), "together"),
    Provider("fireworks", "openai", "https://api.fireworks.ai/inference/v1", ("FIREWORKS_API_KEY",), "fireworks"),
    Provider("mistral", "openai", "https://api.mistral.ai/v1", ("MISTRAL_API_KEY",), "mistral"),
    Provider("openrouter", "openai", "https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY",), "openrouter"),
    Provider("vllm", "openai", "http://localhost:8000/v1"),
    Provider("llamacpp", "openai", "http://localhost:8080/v1"),
    Provider("ollama", "openai", "http://localhost:11434/v1"),
    Provider("compatible", "openai", None, ("COMPATIBLE_API_KEY",)),
    Provider("langchain", "langchain"),
)
PROVIDERS: Mapping[str, Provider] = {provider.name: provider for provider in _ALL}
KEYS: tuple[str, ...] = tuple(dict.fromkeys(key for provider in _ALL for key in provider.keys))

_LANGCHAIN_PRICES = {"google_genai": "google", "google_vertexai": "google", "mistralai": "mistral", "xai": "x-ai", "bedrock": "aws"}

_GONE = {
    "gemini-pro": "gemini-pro, and the google-generativeai package whose GenerativeModel it was used with, are gone: write "
    "gemini:gemini-3.8-flash, or on Vertex AI vertex:gemini-3.5-flash (google-genai is the successor of that package)",
}


def split_name(name: str) -> tuple[Provider, str]:
    """Provider and model of ``provider:model``; a name without a provider is a local model.

    Raises:
        ConfigError: the provider is unknown, or the model is one that is gone.
    """
    gone = _GONE.get(_bare(name))
    if gone is not None:
        raise ConfigError(gone)
    head, colon, model = name.partition(":")
    if not colon or (len(head) == 1 and model[:1] in ("\\", "/")):  # a path on a drive
        return PROVIDERS["local"], name
    provider = PROVIDERS.get(head)
    if provider is None:
        near = difflib.get_close_matches(head.lower(), PROVIDERS, n=1)
        hint = f"did you mean {near[0]}:{model}?" if near else f"known are {', '.join(PROVIDERS)}."
        raise ConfigError(
            f"{name!r}: there is no provider {head!r}; {hint} Any other server that speaks OpenAI's protocol "
            "is compatible:MODEL with its address in chat.base_urls, and any model that LangChain knows is langchain:PROVIDER:MODEL"
        )
    if not model:
        raise ConfigError(f"{name!r} names no model: write it as {head}:MODEL")
    if provider.protocol == "langchain" and not all(model.partition(":")):
        raise ConfigError(
            f"{name!r} names no provider of LangChain's: write it as langchain:PROVIDER:MODEL, e.g. langchain:anthropic:MODEL"
        )
    return provider, model


def is_gone(model: str) -> bool:
    """Whether this was a model's name once, and :func:`split_name` says what to write now."""
    return _bare(model) in _GONE


def _bare(name: str) -> str:
    """A model's name without a provider, or LangChain's, and without Google's folder."""
    return name.rpartition(":")[2].removeprefix("models/")


def price_name(name: str) -> tuple[str | None, str]:
    """Provider and model of ``provider:model`` as a price list knows them; of ``langchain:anthropic:…`` anthropic's."""
    provider, model = split_name(name)
    if provider.protocol == "langchain":
        inner, _, rest = model.partition(":")
        return _LANGCHAIN_PRICES.get(inner, inner), rest
    return provider.prices, model


def is_hosted(name: str) -> bool:
    """Whether ``provider:model`` is answered by a server rather than by weights that ragtune loads itself."""
    return split_name(name)[0].name != "local"


def is_own_machine(url: str | None) -> bool:
    """Whether a server is on this machine or in a private network, where nothing is charged."""
    host = urlsplit(url or "").hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        # A name without a dot, such as that of a container, is known in one's own network alone.
        return bool(host) and ("." not in host or host.endswith((".localhost", ".local", ".internal")))
