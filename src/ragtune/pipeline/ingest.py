"""Make the corpus equal to its sources: what is new or changed is read, what vanished is removed, what is unchanged costs a hash."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragtune import build
from ragtune.config import Settings, is_address
from ragtune.corpus import Corpus, FileState
from ragtune.errors import ConfigError, MissingExtraError, ProjectError, ReadError
from ragtune.pipeline.dataset import question_files
from ragtune.pipeline.dedupe import cut_document, dedupe
from ragtune.pipeline.purged import Purged, read_purged
from ragtune.pipeline.records import IngestResult
from ragtune.prepare import (
    RULES,
    Fields,
    Filters,
    ReadResult,
    Rule,
    Source,
    Unreadable,
    can_tell_languages,
    filter_sources,
    find_sources,
    given_metadata,
    holds_records,
    read_sources,
    reader_version,
    unused_rules,
)
from ragtune.progress import Progress, counted
from ragtune.types import Reason
from ragtune.workspace import Workspace, hash_file, now, stage_key, write_json

if TYPE_CHECKING:
    from ragtune.pipeline.pages import Pages

VERSION = 1
FLUSH_S = 0.5
"""How much reading a crash may lose; a disk is waited for as often."""
_FLUSH_FILES = 256
_SOURCES = "sources"
OUTCOME = "outcome"
"""Note in the corpus: what the last ingest left out, and could not even open."""
_MOST_LISTED = 20


def ingest(
    workspace: Workspace,
    settings: Settings,
    paths: Sequence[Path | str],
    progress: Progress,
    *,
    questions: Sequence[Path] = (),
    pages: Pages | None = None,
    hash_of: Callable[[Path], str] | None = None,
) -> IngestResult:
    """Sync the corpus with files, folders and web pages.

    Each file is one transaction, so a killed ingest keeps what it read and the next one goes on from there.

    Args:
        workspace: of the project.
        settings: prepare and embed are read.
        paths: what to ingest, web addresses as text; empty takes the setting ``documents``, else what was ingested last.
        progress: told what goes on.
        questions: files that hold questions, besides those of the setting ``questions``; they are never documents.
        pages: what :func:`look_at_pages` gave for the same paths; ``None`` looks now.
        hash_of: SHA-256 of a file's bytes; ``None`` reads them.

    Raises:
        ProjectError: nothing was named and nothing was ingested before.
        ReadError: a path does not exist, or none of the sources can be read and the corpus would be emptied for it.
    """
    started = time.monotonic()
    roots = source_paths(workspace, settings, paths)
    if not roots:
        raise ProjectError("nothing to ingest: name files, folders or web pages, or set documents in ragtune.toml")
    if settings.prepare.languages and not can_tell_languages():
        raise MissingExtraError("documents", "py3langid")
    unreadable: list[Unreadable] = []
    found = find_files(workspace, roots, unreadable.append)
    pages = pages or look_at_pages(workspace, settings, roots, progress)
    found += pages.sources if pages else []
    sources = without_questions(workspace, settings, found, questions)
    asking = sorted({source.name for source in found} - {source.name for source in sources})
    if asking:
        progress.note(f"left out of the documents, as they hold the questions: {', '.join(asking)}")
    sources, left_out = filter_sources(sources, _filters(settings))
    hashes, gone = _hashes(sources, unreadable, hash_of or hash_file)
    if pages is not None:
        left_out += pages.left_out
        gone += pages.skipped
    closed = {each.name for each in unreadable}
    always = always_sources(workspace)
    all_failed = all(source.name in closed or {*always} & {*source.path.parents} for source in found)
    purged = read_purged(workspace)
    left_out += purged.remove(hashes)
    sources = [source for source in sources if source.name in hashes]
    keys = _keys(settings, sources)
    with contextlib.closing(build.open_corpus(workspace, create=True)) as corpus:
        known = corpus.files()
        # What cannot be looked at now has not vanished: its documents stay.
        vanished = sorted(name for name in known.keys() - hashes.keys() if not _hidden(name, unreadable, pages))
        if vanished and all_failed:
            _refuse_to_empty(unreadable, pages, known)
        corpus.set_meta(_SOURCES, json.dumps([str(root) for root in roots if root not in always]))
        if pages is not None:
            pages.tidy()
        changed = _changed(sources, known, hashes, keys)
        settings_changed = sum(source.name in known and known[source.name].hash == hashes[source.name] for source in changed)
        if settings_changed:
            which = "1 unchanged file is" if settings_changed == 1 else f"{settings_changed} unchanged files are"
            progress.note(f"{which} read again, because readers, rules of cleaning or chunk settings changed")
        corpus.remove_files(vanished)
        rules = settings.prepare.metadata
        retagged = corpus.give({source: given_metadata(source, file, rules) for source, file in corpus.sources()} if rules else {})
        reasons = _read(workspace, corpus, settings, changed, hashes, keys, known, purged, progress)
        dedupe(workspace, corpus, settings)
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
            repairs=corpus.repairs(),
            left_out=(*left_out, *corpus.left_out()),
            retagged=retagged,
        )
        _keep_outcome(corpus, result)
        unused = unused_rules(corpus.sources(), rules) if rules else []
    _write_counts(workspace, settings, result)
    progress.finish("ingest", result.counts)
    if retagged:
        progress.note(f"{counted(retagged, 'document')} of before: other metadata now, by prepare.metadata")
    for pattern in unused:
        progress.note(f'prepare.metadata: "{pattern}" fits no document')
    return result


def look_at_pages(
    workspace: Workspace, settings: Settings, roots: Sequence[Path | str], progress: Progress, *, ask: bool = True
) -> Pages | None:
    """Bring the copies of the roots' web pages up to date.

    Args:
        workspace: of the project.
        settings: web and the filters of prepare are read.
        roots: what is ingested.
        progress: told what goes on.
        ask: fetch what is new or changed; else only the copies are looked at, and nothing is written.

    Returns:
        ``None`` where no root is a web address and none was.
    """
    addresses = [root for root in roots if isinstance(root, str)]
    if not addresses and not workspace.web.is_dir():
        return None
    try:
        from ragtune.pipeline.pages import find_pages
    except ModuleNotFoundError as error:
        raise MissingExtraError("documents", error.name or "urllib3") from error
    return find_pages(workspace.web, settings.web, addresses, _filters(settings), read_purged(workspace), progress, ask=ask)


def _refuse_to_empty(unreadable: Sequence[Unreadable], pages: Pages | None, known: Mapping[str, FileState]) -> None:
    """A mistyped address must not cost the corpus: whoever wants it emptied can purge it, or name an empty folder.

    Raises:
        ReadError: every source that was named fails.
    """
    failed = [*(Reason(each.name, each.reason) for each in unreadable), *(pages.skipped if pages else ())]
    if failed:
        some = "; ".join(each.line for each in failed[:3])
        raise ReadError(
            f"nothing could be read of the sources, so the corpus stays as it was, with {counted(len(known), 'file')}: {some}. "
            "Name them again; what is to go is removed by 'ragtune purge'"
        )


def _hidden(name: str, unreadable: Sequence[Unreadable], pages: Pages | None) -> bool:
    """Whether a source that was not found may be there all the same."""
    if is_address(name):
        return pages is not None and pages.hides(name)
    return any(each.hides(name) for each in unreadable)


def _hashes(sources: Sequence[Source], unreadable: list[Unreadable], hash_of: Callable[[Path], str]) -> tuple[dict[str, str], list[Reason]]:
    """Hash by name, and what vanished since it was found; a file that cannot be opened joins the unreadable ones."""
    hashes: dict[str, str] = {}
    gone: list[Reason] = []
    for source in sources:
        try:
            hashes[source.name] = hash_of(source.path)
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


def source_paths(workspace: Workspace, settings: Settings, paths: Sequence[Path | str]) -> list[Path | str]:
    """What to ingest: the paths given, else the setting ``documents``, else what was ingested last; always what was loaded or uploaded."""
    always = always_sources(workspace)
    if paths:
        return [*paths, *always]
    if settings.documents:
        return [*(item if is_address(item) else workspace.project / item for item in settings.documents), *always]
    if not workspace.corpus.is_file():
        return [*always]
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        last = json.loads(corpus.meta(_SOURCES) or "[]")
    return [*(item if is_address(item) else Path(item) for item in last), *always]


def always_sources(workspace: Workspace) -> list[Path]:
    """Folders that are ingested whatever is named: what loaders gave, and what was uploaded."""
    return [folder for folder in (workspace.loaded, workspace.uploads) if folder.is_dir()]


def find_files(
    workspace: Workspace, roots: Sequence[Path | str], on_unreadable: Callable[[Unreadable], None] | None = None
) -> list[Source]:
    """The files of the roots; what was uploaded is called ``uploads/…``, so that it changes no other document's name.

    Raises:
        ReadError: as :func:`ragtune.prepare.find_sources`.
    """
    return find_sources([root for root in roots if isinstance(root, Path)], on_unreadable, labelled=[workspace.uploads])


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
    return [source for source in sources if source.path.resolve() not in asking] if asking else list(sources)


def to_read(workspace: Workspace, settings: Settings, sources: Sequence[Source]) -> list[Source]:
    """The sources that an ingest would read, as they are new to the corpus or changed."""
    if not workspace.corpus.is_file():
        return list(sources)
    fitting, _ = filter_sources(sources, _filters(settings))
    hashes, _ = _hashes(fitting, [], hash_file)
    read_purged(workspace).remove(hashes)
    fitting = [source for source in fitting if source.name in hashes]
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        return _changed(fitting, corpus.files(), hashes, _keys(settings, fitting))


def _read(
    workspace: Workspace,
    corpus: Corpus,
    settings: Settings,
    changed: Sequence[Source],
    hashes: Mapping[str, str],
    keys: Mapping[str, str],
    known: Mapping[str, FileState],
    purged: Purged,
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
    fields = fields_of(settings)
    results = read_sources(
        [replace(source, fields=fields) for source in changed],
        settings.prepare.timeout,
        settings.prepare.memory,
        rules=rules_on(settings),
        on_progress=lambda done, _total, source: progress.update("ingest", done, source.name),
    )
    reasons = []
    for some in _batches(results):
        with corpus.batch():
            for result in some:
                name = result.source.name
                documents = [document for document in result.documents or () if document.source not in purged.sources]
                cut = [(document, cut_document(workspace, document, settings)) for document in documents]
                skipped = (result.reason or "nothing was read") if result.documents is None else _listed(result.skipped)
                given = {each.source: given_metadata(each.source, name, settings.prepare.metadata) for each in documents}
                corpus.put_file(name, hashes[name], keys[name], cut, skipped, result.repairs, given)
                if result.documents is not None:
                    why = "new" if name not in known else "changed" if known[name].hash != hashes[name] else "settings changed"
                    reasons.append(Reason(name, why))
    return reasons


def _batches(results: Iterable[ReadResult]) -> Iterator[list[ReadResult]]:
    """What is written at once: as much as is read in :data:`FLUSH_S`."""
    some: list[ReadResult] = []
    since = time.monotonic()
    for result in results:
        some.append(result)
        if len(some) >= _FLUSH_FILES or time.monotonic() - since >= FLUSH_S:
            yield some
            some, since = [], time.monotonic()
    if some:
        yield some


def _filters(settings: Settings) -> Filters:
    prepare = settings.prepare
    return Filters(prepare.include, prepare.exclude, prepare.smallest, prepare.largest, prepare.modified_since)


def _write_counts(workspace: Workspace, settings: Settings, result: IngestResult) -> None:
    """The manifest of the corpus as it is now: counts and settings, no names. It stays as it is where nothing changed."""
    counts = {name: len(getattr(result, name)) for name in ("skipped", "duplicates", "left_out")}
    figures = {"documents": result.documents, "chunks": result.chunks, **counts, "repairs": dict(result.repairs)}
    manifest: dict[str, Any] = {"figures": figures, "settings": settings.prepare.model_dump(mode="json")}
    try:
        before = json.loads(workspace.ingested.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    changed = result.read or result.removed or result.retagged
    if changed or {**before, "created": None} != {**manifest, "created": None}:
        write_json(workspace.ingested, {**manifest, "created": now()})


def _keep_outcome(corpus: Corpus, result: IngestResult) -> None:
    """For a later report, what the tables do not tell."""
    known = {reason.source for reason in corpus.skipped()}
    unopened = [[each.source, each.reason] for each in result.skipped if each.source not in known]
    outcome = json.dumps({"left_out": [[each.source, each.reason] for each in result.left_out], "skipped": unopened}, ensure_ascii=False)
    if corpus.meta(OUTCOME) != outcome:
        corpus.set_meta(OUTCOME, outcome)


def fields_of(settings: Settings) -> Fields:
    """Which fields of rows and records hold what."""
    return Fields(settings.prepare.id_field, settings.prepare.title_field, settings.prepare.text_fields)


def _listed(skipped: Sequence[Reason]) -> str | None:
    """What of an archive was not read, in one text."""
    if not skipped:
        return None
    others = f"; and {len(skipped) - _MOST_LISTED} more" if len(skipped) > _MOST_LISTED else ""
    return f"{len(skipped)} of its parts: " + "; ".join(reason.reason for reason in skipped[:_MOST_LISTED]) + others


def _keys(settings: Settings, sources: Sequence[Source]) -> dict[str, str]:
    """Of everything that decides what a file becomes, besides its bytes; limits decide only whether it is read."""
    prepare = settings.prepare
    read: dict[str, object] = {"size": prepare.chunk_size, "overlap": prepare.chunk_overlap, "tokenizer": build.chunk_tokenizer(settings)}
    off = sorted(RULES - set(rules_on(settings)))
    read |= {"off": off} if off else {}
    fields = fields_of(settings)
    by_kind: dict[tuple[str, bool], str] = {}
    keys = {}
    for source in sources:
        kind = reader_version(source.like), fields != Fields() and holds_records(source.like)
        if kind not in by_kind:
            by_kind[kind] = stage_key("ingest", VERSION, {**read, "fields": asdict(fields)} if kind[1] else read, kind[0])
        keys[source.name] = by_kind[kind]
    return keys


def rules_on(settings: Settings) -> list[Rule]:
    """Rules of cleaning that are switched on."""
    return [rule for rule in sorted(RULES) if getattr(settings.prepare, rule.replace(" ", "_"))]


def _changed(sources: Sequence[Source], known: Mapping[str, FileState], hashes: Mapping[str, str], keys: Mapping[str, str]) -> list[Source]:
    return [source for source in sources if not _same(known.get(source.name), hashes[source.name], keys[source.name])]


def _same(known: FileState | None, hash_: str, key: str) -> bool:
    return known is not None and known.hash == hash_ and known.key == key
