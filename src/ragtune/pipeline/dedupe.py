"""Which documents stay out of the index: those that say what another says, and those in other languages."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ragtune import build
from ragtune.config import Settings
from ragtune.corpus import Corpus, TextEntry
from ragtune.prepare import Text, chunk_document, duplicates_among, refuses_language, sketch, sketch_version
from ragtune.types import Chunk, Document
from ragtune.workspace import Workspace

_DEDUPED = "deduped"
_DEDUPE = 2  # rises where the same documents would be compared otherwise
_SKETCHED = "sketched"
_SKETCHES = 500  # texts sketched in one transaction


def dedupe(workspace: Workspace, corpus: Corpus, settings: Settings) -> None:
    """Leave duplicates and other languages out of the index, and take in again what no longer is one.

    All documents are compared, not only new ones, so the result does not depend on the order in which they came.
    """
    prepare = settings.prepare
    state = f"{_DEDUPE} {corpus.revision} {prepare.near_duplicates} {_language_rules(settings)}"
    if corpus.meta(_DEDUPED) == state:
        return
    entries = corpus.texts()
    told = corpus.languages() if prepare.languages else {}
    foreign = {source: reason for source, language in told.items() if (reason := refuses_language(language, prepare.languages))}
    known = {entry.source: entry for entry in entries if entry.source not in foreign}
    sketches = _sketches(corpus, known) if prepare.near_duplicates < 1 else {}
    texts = [
        Text(
            each.source,
            each.media_type,
            each.hash,
            sketches.get(each.source, b""),
            access=each.access,
            inside=each.source.startswith(f"{each.file}/"),
        )
        for each in known.values()
    ]
    found = duplicates_among(texts, lambda source: corpus.document(source).text, prepare.near_duplicates)
    out: dict[str, tuple[str, str | None]] = {each.source: (each.reason, each.kept) for each in found}
    out |= {source: (reason, None) for source, reason in foreign.items()}
    marked = {each.source: (each.reason, each.kept) for each in entries if each.reason is not None}
    with corpus.batch():
        for source in sorted(out.keys() | marked.keys()):
            reason, kept = out.get(source, (None, None))
            if reason is None:
                corpus.set_duplicate(source, None, cut_document(workspace, corpus.document(source), settings))
            elif (reason, kept) != marked.get(source):
                corpus.set_duplicate(source, reason, [], kept)
        corpus.set_meta(_DEDUPED, state)


def _language_rules(settings: Settings) -> str:
    """All of the settings that decides which languages are left out."""
    prepare = settings.prepare
    stated = {pattern: each["language"] for pattern, each in prepare.metadata.items() if "language" in each}
    return json.dumps([prepare.languages, stated if prepare.languages else {}])


def _sketches(corpus: Corpus, known: Mapping[str, TextEntry]) -> dict[str, bytes]:
    """A sketch of every text, made where the corpus has none yet."""
    version = sketch_version()
    made_now = corpus.meta(_SKETCHED) != version
    sketches = {} if made_now else {each.source: each.sketch for each in known.values() if each.sketch is not None}
    missing = [source for source in known if source not in sketches]
    for start in range(0, len(missing), _SKETCHES):
        fresh = {source: sketch(corpus.document(source).text) for source in missing[start : start + _SKETCHES]}
        corpus.put_sketches(fresh)
        sketches |= fresh
    if made_now:
        corpus.set_meta(_SKETCHED, version)
    return sketches


def cut_document(workspace: Workspace, document: Document, settings: Settings) -> list[Chunk]:
    """A document's chunks, as the settings have them."""
    count = build.token_counter(workspace, settings)
    return chunk_document(document, count, settings.prepare.chunk_size, settings.prepare.chunk_overlap)
