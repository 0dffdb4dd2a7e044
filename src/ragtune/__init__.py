"""ragtune turns a folder of documents into a language model that answers from them, with citations, and measures whether it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ragtune.sqlite  # noqa: F401 - before anything else opens SQLite: beside TensorFlow it takes care
from ragtune.memory import bound_kernels

__version__ = "0.1.0"
__all__ = ["Project", "RagtuneError", "Settings", "__version__"]

bound_kernels()

if TYPE_CHECKING:
    from ragtune.config import Settings
    from ragtune.errors import RagtuneError
    from ragtune.project import Project


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that ``import ragtune`` costs next to nothing."""
    if name == "Project":
        from ragtune.project import Project

        return Project
    if name == "Settings":
        from ragtune.config import Settings

        return Settings
    if name == "RagtuneError":
        from ragtune.errors import RagtuneError

        return RagtuneError
    raise AttributeError(f"module 'ragtune' has no attribute {name!r}")
