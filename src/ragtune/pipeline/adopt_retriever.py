"""Let a tuned retriever serve, or no longer: one small file says which, and is written when every vector is there."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ragtune import build
from ragtune.backends.adopted import EMBEDDER, RERANKER
from ragtune.config import Settings
from ragtune.errors import ProjectError
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.index import build_index, embed_missing
from ragtune.pipeline.records import RetrieverResult
from ragtune.progress import Progress
from ragtune.workspace import Manifest, Workspace, now, write_json

STAGE = "retriever"


def undo_retriever(workspace: Workspace, settings: Settings, progress: Progress) -> RetrieverResult:
    """Let the retriever that the settings name serve again; the tuned one stays in its folder.

    Raises:
        ProjectError: none is in force.
    """
    if not workspace.adopted.is_file():
        raise ProjectError("no tuned retriever is in force: there is nothing to undo")
    record = None
    with contextlib.suppress(ProjectError):
        record = build.read_adoption(workspace)
    if not is_hosted(settings.embed.model):  # the tuned one serves until every vector is there
        _embed(workspace, settings, None, progress)
    workspace.adopted.unlink()
    build_index(workspace, settings, progress, quiet=True)
    was = (record or {}).get("name", "")
    progress.finish(STAGE, f"{was} no longer serves, {settings.embed.model} does: run 'ragtune dataset' to retrieve with it again")
    return RetrieverResult(was, str(workspace.artifact("retrievers", was)) if was else "", False, ())


def adopt(workspace: Workspace, settings: Settings, manifest: Manifest, progress: Progress) -> tuple[str, ...]:
    """Let what of a tuned retriever is better serve, and nothing else of it; the parts that do."""
    parts = tuple(
        part for part in (EMBEDDER, RERANKER) if manifest.figures["better"][part] and (part == EMBEDDER or settings.retriever.rerank)
    )
    if not parts:
        if (build.read_adoption(workspace) or {}).get("name") == manifest.name:
            undo_retriever(workspace, settings, progress)
        _forget_vectors(workspace)
        progress.finish(STAGE, f"{manifest.name} is not clearly better, and is not adopted: retrieval stays as it was")
        return ()
    folder = workspace.artifact("retrievers", manifest.name)
    if EMBEDDER in parts:  # the old one serves until every vector is there
        _embed(workspace, settings, folder / EMBEDDER, progress)
    write_json(
        workspace.adopted,
        {
            "name": manifest.name,
            "embed_model": settings.embed.model,
            "dimensions": settings.embed.dimensions,
            EMBEDDER: EMBEDDER in parts,
            RERANKER: RERANKER in parts,
            "rerank_weight": manifest.settings["retriever"]["rerank_weight"],
            "since": now(),
        },
    )
    build_index(workspace, settings, progress, quiet=True)
    _forget_vectors(workspace)
    progress.finish(STAGE, f"{' and '.join(parts)} of {manifest.name} serve from now on: run 'ragtune run' to train on what they find")
    return parts


def _forget_vectors(workspace: Workspace) -> None:
    """Of tuned embedders that do not serve: they can be made again, and each set is as large as the index."""
    record = build.read_adoption(workspace) or {}
    kept: set[str] = set()
    known: set[str] = set()
    for manifest in workspace.manifests("retrievers"):  # two that differ in the cross-encoder's weight alone have the same embedder
        serves = record.get(EMBEDDER) and manifest.name == record["name"]
        (kept if serves else known).update(manifest.figures["embedders"])
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        for fingerprint in sorted(known - kept):
            corpus.drop_vectors(fingerprint)


def _embed(workspace: Workspace, settings: Settings, model: Path | None, progress: Progress) -> None:
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        embed_missing(corpus, build.local_embedder(settings.embed, model), progress)
