"""The embedder, local or hosted, and whose tokenizer counts a chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ragtune.backends.adopted import adopted
from ragtune.backends.hosted import find_key, price_of, rate_limit, server_address
from ragtune.backends.local import extra, local_embedder
from ragtune.config import Settings
from ragtune.errors import ConfigError
from ragtune.hosted.providers import Provider, is_hosted, split_name
from ragtune.models.pull import resolve
from ragtune.workspace import Workspace

if TYPE_CHECKING:
    from ragtune.embed.hosted import EmbeddingServer
    from ragtune.protocols import Embedder


def embedder(workspace: Workspace, settings: Settings, *, asks: bool = True) -> Embedder:
    """The embedder that serves.

    A local one, or what was tuned of it, is loaded once a process; a hosted one has the project's ledger, cap, limits and patience.

    Args:
        workspace: of the project.
        settings: its settings.
        asks: whether a hosted one may ask its server; else it knows only what was asked before.

    Raises:
        ConfigError: the name is not one of an embedder, or the server's address is missing.
        KeyRefusedError: its key is nowhere.
        MissingExtraError: its library is not installed.
    """
    provider, model = split_name(settings.embed.model)
    if provider.protocol == "local":
        tuned = adopted(workspace, settings)
        return local_embedder(settings.embed, tuned.embedder if tuned and tuned.embedder else model)
    return _hosted_embedder(workspace, settings, provider, model, asks=asks)


def _hosted_embedder(workspace: Workspace, settings: Settings, provider: Provider, model: str, *, asks: bool) -> Embedder:
    name, embed, chat = settings.embed.model, settings.embed, settings.chat
    if provider.protocol == "langchain":
        raise ConfigError(f"embed.model = {name!r}: langchain: names chat models; name the embedder's own vendor, or compatible:MODEL")
    if provider.name == "vertex":
        raise ConfigError(f"embed.model = {name!r}: ragtune does not embed on Vertex AI; write gemini:…, openai:… or compatible:MODEL")
    key, variable = find_key(workspace, provider)
    address = server_address(workspace, settings, provider, model)
    server: EmbeddingServer
    with extra(provider.protocol):
        from ragtune.embed.cache import VectorCache
        from ragtune.embed.hosted import HostedEmbedder, fingerprint, window
        from ragtune.hosted.ledger import Ledger
        from ragtune.hosted.meter import Meter

        if provider.protocol == "gemini":
            from ragtune.embed.gemini import GeminiEmbeddings
            from ragtune.hosted.gemini import connect

            client = connect(key, base_url=address, timeout=chat.timeout)
            server = GeminiEmbeddings(name, model, client=client, secret=key, key_variable=variable, dimensions=embed.dimensions)
        else:
            from ragtune.embed.openai import OpenAIEmbeddings

            server = OpenAIEmbeddings(
                name, model, base_url=address, api_key=key, key_variable=variable, dimensions=embed.dimensions, timeout=chat.timeout
            )
    return HostedEmbedder(
        server,
        Meter(
            name,
            Ledger(workspace.ledger, chat.max_cost),
            price=price_of(settings, name, address),
            retries=chat.retries,
            limit=rate_limit(provider.name, chat.requests_per_minute),
        ),
        VectorCache(workspace.embeddings),
        fingerprint=fingerprint(provider.name, model, embed.dimensions, address),
        count_tokens=_counter(chunk_tokenizer(settings)),
        max_tokens=embed.max_tokens or window(provider.name),
        dimensions=embed.dimensions,
        batch_size=embed.batch_size,
        concurrency=chat.concurrency,
        asks=asks,
    )


def chunk_tokenizer(settings: Settings) -> str:
    """Whose tokenizer counts a chunk's tokens: prepare.tokenizer, else the embedder's own, else the one that all hosted ones share."""
    return settings.prepare.tokenizer or ("all-minilm-l6-v2" if is_hosted(settings.embed.model) else settings.embed.model)


def token_counter(workspace: Workspace, settings: Settings) -> Callable[[Sequence[str]], list[int]]:
    """What counts a chunk's tokens."""
    if settings.prepare.tokenizer or is_hosted(settings.embed.model):
        return _counter(chunk_tokenizer(settings))
    return embedder(workspace, settings).count_tokens


@lru_cache(maxsize=2)
def _counter(name: str) -> Callable[[Sequence[str]], list[int]]:
    with extra("openai"):
        from ragtune.embed.tokens import load_counter
    folder = resolve(name)
    if not isinstance(folder, Path):
        raise ConfigError(f"prepare.tokenizer = {name!r}: name a catalog id, or a folder with a tokenizer.json")
    return load_counter(folder)
