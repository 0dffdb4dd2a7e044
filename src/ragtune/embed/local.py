"""A local embedder that is loaded when something is first embedded.

Loading it and its libraries takes seconds and half a gigabyte. So what chunking, syncing and the keys of artifacts ask of it is kept beside
the model: fingerprint, dimension and window. Tokens are counted by its tokenizer.json alone, where that counts as the model does.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragtune.embed.tokens import FILE, counter_of, load_counter
from ragtune.errors import ModelError
from ragtune.protocols import Float32

if TYPE_CHECKING:
    from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder

_FORMAT = 1
_SIDECAR = ".ragtune-embedder.json"
_SETTLED_S = 2.0  # a file that was written this lately may be written again without another time


@dataclass(frozen=True, slots=True)
class _Description:
    """What is kept of a model; ``counts`` where its tokenizer.json alone counts as it does."""

    fingerprint: str
    dimension: int
    max_tokens: int
    counts: bool


class LocalEmbedder:
    """Fulfils the embedder's contract.

    Args:
        folder: of a sentence-transformers model.
        load: loads it.
        dimensions: what its vectors are cut to.

    Raises:
        ModelError: the model cannot be loaded.
    """

    def __init__(self, folder: Path, load: Callable[[], SentenceTransformersEmbedder], dimensions: int | None = None) -> None:
        self._folder = folder
        self._load = load
        self._loaded: SentenceTransformersEmbedder | None = None
        self._lock = threading.Lock()
        stamp = _stamp(folder, dimensions)
        known = _read(folder, stamp)
        if known is None:
            self._loaded = load()
            known = _describe(folder, self._loaded)
            if _stamp(folder, dimensions) == stamp:
                _write(folder, stamp, known)
        self.name = folder.name
        self.fingerprint, self.dimension, self.max_tokens = known.fingerprint, known.dimension, known.max_tokens
        self._count = load_counter(folder) if known.counts else None

    def embed_documents(self, texts: Sequence[str]) -> Float32:
        """Vectors ``[n, d]``, L2-normalised."""
        return self._model().embed_documents(texts) if texts else self._nothing()

    def embed_queries(self, texts: Sequence[str]) -> Float32:
        """Vectors ``[q, d]``, L2-normalised; the model's own query prompt is used where it has one."""
        return self._model().embed_queries(texts) if texts else self._nothing()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text without special ones, never truncated or padded, whatever tokenizer.json says."""
        if not texts:
            return []
        return self._count(texts) if self._count else self._model().count_tokens(texts)

    def _nothing(self) -> Float32:
        return np.zeros((0, self.dimension), np.float32)

    def _model(self) -> SentenceTransformersEmbedder:
        with self._lock:
            if self._loaded is None:
                loaded = self._load()
                if loaded.fingerprint != self.fingerprint:
                    (self._folder / _SIDECAR).unlink(missing_ok=True)
                    raise ModelError(f"the model in {self._folder} is not the one that was there before: run this again")
                self._loaded = loaded
            return self._loaded


def _describe(folder: Path, loaded: SentenceTransformersEmbedder) -> _Description:
    file = folder / FILE
    counts = file.is_file() and loaded.tokenizer == counter_of(file.read_text(encoding="utf-8")).to_str()
    return _Description(loaded.fingerprint, loaded.dimension, loaded.max_tokens, counts)


def _stamp(folder: Path, dimensions: int | None) -> dict[str, Any]:
    """Of what decides the description: the model's files by size and time, and the library that reads them."""
    found = sorted(path for path in folder.rglob("*") if not path.name.startswith(".") and path.is_file())
    files = [[path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns] for path in found]
    return {"format": _FORMAT, "library": version("sentence-transformers"), "dimensions": dimensions, "files": files}


def _read(folder: Path, stamp: dict[str, Any]) -> _Description | None:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads((folder / _SIDECAR).read_text(encoding="utf-8"))
        if kept["of"] == stamp:
            return _Description(**kept["is"])
    return None


def _write(folder: Path, stamp: dict[str, Any], description: _Description) -> None:
    if any(time.time_ns() - changed < _SETTLED_S * 1e9 for _, _, changed in stamp["files"]):
        return
    temporary = folder / f"{_SIDECAR}.{os.getpid()}"
    with contextlib.suppress(OSError):  # from a folder that we may not write to the model is loaded each time
        temporary.write_text(json.dumps({"of": stamp, "is": asdict(description)}), encoding="utf-8")
        temporary.replace(folder / _SIDECAR)
