"""Make the corpus equal to its sources: what is new or changed is read, what vanished is removed, what is unchanged costs a hash."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ragtune import build
from ragtune.config import Settings
from ragtune.corpus import Corpus, FileState
from ragtune.errors import ConfigError, ProjectError
from ragtune.pipeline.dataset import question_files
from ragtune.pipeline.records import IngestResult
from ragtune.prepare import (
    Fields,
    Source,
    Unreadable,
    chunk_document,
    find_duplicates,
    find_sources,
    holds_records,
    read_sources,
    reader_version,
)
from ragtune.progress import Progress
from ragtune.types import Chunk, Document, Reason
from ragtune.workspace import Workspace, hash_file, stage_key

VERSION = 1
_SOURCES = "sources"
_DEDUPED = "deduped"
_MOST_LISTED = 20


def ingest(
    workspace: Workspace, settings: Settings, paths: Sequence[Path], progress: Progress, *, questions: Sequence[Path] = ()
) -> IngestResult:
    """Sync the corpus with files and folders.

    Each file is one transaction, so a killed ingest keeps what it read and the next one goes on from there.

    Args:
        workspace: of the project.
        settings: prepare and embed are read.
        paths: what to ingest; empty takes the setting ``documents``, else what was ingested last.
        progress: told what goes on.
        questions: files that hold questions, besides those of the setting ``questions``; they are never documents.

    Raises:
        ProjectError: nothing was named and nothing was ingested before.
        ReadError: a path does not exist.
    """
    started = time.monotonic()
    roots = source_paths(workspace, settings, paths)
    if not roots:
        raise ProjectError("nothing to ingest: name files or folders, or set documents in ragtune.toml")
    unreadable: list[Unreadable] = []
    found = find_sources(roots, unreadable.append)
    sources = without_questions(workspace, settings, found, questions)
    asking = sorted({source.name for source in found} - {source.name for source in sources})
    if asking:
        progress.note(f"left out of the documents, as they hold the questions: {', '.join(asking)}")
    hashes, gone = _hashes(sources, unreadable)
    sources = [source for source in sources if source.name in hashes]
    keys = {source.name: _key(settings, source.name) for source in sources}
    with contextlib.closing(build.open_corpus(workspace, create=True)) as corpus:
        corpus.set_meta(_SOURCES, json.dumps([str(root) for root in roots if root != workspace.loaded]))
        known = corpus.files()
        changed = [source for source in sources if not _same(known.get(source.name), hashes[source.name], keys[source.name])]
        settings_changed = sum(source.name in known and known[source.name].hash == hashes[source.name] for source in changed)
        if settings_changed:
            progress.note(f"{settings_changed} unchanged files are read again, because readers or chunk settings changed")
        # What cannot be looked at now has not vanished: its documents stay.
        vanished = sorted(name for name in known.keys() - hashes.keys() if not any(each.hides(name) for each in unreadable))
        corpus.remove_files(vanished)
        reasons = _read(workspace, corpus, settings, changed, hashes, keys, known, progress)
        _dedupe(workspace, corpus, settings)
        stats = corpus.stats()
        duplicates = corpus.duplicates()
        result = IngestResult(
            read=tuple(reasons),
            skipped=_skipped(corpus, unreadable, gone),
            duplicates=tuple(duplicates),
            removed=tuple(Reason(name, "it is no longer among the sources") for name in vanished),
            unchanged=len(sources) - len(changed),
            documents=stats.documents,
            chunks=stats.chunks,
            seconds=round(time.monotonic() - started, 3),
        )
    progress.finish(
        "ingest",
        f"{len(result.read)} files read, {result.unchanged} unchanged, {len(result.removed)} removed, {len(result.skipped)} skipped, "
        f"{len(duplicates)} duplicates: {result.documents} documents, {result.chunks} chunks",
    )
    for reason in result.skipped[:5]:
        progress.note(f"skipped {reason.source}: {reason.reason}")
    return result


def _hashes(sources: Sequence[Source], unreadable: list[Unreadable]) -> tuple[dict[str, str], list[Reason]]:
    """Hash by name, and what vanished since it was found; a file that cannot be opened joins the unreadable ones."""
    hashes: dict[str, str] = {}
    gone: list[Reason] = []
    for source in sources:
        try:
            hashes[source.name] = hash_file(source.path)
        except FileNotFoundError:
            gone.append(Reason(source.name, "it vanished before it was read"))
        except OSError as error:
            unreadable.append(Unreadable(source.name, f"it cannot be opened: {error.strerror or error}"))
    return hashes, gone


def _skipped(corpus: Corpus, unreadable: Sequence[Unreadable], gone: Sequence[Reason]) -> tuple[Reason, ...]:
    """Files skipped as the corpus knows them, and what could not even be opened, which the next ingest tries again."""
    reasons = {reason.source: reason for reason in corpus.skipped()}
    reasons |= {reason.source: reason for reason in [*gone, *(Reason(each.name, each.reason) for each in unreadable)]}
    return tuple(reasons[name] for name in sorted(reasons))


def source_paths(workspace: Workspace, settings: Settings, paths: Sequence[Path]) -> list[Path]:
    """What to ingest: the paths given, else the setting ``documents``, else what was ingested last; always what loaders gave as well."""
    loaded = [workspace.loaded] if workspace.loaded.is_dir() else []
    if paths:
        return [*paths, *loaded]
    if settings.documents:
        return [*(workspace.project / item for item in settings.documents), *loaded]
    if not workspace.corpus.is_file():
        return loaded
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        return [*(Path(item) for item in json.loads(corpus.meta(_SOURCES) or "[]")), *loaded]


def without_questions(workspace: Workspace, settings: Settings, sources: Sequence[Source], given: Sequence[Path]) -> list[Source]:
    """The sources that are no question files: those would put the answers of the test into the index.

    Args:
        workspace: of the project.
        settings: the files of ``questions`` count whatever is given, so that one command keeps to what another did.
        sources: found under the documents.
        given: question files and folders of this run.
    """
    named = [workspace.project / item for item in settings.questions]
    paths = [*given, *(path for path in named if path.exists())]
    asking = {path.resolve() for path in question_files(workspace, settings, paths)} if paths else set()
    return [source for source in sources if source.path.resolve() not in asking]


def _read(
    workspace: Workspace,
    corpus: Corpus,
    settings: Settings,
    changed: Sequence[Source],
    hashes: Mapping[str, str],
    keys: Mapping[str, str],
    known: Mapping[str, FileState],
    progress: Progress,
) -> list[Reason]:
    if not changed:
        return []
    window, size = build.embedder(workspace, settings).max_tokens, settings.prepare.chunk_size
    if size > window:
        raise ConfigError(
            f"prepare.chunk_size = {size}: {settings.embed.model} reads {window} tokens, and what stands beyond would never be found; "
            f"set it to {window} or less"
        )
    progress.start("ingest", len(changed))
    reasons = []
    fields = _fields(settings)
    results = read_sources(
        [replace(source, fields=fields) for source in changed],
        settings.prepare.timeout,
        settings.prepare.memory,
        on_progress=lambda done, _total, source: progress.update("ingest", done, source.name),
    )
    for result in results:
        name = result.source.name
        if result.documents is None:
            corpus.put_file(name, hashes[name], keys[name], [], skipped=result.reason or "nothing was read")
            continue
        cut = [(document, _chunks(workspace, document, settings)) for document in result.documents]
        corpus.put_file(name, hashes[name], keys[name], cut, skipped=_listed(result.skipped))
        why = "new" if name not in known else "changed" if known[name].hash != hashes[name] else "settings changed"
        reasons.append(Reason(name, why))
    return reasons


def _dedupe(workspace: Workspace, corpus: Corpus, settings: Settings) -> None:
    """Leave duplicates out of the index, and take in again what no longer is one.

    All documents are compared, not only new ones, so the result does not depend on the order in which they came.
    """
    state = f"{corpus.generation} {settings.prepare.near_duplicates}"
    if corpus.meta(_DEDUPED) == state:
        return
    documents = {document.source: document for document in corpus.all_documents()}
    wanted = {found.source: found.reason for found in find_duplicates(list(documents.values()), settings.prepare.near_duplicates)}
    marked = {reason.source: reason.reason for reason in corpus.duplicates()}
    for source in sorted(wanted.keys() | marked.keys()):
        if wanted.get(source) != marked.get(source):
            chunks = [] if source in wanted else _chunks(workspace, documents[source], settings)
            corpus.set_duplicate(source, wanted.get(source), chunks)
    corpus.set_meta(_DEDUPED, f"{corpus.generation} {settings.prepare.near_duplicates}")


def _chunks(workspace: Workspace, document: Document, settings: Settings) -> list[Chunk]:
    count = build.token_counter(workspace, settings)
    return chunk_document(document, count, settings.prepare.chunk_size, settings.prepare.chunk_overlap)


def _fields(settings: Settings) -> Fields:
    return Fields(settings.prepare.id_field, settings.prepare.title_field, settings.prepare.text_fields)


def _listed(skipped: Sequence[Reason]) -> str | None:
    """What of an archive was not read, in one text."""
    if not skipped:
        return None
    others = f"; and {len(skipped) - _MOST_LISTED} more" if len(skipped) > _MOST_LISTED else ""
    return f"{len(skipped)} of its parts: " + "; ".join(reason.reason for reason in skipped[:_MOST_LISTED]) + others


def _key(settings: Settings, name: str) -> str:
    """Of everything that decides what a file becomes, besides its bytes; limits decide only whether it is read."""
    read: dict[str, object] = {
        "size": settings.prepare.chunk_size,
        "overlap": settings.prepare.chunk_overlap,
        "tokenizer": build.chunk_tokenizer(settings),
    }
    if (fields := _fields(settings)) != Fields() and holds_records(name):
        read["fields"] = asdict(fields)
    return stage_key("ingest", VERSION, read, reader_version(name))


def _same(known: FileState | None, hash_: str, key: str) -> bool:
    return known is not None and known.hash == hash_ and known.key == key
