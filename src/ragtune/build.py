"""Settings to objects. This module alone names the backends, and imports each inside the function that makes it.

A backend is a name, resolved by a plain ``match``; where its library is missing, :class:`~ragtune.errors.MissingExtraError` names the
extra.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragtune.config import ModelSettings, Settings, dotenv_in_environment, read_key, read_variable
from ragtune.errors import ConfigError, CorpusError, KeyRefusedError, MissingExtraError, TuningJobError
from ragtune.hosted.providers import Provider, is_hosted, is_own_machine, price_name, split_name
from ragtune.models.fingerprint import fingerprint, hub_revision
from ragtune.models.prices import Price, find_price
from ragtune.models.pull import resolve
from ragtune.workspace import Workspace

if TYPE_CHECKING:
    from ragtune.corpus import Corpus
    from ragtune.embed.hosted import EmbeddingServer
    from ragtune.hosted.meter import RateLimit
    from ragtune.protocols import ChatModel, Embedder, Engine, Trainer, TuningService, VectorStore


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Turn a missing module into the error that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(name, error.name or str(error)) from None


_loading = threading.RLock()
"""Held while a model is loaded: transformers loads through state of the whole process, and two threads want one model once."""


@lru_cache(maxsize=2)
def _embedder(model: str, batch_size: int, dimensions: int | None) -> Embedder:
    with extra("torch"):
        from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder
    return SentenceTransformersEmbedder(resolve(model), batch_size=batch_size, dimensions=dimensions)


def embedder(workspace: Workspace, settings: Settings) -> Embedder:
    """The embedder; a local one is loaded once a process, a hosted one has the project's ledger, cap, limits and patience around it.

    Raises:
        ConfigError: the name is not one of an embedder, or the server's address is missing.
        KeyRefusedError: its key is nowhere.
        MissingExtraError: its library is not installed.
    """
    provider, model = split_name(settings.embed.model)
    if provider.protocol == "local":
        with _loading:
            return _embedder(model, settings.embed.batch_size, settings.embed.dimensions)
    return _hosted_embedder(workspace, settings, provider, model)


def _hosted_embedder(workspace: Workspace, settings: Settings, provider: Provider, model: str) -> Embedder:
    name, embed, chat = settings.embed.model, settings.embed, settings.chat
    if provider.protocol == "langchain":
        raise ConfigError(f"embed.model = {name!r}: langchain: names chat models; name the embedder's own vendor, or compatible:MODEL")
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
            limit=_rate_limit(provider.name, chat.requests_per_minute),
        ),
        VectorCache(workspace.embeddings),
        fingerprint=fingerprint(provider.name, model, embed.dimensions, address),
        count_tokens=_counter(chunk_tokenizer(settings)),
        max_tokens=embed.max_tokens or window(provider.name),
        dimensions=embed.dimensions,
        batch_size=embed.batch_size,
        concurrency=chat.concurrency,
    )


def embedding_price(workspace: Workspace, settings: Settings) -> Price | None:
    """Dollars for the tokens of texts to embed; ``None`` where no price is known."""
    provider, model = split_name(settings.embed.model)
    if provider.protocol == "local":
        return lambda _: 0.0
    return price_of(settings, settings.embed.model, server_address(workspace, settings, provider, model))


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
    with _loading:
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
    from ragtune.hosted.meter import RateLimit

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
                from ragtune.chat.gemini import GeminiChat
                from ragtune.hosted.gemini import connect, connect_vertex
            if provider.name == "vertex":
                client = connect_vertex(*vertex_place(workspace, settings, model), base_url=address, timeout=chat.timeout)
            else:
                client = connect(key, base_url=address, timeout=chat.timeout)
            made = GeminiChat(name, model, client=client, secret=key, key_variable=variable, thinking=chat.thinking)
        case "langchain":
            with extra("langchain"):
                from ragtune.chat.langchain import LangChainChat, load
            with dotenv_in_environment(workspace.project):
                made = LangChainChat(name, load(name, model, timeout=chat.timeout, base_url=address))
    return metered(workspace, settings, made, address)


def metered(workspace: Workspace, settings: Settings, chat: ChatModel, address: str | None) -> ChatModel:
    """A hosted chat model with the project's ledger, cap, limits and patience around it.

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
        price=price_of(settings, chat.name, address, _tuned_from(workspace, chat.name)),
        cache=settings.chat.cache,
        retries=settings.chat.retries,
        limit=_rate_limit(provider.name, settings.chat.requests_per_minute),
    )


def _tuned_from(workspace: Workspace, name: str) -> str | None:
    """The base of a model that this project tuned at Vertex AI, whose name does not tell it; it costs what its base costs."""
    if not name.startswith("vertex:projects/"):
        return None
    bases = [str(each.settings["model"]["base"]) for each in workspace.manifests("models") if each.settings.get("hosted") == name]
    return bases[0] if bases else None


def price_of(settings: Settings, name: str, address: str | None, base: str | None = None) -> Price | None:
    """Dollars for the tokens of one call; nothing on a server of one's own. A tuned model may be priced as its base.

    Raises:
        ConfigError: a cap is set, and no price is known to keep to it.
    """
    found = list_price(settings, name, address, base)
    if found is None and math.isfinite(settings.chat.max_cost):
        raise ConfigError(
            f"{name}: no price is known, so chat.max_cost cannot be kept to: set what a million prompt and completion tokens cost, as in "
            f"--set 'chat.prices={{\"{name}\" = [0.5, 1.5]}}', or take the cap off with --set chat.max_cost=inf"
        )
    return found


def list_price(settings: Settings, name: str, address: str | None, base: str | None = None) -> Price | None:
    """Dollars for the tokens of one call; ``None`` where no price is known. A tuned model is priced by its ``base``."""
    listed, model = price_name(base or name)
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


def tuning_service(workspace: Workspace, settings: Settings, base: str) -> TuningService:
    """The jobs of the vendor that tunes ``provider:model``.

    Raises:
        TuningJobError: that provider tunes nothing, or no bucket is set.
        ConfigError: the server's address or the project is missing.
        KeyRefusedError: its key is nowhere.
        MissingExtraError: its SDK is not installed.
    """
    provider, model = split_name(base)
    if provider.name != "vertex" and (provider.protocol != "openai" or provider.name == "deepseek"):
        raise TuningJobError(f"{base}: {provider.name} has no tuning that ragtune knows: see 'ragtune models list --hosted'")
    key, variable = find_key(workspace, provider)
    address = server_address(workspace, settings, provider, model)
    if provider.protocol == "openai":
        with extra("openai"):
            import openai

            from ragtune.train.openai import OpenAITuning
        client = openai.OpenAI(api_key=key or "none", base_url=address, timeout=settings.chat.timeout, max_retries=0)
        return OpenAITuning(base, model, client=client, secret=key, key_variable=variable)
    return _vertex_tuning(workspace, settings, base, model, address)


def _vertex_tuning(workspace: Workspace, settings: Settings, base: str, model: str, address: str | None) -> TuningService:
    if not settings.tuning.bucket:
        raise TuningJobError(f"{base}: examples go through a Cloud Storage bucket: set tuning.bucket (see docs/hosted.md)")
    with extra("gemini"):
        from google.auth.transport.requests import AuthorizedSession

        from ragtune.hosted.gemini import connect_vertex, find_credentials
        from ragtune.train.vertex import STORAGE, VertexTuning
    return VertexTuning(
        base,
        model,
        client=connect_vertex(*vertex_place(workspace, settings, model), base_url=address, timeout=settings.chat.timeout),
        session=AuthorizedSession(find_credentials()),  # type: ignore[no-untyped-call]
        bucket=settings.tuning.bucket.removeprefix("gs://").rstrip("/"),
        storage=read_variable(workspace.project, "STORAGE_EMULATOR_HOST") or STORAGE,
        timeout=settings.chat.timeout,
    )


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


def model_fingerprint(settings: Settings) -> str:
    """Hash of the base weights where they lie in a folder, else the hub model's name and revision."""
    if is_hosted(settings.model.base):
        return f"hosted:{settings.model.base}"
    found = resolve(settings.model.base)
    if isinstance(found, Path):
        return fingerprint(found)
    with extra("torch"):
        return f"hub:{found}@{hub_revision(found)}"


def with_base(settings: Settings, base: str) -> Settings:
    """The same settings over another base model."""
    model = ModelSettings(**{**settings.model.model_dump(), "base": base})
    return settings.model_copy(update={"model": model})


__all__ = [
    "chat_model",
    "chunk_tokenizer",
    "embedder",
    "embedding_price",
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
    "token_counter",
    "tokenizer",
    "trainer",
    "tuning_service",
    "vertex_place",
    "with_base",
]
