"""Settings to objects. This module alone names the backends, and imports each inside the function that makes it.

A backend is a name, resolved by a plain ``match``; where its library is missing, :class:`~ragtune.errors.MissingExtraError` names the
extra.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragtune.chat.providers import Provider, is_own_machine, price_name, split_name
from ragtune.config import ModelSettings, Settings, export_dotenv, read_key, read_variable
from ragtune.errors import ConfigError, CorpusError, KeyRefusedError, MissingExtraError
from ragtune.models.fingerprint import fingerprint
from ragtune.models.prices import Price, find_price
from ragtune.models.pull import resolve
from ragtune.workspace import Workspace

if TYPE_CHECKING:
    from ragtune.chat.metered import RateLimit
    from ragtune.corpus import Corpus
    from ragtune.protocols import ChatModel, Embedder, Engine, Trainer, VectorStore


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Turn a missing module into the error that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(name, error.name or str(error)) from None


@lru_cache(maxsize=2)
def _embedder(model: str, batch_size: int) -> Embedder:
    with extra("torch"):
        from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder
    return SentenceTransformersEmbedder(resolve(model), batch_size=batch_size)


def embedder(settings: Settings) -> Embedder:
    """The embedder; loaded once a process."""
    return _embedder(settings.embed.model, settings.embed.batch_size)


def new_store(settings: Settings, dimension: int) -> VectorStore:
    """An empty vector store."""
    match settings.index.backend:
        case "faiss":
            with extra("faiss"):
                from ragtune.index.faiss import FaissStore
            return FaissStore(dimension)
        case "exact":
            from ragtune.index.exact import ExactStore

            return ExactStore(dimension)


def load_store(settings: Settings, folder: Path) -> VectorStore:
    """A store as it was saved.

    Raises:
        CorpusError: it is missing or torn; it can be made again from the corpus.
    """
    match settings.index.backend:
        case "faiss":
            with extra("faiss"):
                from ragtune.index.faiss import FaissStore
            return FaissStore.load(folder)
        case "exact":
            from ragtune.index.exact import ExactStore

            return ExactStore.load(folder)


def open_corpus(workspace: Workspace, *, create: bool = False) -> Corpus:
    """The project's corpus.

    Raises:
        CorpusError: nothing was ingested yet.
    """
    from ragtune.corpus import Corpus

    if not create and not workspace.corpus.is_file():
        raise CorpusError("no documents have been ingested here: run 'ragtune ingest PATH'")
    workspace.folder.mkdir(parents=True, exist_ok=True)
    return Corpus(workspace.corpus)


@lru_cache(maxsize=1)
def _engine(model: str, device: str | None, dtype: str) -> Engine:
    with extra("torch"):
        from ragtune.engine.huggingface import HuggingFaceEngine
    return HuggingFaceEngine(resolve(model), device=device, dtype=dtype)  # type: ignore[arg-type]


def engine(settings: Settings) -> Engine:
    """The engine of the base model; loaded once a process."""
    return _engine(settings.model.base, settings.model.device, settings.model.dtype)


def tokenizer(settings: Settings) -> Any:
    """The base model's tokenizer alone, without its weights."""
    with extra("torch"):
        from transformers import AutoTokenizer
    return AutoTokenizer.from_pretrained(str(resolve(settings.model.base)))


def release_engine() -> None:
    """Free the engine's memory, before training loads the model once more."""
    _engine.cache_clear()


def trainer(settings: Settings) -> Trainer:
    """The trainer."""
    with extra("torch"):
        from ragtune.train.torch import TorchTrainer
    release_engine()
    train = settings.train
    return TorchTrainer(
        resolve(settings.model.base),
        rank=train.rank,
        alpha=train.alpha,
        dropout=train.dropout,
        learning_rate=train.learning_rate,
        warmup=train.warmup,
        epochs=train.epochs,
        answers_per_step=train.answers_per_step,
        seed=train.seed,
        dtype=settings.model.dtype,
        device=settings.model.device,
        validations=2,
    )


@lru_cache(maxsize=8)
def _rate_limit(provider: str, per_minute: float | None) -> RateLimit:  # noqa: ARG001 - one for each
    from ragtune.chat.metered import RateLimit

    return RateLimit(per_minute)


def chat_model(workspace: Workspace, settings: Settings, name: str) -> ChatModel:
    """The chat model that ``provider:model`` names; a hosted one with the project's ledger, cap, limits and patience around it.

    Raises:
        ConfigError: the name is not one, or the server's address is missing.
        KeyRefusedError: its key is nowhere.
        MissingExtraError: its SDK is not installed.
    """
    provider, model = split_name(name)
    if provider.protocol == "local":
        from ragtune.chat.local import LocalChat

        return LocalChat(engine(with_base(settings, model)), f"local:{model}")
    key, variable = find_key(workspace, provider)
    address = server_address(workspace, settings, provider, model)
    chat = settings.chat
    made: ChatModel
    match provider.protocol:
        case "openai":
            with extra("openai"):
                from ragtune.chat.openai import OpenAIChat
            made = OpenAIChat(
                name, model, base_url=address, api_key=key, key_variable=variable, timeout=chat.timeout, thinking=chat.thinking
            )
        case "gemini":
            with extra("gemini"):
                from ragtune.chat.gemini import GeminiChat, connect
            client = connect(key, base_url=address, timeout=chat.timeout)
            made = GeminiChat(name, model, client=client, secret=key, key_variable=variable, thinking=chat.thinking)
        case "langchain":
            with extra("langchain"):
                from ragtune.chat.langchain import LangChainChat, load
            export_dotenv(workspace.project)
            made = LangChainChat(name, load(name, model, timeout=chat.timeout, base_url=address))
    return metered(workspace, settings, made, address)


def metered(workspace: Workspace, settings: Settings, chat: ChatModel, address: str | None) -> ChatModel:
    """A hosted chat model with the project's ledger, cap, limits and patience around it.

    Raises:
        ConfigError: a cap is set, and no price is known to keep to it.
    """
    from ragtune.chat.ledger import Ledger
    from ragtune.chat.metered import MeteredChat

    provider, _ = split_name(chat.name)
    return MeteredChat(
        chat,
        Ledger(workspace.ledger, settings.chat.max_cost),
        address=address or "",
        thinking=settings.chat.thinking,
        price=price_of(settings, chat.name, address),
        cache=settings.chat.cache,
        retries=settings.chat.retries,
        limit=_rate_limit(provider.name, settings.chat.requests_per_minute),
    )


def price_of(settings: Settings, name: str, address: str | None) -> Price | None:
    """Dollars for the tokens of one call; nothing on a server of one's own.

    Raises:
        ConfigError: a cap is set, and no price is known to keep to it.
    """
    listed, model = price_name(name)
    found = find_price(listed, model, settings.chat.prices.get(name), free=is_own_machine(address))
    if found is None and math.isfinite(settings.chat.max_cost):
        raise ConfigError(
            f"{name}: no price is known, so chat.max_cost cannot be kept to: set what a million prompt and completion tokens cost, as in "
            f"--set 'chat.prices={{\"{name}\" = [0.5, 1.5]}}', or take the cap off with --set chat.max_cost=inf"
        )
    return found


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
        raise KeyRefusedError(
            f"{provider.name}: there is no key: write {' or '.join(provider.keys)} into .env (see .env.example) or into the environment"
        )
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


def model_fingerprint(settings: Settings) -> str:
    """Hash of the base weights where they lie on disk, else the model's name."""
    found = resolve(settings.model.base)
    return fingerprint(found) if isinstance(found, Path) else f"hub:{found}"


def with_base(settings: Settings, base: str) -> Settings:
    """The same settings over another base model."""
    model = ModelSettings(**{**settings.model.model_dump(), "base": base})
    return settings.model_copy(update={"model": model})


__all__ = [
    "chat_model",
    "embedder",
    "engine",
    "extra",
    "find_key",
    "load_store",
    "metered",
    "model_fingerprint",
    "new_store",
    "open_corpus",
    "price_of",
    "release_engine",
    "server_address",
    "tokenizer",
    "trainer",
    "with_base",
]
