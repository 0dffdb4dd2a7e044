"""Hosted chat models, with the project's ledger, cap, limits and patience around them: names, keys, addresses, prices."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ragtune.backends.local import engine, extra, with_base
from ragtune.config import Settings, dotenv_in_environment, read_key, read_variable
from ragtune.errors import ConfigError, KeyRefusedError
from ragtune.hosted.providers import Provider, is_own_machine, price_name, split_name
from ragtune.models.prices import find_price
from ragtune.types import Price
from ragtune.workspace import Workspace

if TYPE_CHECKING:
    from ragtune.chat.gemini import GeminiChat
    from ragtune.chat.langchain import LangChainChat
    from ragtune.chat.openai import OpenAIChat
    from ragtune.hosted.meter import RateLimit
    from ragtune.protocols import ChatModel, Engine


@lru_cache(maxsize=8)
def rate_limit(provider: str, per_minute: float | None) -> RateLimit:  # noqa: ARG001 - one for each
    """The rate limit that all models of a provider share."""
    from ragtune.hosted.meter import RateLimit

    return RateLimit(per_minute)


def chat_model(workspace: Workspace, settings: Settings, name: str, over: Callable[[Settings], Engine] = engine) -> ChatModel:
    """The chat model that ``provider:model`` names; a hosted one with the project's ledger, cap, limits and patience around it.

    Args:
        workspace: of the project.
        settings: its settings.
        name: ``provider:model``; without a provider a local model.
        over: what gives the engine of a local one.

    Raises:
        ConfigError: the name is not one, or the server's address is missing.
        KeyRefusedError: its key is nowhere.
        MissingExtraError: its SDK is not installed.
    """
    provider, model = split_name(name)
    if provider.protocol == "local":
        from ragtune.chat.local import LocalChat

        return LocalChat(over(with_base(settings, model)), f"local:{model}")
    key, variable = find_key(workspace, provider)
    address = server_address(workspace, settings, provider, model)
    chat = settings.chat
    made: OpenAIChat | GeminiChat | LangChainChat
    match provider.protocol:
        case "openai":
            with extra("openai"):
                from ragtune.chat.openai import OpenAIChat
            made = OpenAIChat(
                name, model, base_url=address, api_key=key, key_variable=variable, timeout=chat.timeout, thinking=chat.thinking
            )
        case "gemini":
            with extra("gemini"):
                from ragtune.chat.gemini import GeminiChat
                from ragtune.hosted.gemini import connect
            if provider.name == "vertex":
                client = vertex_client(workspace, settings, model, address)
            else:
                client = connect(key, base_url=address, timeout=chat.timeout)
            made = GeminiChat(name, model, client=client, secret=key, key_variable=variable, thinking=chat.thinking)
        case "langchain":
            with extra("langchain"):
                from ragtune.chat.langchain import LangChainChat, load
                from ragtune.hosted.meter import THINKING_TOKENS
            with dotenv_in_environment(workspace.project):
                made = LangChainChat(
                    name, load(name, model, timeout=chat.timeout, base_url=address), headroom=THINKING_TOKENS * chat.thinking
                )
    return metered(workspace, settings, made, address, lambda: made.headroom)


def metered(
    workspace: Workspace, settings: Settings, chat: ChatModel, address: str | None, headroom: Callable[[], int] = lambda: 0
) -> ChatModel:
    """A hosted chat model with the project's ledger, cap, limits and patience around it; ``headroom`` is what it may reason, in tokens.

    Raises:
        ConfigError: a cap is set, and no price is known to keep to it.
    """
    from ragtune.chat.metered import MeteredChat
    from ragtune.hosted.ledger import Ledger

    provider, _ = split_name(chat.name)
    return MeteredChat(
        chat,
        Ledger(workspace.ledger, settings.chat.max_cost),
        address=address or "",
        thinking=settings.chat.thinking,
        headroom=headroom,
        price=price_of(settings, chat.name, address, tuned_from(workspace, chat.name)),
        cache=settings.chat.cache,
        retries=settings.chat.retries,
        limit=rate_limit(provider.name, settings.chat.requests_per_minute),
    )


def tuned_from(workspace: Workspace, name: str) -> str | None:
    """The base of a model that this project tuned at Vertex AI, whose name does not tell it; it costs what its base costs."""
    if not name.startswith("vertex:projects/"):
        return None
    bases = [str(each.settings["model"]["base"]) for each in workspace.manifests("models") if each.settings.get("hosted") == name]
    return bases[0] if bases else None


def price(workspace: Workspace, settings: Settings, name: str) -> Price | None:
    """Dollars for the tokens of one call of ``provider:model``, chat model or embedder; nothing on this machine or a server of one's own.

    Raises:
        ConfigError: a cap is set, and no price is known to keep to it; or the server's address is missing.
    """
    provider, model = split_name(name)
    if provider.protocol == "local":
        return lambda _: 0.0
    return price_of(settings, name, server_address(workspace, settings, provider, model), tuned_from(workspace, name))


def price_of(settings: Settings, name: str, address: str | None, base: str | None = None) -> Price | None:
    """Dollars for the tokens of one call; nothing on a server of one's own. A tuned model may be priced as its base.

    Raises:
        ConfigError: a cap is set, and no price is known to keep to it.
        MissingExtraError: the price list is not installed.
    """
    found = list_price(settings, name, address, base)
    if found is None and math.isfinite(settings.chat.max_cost):
        raise ConfigError(
            f"{name}: no price is known, so chat.max_cost cannot be kept to: set what a million prompt and completion tokens cost, as in "
            f"--set 'chat.prices={{\"{name}\" = [0.5, 1.5]}}', or take the cap off with --set chat.max_cost=inf"
        )
    return found


def list_price(settings: Settings, name: str, address: str | None, base: str | None = None) -> Price | None:
    """Dollars for the tokens of one call; ``None`` where no price is known. A tuned model is priced by its ``base``.

    Raises:
        MissingExtraError: the price list is not installed.
    """
    listed, model = price_name(base or name)
    with extra(split_name(name)[0].protocol):
        return find_price(listed, model, settings.chat.prices.get(name), free=is_own_machine(address))


def find_key(workspace: Workspace, provider: Provider) -> tuple[str | None, str | None]:
    """A provider's key, and the variable that it belongs into.

    Raises:
        KeyRefusedError: it needs one, and none of its variables is set.
    """
    for variable in provider.keys:
        secret = read_key(workspace.project, variable)
        if secret is not None:
            key = secret.get_secret_value().strip()
            if not key.isascii() or not key.isprintable() or " " in key:
                raise KeyRefusedError(f"{provider.name}: {variable} holds characters that are in no key, or two lines: copy it once more")
            return key, variable
    if provider.keys and provider.name != "compatible":
        raise KeyRefusedError(f"{provider.name}: there is no key: write {' or '.join(provider.keys)} into .env or into the environment")
    return None, provider.keys[0] if provider.keys else None


def server_address(workspace: Workspace, settings: Settings, provider: Provider, model: str) -> str | None:
    """A provider's base URL: chat.base_urls, else its variable (``OPENAI_BASE_URL``), else its own.

    Of ``langchain:openai:…`` it is that of openai, if any.

    Raises:
        ConfigError: it has none of its own, and none is set.
    """
    name = model.partition(":")[0] if provider.protocol == "langchain" else provider.name
    variable = f"{name.upper()}_BASE_URL"
    found = settings.chat.base_urls.get(name) or read_variable(workspace.project, variable) or provider.base_url
    if found is None and provider.name == "compatible":
        raise ConfigError(
            f"compatible: which server? Set its address, as in --set 'chat.base_urls={{compatible = \"http://localhost:8000/v1\"}}', "
            f"or {variable} in .env"
        )
    if found is not None and not found.startswith(("http://", "https://")):
        raise ConfigError(f"{name}: its address is {found!r}: write it with http:// or https:// (chat.base_urls, or {variable})")
    return found


def google_credentials(workspace: Workspace) -> Any:
    """Google's application default credentials, by a variable of .env too.

    Raises:
        KeyRefusedError: there are none.
        MissingExtraError: Google's SDK is not installed.
    """
    with extra("gemini"):
        from ragtune.hosted.gemini import find_credentials
    with dotenv_in_environment(workspace.project):
        return find_credentials()


def vertex_client(workspace: Workspace, settings: Settings, model: str, address: str | None) -> Any:
    """A client of Vertex AI, where the model is.

    Raises:
        ConfigError: no project is named.
        KeyRefusedError: there are no credentials.
        MissingExtraError: Google's SDK is not installed.
    """
    place, credentials = vertex_place(workspace, settings, model), google_credentials(workspace)
    from ragtune.hosted.gemini import connect_vertex

    return connect_vertex(*place, credentials=credentials, base_url=address, timeout=settings.chat.timeout)


def vertex_place(workspace: Workspace, settings: Settings, model: str) -> tuple[str, str]:
    """Project and location of Vertex AI; a tuned model's name holds both.

    Raises:
        ConfigError: no project is named.
    """
    parts = model.split("/")
    if parts[0] == "projects" and len(parts) > 3:
        return parts[1], parts[3]
    project = settings.tuning.project or read_variable(workspace.project, "GOOGLE_CLOUD_PROJECT")
    if not project:
        raise ConfigError("vertex: which Google Cloud project pays? Set tuning.project, or GOOGLE_CLOUD_PROJECT in .env")
    return project, settings.tuning.location or read_variable(workspace.project, "GOOGLE_CLOUD_LOCATION") or "us-central1"
