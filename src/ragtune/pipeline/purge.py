"""Deleting means gone: a purged document leaves the corpus, its free pages, the log and the index, and stays out of later ingests.

Datasets, evaluations, traces and caches of answers carry texts of their own. They are listed, and blanked where that is asked for. The
source files are the user's and never touched; that is what the list of purged sources is for. What a tuned model remembers cannot be taken
out of it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragtune import build
from ragtune.config import Settings
from ragtune.corpus import Corpus
from ragtune.errors import ProjectError
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.copies import Copies, is_about
from ragtune.pipeline.dataset import question_files
from ragtune.pipeline.dedupe import dedupe
from ragtune.pipeline.index import build_index
from ragtune.pipeline.purged import Entry, read_purged, write_purged
from ragtune.pipeline.records import Held, PurgeResult
from ragtune.pipeline.stores import forget
from ragtune.pipeline.view import VIEW
from ragtune.prepare import Text, duplicates_among
from ragtune.progress import Progress, counted
from ragtune.redact import BLANK, Forgotten
from ragtune.traces.store import TraceStore
from ragtune.types import Reason
from ragtune.workspace import Workspace, now

_TELLING_WORDS = 5
"""Of which a text may be of one document alone; :mod:`ragtune.redact` looks for runs of as many."""


def purge(
    workspace: Workspace,
    settings: Settings,
    names: Sequence[str],
    progress: Progress,
    *,
    redact: bool = False,
    missing: bool = False,
    confirm: Callable[[PurgeResult], bool] | None = None,
) -> PurgeResult:
    """Remove sources for good.

    Artifacts are blanked first and the corpus comes last, so that a purge that was killed can be run again: until then the corpus knows
    what is to be found.

    Args:
        workspace: of the project.
        settings: index and embed are read, to write the index anew.
        names: of files or documents; a unique ending will do. Files with the same bytes go with them.
        progress: told what goes on.
        redact: blank the text in datasets, evaluations, traces and caches as well.
        missing: instead of ``names``, what an ingest removed because its files are gone, as far as datasets and evaluations hold it. It is
            not kept out of later ingests: nothing of it lies among the documents.
        confirm: asked, with what would be done, before anything is changed; ``None`` goes on.

    Raises:
        ProjectError: there is no such source, or the corpus is being read by another program.
    """
    started = time.monotonic()
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        files, documents = (_missing(workspace, corpus), set[str]()) if missing else _find(workspace, corpus, names)
        if missing and not files:
            corpus.forget_deleted()
            return PurgeResult((), 0, (), (), (), done=True)
        already = tuple(sorted((files | documents) & read_purged(workspace).sources.keys()))
        gone = _sources(corpus, files, documents)
        same = _copies(corpus, gone, settings.prepare.near_duplicates)
        forgotten = Forgotten(_texts(workspace, corpus, gone, files, documents), _staying(corpus, gone))
        copies = Copies(workspace.web)
        held = list(_held(workspace, settings, forgotten, {path for name in files for path in copies.files(name)}))
        plan = PurgeResult(tuple(sorted(files | documents)), len(gone), tuple(held), same, _tuned(workspace, held), already)
        if confirm is not None and not confirm(plan):
            return plan
        if not missing:
            _remember(workspace, corpus, files, documents)
        if redact:  # passages last: until then a purge that is run again finds what is to be forgotten in them
            held.sort(key=lambda each: (each.path.endswith("passages.jsonl"), each.path))
            held = [replace(each, redacted=_blank(workspace, forgotten, each)) for each in held]
        for name in files:
            copies.drop(name)
        corpus.remove_documents(gone)
        corpus.remove_files(files)
        # Gone from the answers at once, though the next lines may take a while: the index files belong to no generation any more.
        forget(workspace)
        for path in workspace.reports.glob("*"):  # after the corpus: one that is being made meanwhile looks whether the corpus is as it was
            path.unlink()
        for path in _views(workspace):
            path.unlink()
        dedupe(workspace, corpus, settings)
        corpus.collect_vectors()
        if not corpus.forget_deleted():
            raise ProjectError(f"another program reads {corpus.path}, so its log still holds what was deleted: stop it and purge again")
    if is_hosted(settings.embed.model):
        progress.note("the index was removed: 'ragtune index' makes it again")
    else:
        build_index(workspace, settings, progress, quiet=True)
    progress.finish("purge", f"{counted(len(gone), 'document')} gone from the corpus and the index")
    return replace(plan, done=True, held=tuple(held), seconds=round(time.monotonic() - started, 3))


def undo_purge(workspace: Workspace, names: Sequence[str]) -> tuple[str, ...]:
    """Take sources off the list; the next ingest reads them again where they still lie among the documents.

    Returns:
        What was taken off it: those named, and others of the same bytes, which would keep them out.

    Raises:
        ProjectError: one is not on the list.
    """
    entries = dict(read_purged(workspace).sources)
    for name in names:
        if name not in entries:
            known = ", ".join(sorted(entries)) or "none"
            raise ProjectError(f"{name} was not purged (these were: {known})")
    hashes = {entries[name].hash for name in names} - {""}
    lifted = tuple(sorted(name for name, entry in entries.items() if name in names or entry.hash in hashes))
    if workspace.corpus.is_file():
        with contextlib.closing(build.open_corpus(workspace)) as corpus:
            parts = tuple(f"{file}{mark}" for file in corpus.files() for mark in "#/")
            corpus.forget_keys(part[:-1] for part in parts if any(name.startswith(part) for name in lifted))  # a part of which was purged
    write_purged(workspace, (entry for name, entry in entries.items() if name not in lifted))
    return lifted


def _find(workspace: Workspace, corpus: Corpus, names: Sequence[str]) -> tuple[set[str], set[str]]:
    """Files and single documents that are meant."""
    states = corpus.files()
    known = [text.source for text in corpus.texts()]
    earlier = read_purged(workspace).sources
    files: set[str] = set()
    documents: set[str] = set()
    for name in names:
        fitting = (
            [each for each in (states, known, earlier) if name in each]
            or [each for each in (states, known) if sum(other.endswith(f"/{name}") for other in each) == 1]
            or [each for each in [[document for document, _ in _mentions(workspace)]] if name in each]
        )
        if not fitting:
            raise ProjectError(f"there is no source {name!r} in the corpus, or several end so: 'ragtune search' shows their names")
        found = next(other for other in fitting[0] if other == name or (name not in fitting[0] and other.endswith(f"/{name}")))
        part = found not in states and ("#" in found or fitting[0] is known)  # a row, or what lies in an archive or a mail
        (documents if part else files).add(found)
    hashes = {states[name].hash for name in files if name in states}
    return files | {name for name, state in states.items() if state.hash in hashes}, documents


def _sources(corpus: Corpus, files: set[str], documents: set[str]) -> list[str]:
    """Of all documents that go."""
    return [source for source, file in corpus.sources() if file in files or source in documents]


def _copies(corpus: Corpus, gone: Sequence[str], threshold: float) -> tuple[Reason, ...]:
    """Documents that stay and say the same as one that goes, whoever may see them."""
    going = set(gone)
    pairs = list(corpus.copies().items())
    entries = [each for each in corpus.texts() if each.reason is None or each.kept is not None]
    if any(each.access for each in entries):
        texts = [Text(each.source, each.media_type, each.hash, each.sketch or b"") for each in entries]
        pairs += [(each.source, each.kept) for each in duplicates_among(texts, lambda source: corpus.document(source).text, threshold)]
    said = {copy: kept for copy, kept in pairs if kept in going} | {kept: copy for copy, kept in pairs if copy in going}
    return tuple(Reason(source, f"says the same as {other}") for source, other in sorted(said.items()) if source not in going)


def _texts(workspace: Workspace, corpus: Corpus, gone: Sequence[str], files: set[str], documents: set[str]) -> Iterator[str]:
    """What the documents say, and said when datasets and evaluations were made of them."""
    for source in gone:
        document = corpus.document(source)
        yield f"{document.title}\n\n{document.text}"
    for source, text in _mentions(workspace):
        if source in documents or source.partition("#")[0] in files or source in files:
            yield text


def _mentions(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """Every text of a document that datasets, evaluations and traces hold, with the document's source; the same may come often."""
    places = ("datasets/*/*.json*", "evaluations/*/*.json*", "folds/*/*/datasets/*/*.json*")
    for path in sorted(path for place in places for path in workspace.folder.glob(place)):
        text = path.read_text(encoding="utf-8")
        for part in text.split("\n") if path.suffix == ".jsonl" else [text]:
            yield from _named_texts(json.loads(part) if part.strip() else None)
    if workspace.traces.is_file():
        for content in TraceStore(workspace.traces).texts():
            yield from _named_texts(content)


def _named_texts(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        source, text = value.get("document"), value.get("text")
        if isinstance(source, str) and isinstance(text, str):
            yield source, "\n\n".join(filter(None, [value.get("title"), value.get("prefix"), value.get("headings"), text]))
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _named_texts(each)


def _missing(workspace: Workspace, corpus: Corpus) -> set[str]:
    """Sources that the corpus does not have and of which something is held that was not blanked; a quote of a few common words never is."""
    there = {source for source, _ in corpus.sources()}
    return {
        source for source, text in _mentions(workspace) if source not in there and BLANK not in text and len(text.split()) >= _TELLING_WORDS
    }


def _staying(corpus: Corpus, gone: Sequence[str]) -> Iterator[str]:
    going = set(gone)
    for text in corpus.texts():
        if text.source not in going:
            document = corpus.document(text.source)
            yield f"{document.title}\n\n{document.text}"


def _views(workspace: Workspace) -> list[Path]:
    """Pages of examples, which show texts token by token, so that no run of words is found in them; they are soon made again."""
    return [*workspace.folder.glob(f"datasets/*/{VIEW}")]


def _held(workspace: Workspace, settings: Settings, forgotten: Forgotten, going: set[Path]) -> Iterator[Held]:
    """Files besides the corpus and the index that hold the text, and do not go with it; question files are the user's own."""
    kept = {workspace.corpus, workspace.purged, *_views(workspace), *going}
    for path in sorted(workspace.folder.rglob("*")):
        passed = path in kept or {workspace.index, workspace.reports} & {*path.parents}
        if path.is_file() and not (passed or is_about(path) or _is_weights(workspace, path)):
            places = forgotten.blank_file(path, write=False)
            if places:
                yield Held(path.relative_to(workspace.project).as_posix(), places)
    for path in question_files(workspace, settings, (), missing_ok=True):
        places = forgotten.blank_file(path, write=False)
        if places:
            yield Held(str(path), places, own=True)


def _is_weights(workspace: Workspace, path: Path) -> bool:
    """Whether a file is a model's own: it holds no text, and is broken where a word of its settings or vocabulary is blanked."""
    places = path.relative_to(workspace.folder).parts
    inside = "models" in places[:-3] or "retrievers" in places[:-3]  # those of folds too
    return inside or path.name == "adapter_config.json"


def _blank(workspace: Workspace, forgotten: Forgotten, held: Held) -> bool:
    if not held.own:
        forgotten.blank_file(workspace.project / held.path, write=True)
    return not held.own


def _tuned(workspace: Workspace, held: Sequence[Held]) -> tuple[str, ...]:
    """Models that were tuned on datasets that hold the text, those of folds among them."""
    holding = {(workspace.project / each.path).parent for each in held}
    folds = [Workspace(folder) for folder in sorted((workspace.folder / "folds").glob("*"))]
    made = [(own, manifest) for own in (workspace, *folds) for kind in ("models", "retrievers") for manifest in own.manifests(kind)]
    return tuple(
        manifest.name if own is workspace else f"{manifest.name} ({manifest.inputs['dataset']} of {own.project.name})"
        for own, manifest in made
        if own.artifact("datasets", str(manifest.inputs.get("dataset"))) in holding
    )


def _remember(workspace: Workspace, corpus: Corpus, files: set[str], documents: set[str]) -> None:
    states, entries = corpus.files(), dict(read_purged(workspace).sources)
    for name in sorted(files | documents):
        hash_ = states[name].hash if name in states and name in files else entries[name].hash if name in entries else ""
        entries[name] = Entry(name, hash_, now())
    write_purged(workspace, entries.values())
