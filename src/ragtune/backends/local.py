"""Models on this machine: embedder, engine, tokenizer, trainer; each loaded once, whichever threads want it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragtune.config import EmbedSettings, Settings
from ragtune.errors import MissingExtraError
from ragtune.hosted.providers import is_hosted
from ragtune.models.fingerprint import fingerprint, hub_revision
from ragtune.models.pull import resolve
from ragtune.templates import load_tokenizer

if TYPE_CHECKING:
    from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder
    from ragtune.protocols import Embedder, Engine, Trainer


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Turn a missing module into the error that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(name, error.name or str(error)) from None


loading = threading.RLock()
"""Held while a model is loaded: transformers loads through state of the whole process, and two threads want one model once."""


@lru_cache(maxsize=2)
def _embedder(model: str, batch_size: int, dimensions: int | None) -> Embedder:
    found = resolve(model)

    def load() -> SentenceTransformersEmbedder:
        with loading, extra("torch"):
            from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder

            return SentenceTransformersEmbedder(found, batch_size=batch_size, dimensions=dimensions)

    if not isinstance(found, Path):
        return load()
    with extra("torch"):
        from ragtune.embed.local import LocalEmbedder

        return LocalEmbedder(found, load, dimensions)


def local_embedder(embed: EmbedSettings, model: str | Path | None = None) -> Embedder:
    """The embedder of a local model, the settings' or another; loaded once a process, when something is first embedded."""
    with loading:
        return _embedder(str(model or embed.model), embed.batch_size, embed.dimensions)


@lru_cache(maxsize=1)
def _engine(model: str, device: str | None, dtype: str, template: str | None) -> Engine:
    with extra("torch"):
        from ragtune.engine.huggingface import HuggingFaceEngine
    return HuggingFaceEngine(resolve(model), device=device, dtype=dtype, template=template)  # type: ignore[arg-type]


def engine(settings: Settings) -> Engine:
    """The engine of the base model; loaded once a process."""
    with loading:
        return _engine(settings.model.base, settings.model.device, settings.model.dtype, settings.model.chat_template)


def continuous_engine(settings: Settings) -> Engine:
    """The engine of the base model for many callers at once, as ``serve`` sets it."""
    with extra("torch"):
        from ragtune.engine.continuous import ContinuousEngine
    serve = settings.serve
    made: Any = engine(settings)
    return ContinuousEngine(made, rows=serve.rows, waiting=serve.waiting, timeout=serve.timeout)


def engine_over(model: Any, tokenizer: Any) -> Engine:
    """An engine over a model that is being trained."""
    with extra("torch"):
        from ragtune.engine.huggingface import HuggingFaceEngine
    return HuggingFaceEngine.over(model, tokenizer)


def tokenizer(settings: Settings) -> Any:
    """The base model's tokenizer alone, without its weights."""
    with extra("torch"):
        return load_tokenizer(resolve(settings.model.base), settings.model.chat_template)


def release_engine() -> None:
    """Free the engine's memory, before training loads the model once more."""
    _engine.cache_clear()


def trainer(settings: Settings) -> Trainer:
    """The trainer of ``train.backend``.

    Raises:
        TrainError: a setting is another backend's.
        MissingExtraError: the backend is not installed.
    """
    train = settings.train
    shared: dict[str, Any] = {
        "rank": train.rank,
        "alpha": train.alpha,
        "rslora": train.rslora,
        "targets": train.targets,
        "dropout": train.dropout,
        "learning_rate": train.learning_rate,
        "warmup": train.warmup,
        "epochs": train.epochs,
        "rehearsal": train.rehearsal,
        "answers_per_step": train.answers_per_step,
        "seed": train.seed,
        "dtype": settings.model.dtype,
        "device": settings.model.device,
        "tokens_per_batch": train.tokens_per_batch,
        "average_checkpoints": train.average_checkpoints,
        "early_stopping": train.early_stopping,
        "template": settings.model.chat_template,
    }
    if train.backend == "keras":
        return _keras_trainer(settings, shared)
    with extra("torch"):
        from ragtune.train.torch import TorchTrainer
    release_engine()
    return TorchTrainer(resolve(settings.model.base), method=train.method, gradient_checkpointing=train.gradient_checkpointing, **shared)


def _keras_trainer(settings: Settings, shared: dict[str, Any]) -> Trainer:
    from ragtune.train.keras.limits import check_supported

    train = settings.train
    check_supported(method=train.method, gradient_checkpointing=train.gradient_checkpointing, device=settings.model.device)
    with extra("tensorflow"):
        from ragtune.train.keras.trainer import KerasTrainer
    release_engine()
    return KerasTrainer(resolve(settings.model.base), **shared)


def write_model(settings: Settings, weights: Path, output: Path, *, tensorflow: bool) -> None:
    """Write a tuned model whole, as a checkpoint or as a SavedModel of TensorFlow.

    Args:
        settings: those of its base.
        weights: folder of its adapter, or of the whole model.
        output: a new folder.
        tensorflow: as a SavedModel.
    """
    with extra("torch"):
        from ragtune.train.merge import merge_adapter
    if tensorflow:
        with extra("tensorflow"):
            from ragtune.train.keras.saved_model import save_tensorflow
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        whole = Path(folder) / "whole"
        if (weights / "adapter_config.json").is_file():
            merge_adapter(_local_folder(settings.model.base), weights, whole, settings.model.chat_template)
        elif tensorflow:
            whole = weights
        else:
            shutil.copytree(weights, whole, ignore=shutil.ignore_patterns(".*"))  # notes of what was computed from these files
        if tensorflow:
            save_tensorflow(whole, output)
        else:
            whole.rename(output)


def _local_folder(base: str) -> Path:
    found = resolve(base)
    if isinstance(found, Path):
        return found
    from huggingface_hub import snapshot_download  # which looks into its cache first

    return Path(snapshot_download(found, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]))


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
    """The same settings over another base model, which has a chat template of its own."""
    template = settings.model.chat_template if base == settings.model.base else None
    return settings.model_copy(update={"model": settings.model.model_copy(update={"base": base, "chat_template": template})})


def with_base_of(settings: Settings, tuned: Mapping[str, Any]) -> Settings:
    """The same settings over the base that a model was tuned on, with the chat template that it was tuned with."""
    update = {"base": str(tuned["base"]), "chat_template": tuned.get("chat_template")}
    return settings.model_copy(update={"model": settings.model.model_copy(update=update)})


def model_part(settings: Settings) -> dict[str, Any]:
    """The model's settings as they are part of keys; a template that is its own is not, as it was before there was a choice."""
    return {name: value for name, value in settings.model.model_dump(mode="json").items() if name != "chat_template" or value is not None}
