"""The report of the last ingest, and one document beside its source: read from the corpus, written as pages into the workspace.

Files are looked at only where a document is shown beside its own. The pages hold text of documents, so a purge removes them.
"""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ragtune import build
from ragtune.config import Settings
from ragtune.corpus import Corpus, Overview, embedding_text
from ragtune.errors import ProjectError, RagtuneError, ReadError
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.ingest import OUTCOME, fields_of, find_files, look_at_pages, rules_on, source_paths
from ragtune.prepare.preview import Preview, original_text, preview_chunks
from ragtune.prepare.report import (
    FORMATS,
    UNTOLD,
    Histogram,
    IngestReport,
    causes,
    choose_previews,
    cleaning,
    lengths_in_characters,
    lengths_in_tokens,
    shares,
    source_of,
)
from ragtune.prepare.report_page import render_preview, render_report
from ragtune.prepare.sources import Source
from ragtune.progress import Progress, Silent
from ragtune.types import Document, Reason, Where
from ragtune.workspace import Workspace, hash_file, write_bytes

MEASURED = 20_000
"""Chunks whose tokens are counted; of more, every few."""
PREVIEWS, PREVIEW_CHARACTERS, LONGEST_PREVIEW = 200, 3_000_000, 40_000
"""Documents in the page of a whole corpus, characters of their texts together, and of one."""
LONGEST_ALONE = 2_000_000
"""Characters of a document in a page of its own."""
_LARGEST_FILE = 64 << 20  # bytes; a larger one is not shown
_ATTEMPTS = 5
_BATCH = 1000
_NEAR = 5  # names in an error
_Made = TypeVar("_Made")


def ingest_report(workspace: Workspace, settings: Settings, progress: Progress) -> IngestReport:
    """What the corpus holds, what it lacks and why; as a page too.

    Raises:
        CorpusError: nothing was ingested yet.
        ProjectError: another command changes the corpus all the while.
    """
    page = workspace.reports / "ingest.html"

    def make(corpus: Corpus) -> IngestReport:
        report, documents = _report(workspace, settings, corpus, progress)
        chosen = choose_previews(documents, PREVIEWS, PREVIEW_CHARACTERS, LONGEST_PREVIEW)
        look = _Looker(workspace, settings, corpus)
        previews = [_shortened(look.at(source, LONGEST_PREVIEW, read=False), LONGEST_PREVIEW) for source in chosen]
        write_bytes(page, render_report(report, previews).encode())
        return replace(report, page=str(page))

    report = _settled(workspace, make, page)
    progress.finish("report", f"{len(report.formats)} formats, {sum(cause.count for cause in report.skipped)} skipped")
    return report


def preview_document(workspace: Workspace, settings: Settings, name: str) -> Preview:
    """One document beside its source and its chunks, and the page that shows it.

    Args:
        workspace: of the project.
        settings: of the embedder, whose tokens are counted, and limits of reading.
        name: of the document; a unique ending will do.

    Raises:
        ProjectError: there is none of that name, or there are several.
    """
    page = workspace.reports / "document.html"

    def make(corpus: Corpus) -> Preview:
        preview = _Looker(workspace, settings, corpus).at(_find(corpus, name), None, read=True)
        write_bytes(page, render_preview(_shortened(preview, LONGEST_ALONE), _created(workspace)).encode())
        return replace(preview, page=str(page))

    return _settled(workspace, make, page)


def _settled(workspace: Workspace, make: Callable[[Corpus], _Made], page: Path) -> _Made:
    """What was made of one state of the corpus: were it purged meanwhile, the page would hold what is to be gone."""
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        for _ in range(_ATTEMPTS):
            before = corpus.revision
            made = make(corpus)
            if corpus.revision == before:
                return made
            page.unlink(missing_ok=True)
    raise ProjectError("another command changes the corpus all the while: wait for it to end, and run this again")


def _report(workspace: Workspace, settings: Settings, corpus: Corpus, progress: Progress) -> tuple[IngestReport, list[Overview]]:
    documents, stats, last = corpus.overview(), corpus.stats(), _last(workspace)
    known = [each for each in documents if not each.duplicate]
    window = _window(workspace, settings)
    tokens, cut = _tokens(workspace, settings, corpus, window, progress)
    cut += [Reason(each.source, f"{each.empty_pages} of its pages have no text: images perhaps") for each in known if each.empty_pages]
    outcome = json.loads(corpus.meta(OUTCOME) or "{}")
    unopened = {name: Reason(name, reason) for name, reason in outcome.get("skipped", [])}
    report = IngestReport(
        created=_created(workspace),
        files=stats.files,
        documents=stats.documents,
        chunks=stats.chunks,
        sources=shares(documents, {each.source: source_of(each.source, each.file) for each in documents}),
        formats=shares(documents, {each.source: FORMATS.get(each.media_type, each.media_type) for each in documents}),
        languages=shares(documents, {each.source: each.language or UNTOLD for each in documents}),
        document_lengths=lengths_in_characters([each.characters for each in known]),
        chunk_lengths=tokens,
        chunk_size=settings.prepare.chunk_size,
        window=window,
        cut=causes(cut),
        skipped=causes(({each.source: each for each in corpus.skipped()} | unopened).values()),
        left_out=causes(Reason(name, reason) for name, reason in outcome.get("left_out", [])),
        duplicates=causes(corpus.duplicates(), corpus.copies()),
        cleaning=cleaning(corpus.file_repairs(), rules_on(settings)),
        settings_changed=tuple(sorted(name for name, value in last.items() if settings.prepare.model_dump(mode="json").get(name) != value)),
    )
    return report, documents


def _tokens(workspace: Workspace, settings: Settings, corpus: Corpus, window: int, progress: Progress) -> tuple[Histogram, list[Reason]]:
    """Tokens of chunks as they are embedded, and which chunks the embedder does not read to their end."""
    rows = corpus.rows(Where())
    chosen = rows[:: -(-len(rows) // MEASURED) or 1].tolist()
    count = build.token_counter(workspace, settings)
    counts: list[int] = []
    beyond: list[Reason] = []
    progress.start("report", len(chosen))
    for start in range(0, len(chosen), _BATCH):
        chunks = corpus.chunks(chosen[start : start + _BATCH])
        for chunk, tokens in zip(chunks, count([embedding_text(chunk) for chunk in chunks]), strict=True):
            counts.append(tokens)
            if window and tokens > window:
                beyond.append(Reason(chunk.document, f"{tokens} tokens are embedded together, of which the embedder reads {window}"))
        progress.update("report", start + len(chunks))
    return lengths_in_tokens(counts, len(rows), max(window, settings.prepare.chunk_size)), beyond


def _window(workspace: Workspace, settings: Settings) -> int:
    """Tokens that the embedder reads; 0 of a hosted one whose key is not at hand."""
    if not is_hosted(settings.embed.model):
        return build.embedder(workspace, settings).max_tokens
    with contextlib.suppress(RagtuneError):
        return build.embedder(workspace, settings, asks=False).max_tokens
    return settings.embed.max_tokens or 0


def _last(workspace: Workspace) -> Mapping[str, Any]:
    """The settings of the last ingest."""
    return dict(_manifest(workspace).get("settings", {}))


def _created(workspace: Workspace) -> str:
    return str(_manifest(workspace).get("created", ""))


def _manifest(workspace: Workspace) -> dict[str, Any]:
    try:
        found = json.loads(workspace.ingested.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _find(corpus: Corpus, name: str) -> str:
    file_of = dict(corpus.sources())
    fitting = _fitting(name, file_of)
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and len(files := _fitting(name, dict.fromkeys(file_of.values()))) == 1:
        within = [source for source, file in file_of.items() if file == files[0]]
        if len(within) == 1:
            return within[0]
        more = ", …" if len(within) > _NEAR else ""
        raise ProjectError(f"{files[0]} has {len(within)} documents, name one of them: {', '.join(within[:_NEAR])}{more}")
    skipped, left_out = absent(corpus)
    out = {each.source: each for each in [*left_out, *skipped]}
    if not fitting and len(there := _fitting(name, out)) == 1:
        raise ProjectError(f"it is not in the corpus: {out[there[0]].line}")
    near = fitting or difflib.get_close_matches(name, file_of, 3, 0.5)
    found = f"; there are {', '.join(near[:_NEAR])}" if near else ""
    raise ProjectError(f"{'several documents end' if fitting else 'there is no document'} {name!r} in the corpus{found}")


def _fitting(name: str, known: Collection[str]) -> list[str]:
    """The one of that name, else all that end so."""
    return [name] if name in known else [each for each in known if each.endswith((f"/{name}", f"#{name}"))]


def absent(corpus: Corpus) -> tuple[list[Reason], list[Reason]]:
    """What the last ingest skipped, and what it left out, by name."""
    outcome = json.loads(corpus.meta(OUTCOME) or "{}")
    skipped = {name: Reason(name, reason) for name, reason in outcome.get("skipped", [])}
    skipped |= {each.source: each for each in corpus.skipped()}
    return [skipped[name] for name in sorted(skipped)], [Reason(name, reason) for name, reason in outcome.get("left_out", [])]


def _shortened(preview: Preview, longest: int) -> Preview:
    """For a page, which a text without end must not swell."""
    original = preview.original
    return replace(
        preview,
        text=preview.text[:longest],
        chunks=tuple(chunk for chunk in preview.chunks if chunk.start < longest),
        original=original if original is None or len(original) <= longest else f"{original[:longest]} …",
    )


class _Looker:
    """Documents beside their files, which are found once and hashed once.

    Args:
        workspace: of the project.
        settings: which tokens are counted, and limits of reading.
        corpus: of the documents.
    """

    def __init__(self, workspace: Workspace, settings: Settings, corpus: Corpus) -> None:
        self._settings = settings
        self._corpus = corpus
        self._count = build.token_counter(workspace, settings)
        self._files = corpus.files()
        self._file_of = dict(corpus.sources())
        self._copies = corpus.copies()
        self._reasons = {each.source: each.reason for each in [*corpus.duplicates(), *corpus.left_out()]}
        self._hashes: dict[str, str] = {}
        roots = source_paths(workspace, settings, ())
        pages = look_at_pages(workspace, settings, roots, Silent(), ask=False)
        try:
            files = find_files(workspace, roots)
        except ReadError:  # what was ingested lies there no more
            files = []
        self._sources = {source.name: source for source in [*files, *(pages.sources if pages else ())]}

    def at(self, source: str, longest: int | None, *, read: bool) -> Preview:
        """One document; ``read`` has its file read again where it is no text."""
        document, (chunks, _) = self._corpus.document(source), self._corpus.chunks_of(source)
        file = self._file_of[source]
        shown = [chunk for chunk in chunks if longest is None or chunk.start < longest]
        tokens = self._count([embedding_text(chunk) for chunk in shown]) if shown else []
        preview = Preview(
            source,
            file,
            document.title,
            document.media_type,
            document.metadata,
            document.text,
            len(document.text),
            preview_chunks(shown, tokens),
            self._reasons.get(source),
            self._copies.get(source),
        )
        found = self._sources.get(file)
        return preview if found is None else self._beside(preview, document, found, read=read)

    def _beside(self, preview: Preview, document: Document, source: Source, *, read: bool) -> Preview:
        if source.name not in self._hashes:
            try:
                self._hashes[source.name] = hash_file(source.path) if source.path.stat().st_size <= _LARGEST_FILE else ""
            except OSError:
                return preview
        hash_ = self._hashes[source.name]
        if not hash_:
            return replace(preview, path=str(source.path.absolute()))
        prepare = self._settings.prepare
        limits = (prepare.timeout, prepare.memory)
        original, kind = original_text(document, replace(source, fields=fields_of(self._settings)), *limits, read=read)
        changed = hash_ != self._files[source.name].hash
        return replace(preview, path=str(source.path.absolute()), changed=changed, original=original, original_is=kind)
