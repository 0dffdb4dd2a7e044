"""The reranker; loaded once a process."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ragtune.backends.local import extra, loading
from ragtune.models.fingerprint import fingerprint, hub_revision
from ragtune.models.pull import resolve

if TYPE_CHECKING:
    from ragtune.protocols import Reranker


def reranker(name: str, device: str | None = None) -> Reranker:
    """The cross-encoder of that name.

    Raises:
        ModelError: there is none, or it is none.
        MissingExtraError: its library is not installed.
    """
    with loading:
        return _reranker(name, device)


def reranker_fingerprint(name: str) -> str:
    """Hash of its weights where they lie in a folder, else the hub model's name and revision."""
    found = resolve(name)
    with extra("torch"):
        return fingerprint(found) if isinstance(found, Path) else f"hub:{found}@{hub_revision(found)}"


@lru_cache(maxsize=1)
def _reranker(name: str, device: str | None) -> Reranker:
    with extra("torch"):
        from ragtune.retrieve.cross_encoder import CrossEncoderReranker
    return CrossEncoderReranker(resolve(name), fingerprint=reranker_fingerprint(name), device=device)
