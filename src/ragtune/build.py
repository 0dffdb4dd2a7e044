"""Settings to objects. This module alone names the backends, and imports each inside the function that makes it.

A backend is a name, resolved by a plain ``match``; where its library is missing, :class:`~ragtune.errors.MissingExtraError` names the
extra.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragtune.config import ModelSettings, Settings
from ragtune.errors import CorpusError, MissingExtraError
from ragtune.models.fingerprint import fingerprint, hub_revision
from ragtune.models.pull import resolve
from ragtune.workspace import Workspace

if TYPE_CHECKING:
    from ragtune.corpus import Corpus
    from ragtune.protocols import Embedder, Engine, Trainer, VectorStore


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


def model_fingerprint(settings: Settings) -> str:
    """Hash of the base weights where they lie in a folder, else the hub model's name and revision."""
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
    "embedder",
    "engine",
    "extra",
    "load_store",
    "model_fingerprint",
    "new_store",
    "open_corpus",
    "release_engine",
    "tokenizer",
    "trainer",
    "with_base",
]
