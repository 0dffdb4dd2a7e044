"""Which tuned retriever is in force: a record in the workspace, read wherever an embedder or reranker is made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragtune.config import Settings
from ragtune.errors import ProjectError
from ragtune.workspace import Workspace

EMBEDDER, RERANKER, FOLDS = "embedder", "reranker", "folds"
"""Folders of a tuned retriever: two models, and the same again for each fold."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A tuned retriever in force; of its two models one may be left out, where it was not better. ``weight`` is the reranker's."""

    name: str
    folder: Path
    with_embedder: bool
    with_reranker: bool
    weight: float

    @property
    def embedder(self) -> Path | None:
        """In place of ``embed.model``."""
        return self.folder / EMBEDDER if self.with_embedder else None

    @property
    def reranker(self) -> Path | None:
        """Where ``retrieve.reranker`` is not set."""
        return self.folder / RERANKER if self.with_reranker else None

    def fold(self, number: int) -> Adopted:
        """The retriever that was tuned without the questions of a fold."""
        return Adopted(self.name, self.folder / FOLDS / str(number), self.with_embedder, self.with_reranker, self.weight)

    def check(self) -> None:
        """Look whether the models that serve are there.

        Raises:
            ProjectError: one is gone.
        """
        for path in (self.embedder, self.reranker):
            if path and not path.is_dir():
                raise ProjectError(f"the tuned retriever {self.name} lacks {path}: run 'ragtune train --retriever' again, or with --undo")


def read_adoption(workspace: Workspace) -> dict[str, Any] | None:
    """The record as it stands, whether the settings still fit it or not.

    Raises:
        ProjectError: it is damaged.
    """
    try:
        record: dict[str, Any] = json.loads(workspace.adopted.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ProjectError(f"{workspace.adopted} is damaged ({error}): run 'ragtune train --retriever --undo'") from None
    return record


def adopted(workspace: Workspace, settings: Settings) -> Adopted | None:
    """The tuned retriever in force: one that was made of the embedder that the settings name.

    Raises:
        ProjectError: its folder is gone, or the record is damaged.
    """
    record = read_adoption(workspace)
    if record is None or [record["embed_model"], record["dimensions"]] != [settings.embed.model, settings.embed.dimensions]:
        return None
    folder = workspace.artifact("retrievers", record["name"])
    found = Adopted(record["name"], folder, record["embedder"], record["reranker"], record["rerank_weight"])
    found.check()
    return found


@dataclass(frozen=True, slots=True)
class Reranking:
    """A cross-encoder's name or folder, and the share of its score in the ranking."""

    name: str
    weight: float


def reranking(settings: Settings, tuned: Adopted | None) -> Reranking | None:
    """The cross-encoder that serves: the setting's, else the tuned one, else none."""
    if settings.retrieve.reranker:
        return Reranking(settings.retrieve.reranker, settings.retrieve.rerank_weight)
    return Reranking(str(tuned.reranker), tuned.weight) if tuned and tuned.reranker else None
