"""The documents of the project: what is in the corpus and what is not, one with its chunks, uploads, and removal."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ragtune import build
from ragtune.corpus import Corpus, Listed
from ragtune.corpus.filter import access_tags
from ragtune.errors import ConfigError, JobError
from ragtune.pipeline.ingest_report import absent
from ragtune.serve.api.shared import plain, whole
from ragtune.serve.errors import documented
from ragtune.serve.jobs import Job
from ragtune.serve.state import Caller, State, get_state, require
from ragtune.serve.uploads import NameTakenError, removed, save
from ragtune.types import Reason
from ragtune.workspace import Workspace

_MOST_LISTED = 500
_MOST_FILES = 1000
_LONGEST = 2_000_000  # code points of a text in one response
_OVERHEAD = 1 << 20  # bytes of a form's own
router = APIRouter(tags=["documents"])
Serving = Annotated[State, Depends(get_state)]
Source = Annotated[str, Query(min_length=1, max_length=4000, description="The document's name, as the list and citations have it.")]


class DocumentEntry(BaseModel):
    """A document in the list; of a copy, ``duplicate_of`` is the one that is kept in its place."""

    source: str
    title: str
    media_type: str
    characters: int
    chunks: int
    language: str | None
    access: list[str] | None
    duplicate_of: str | None
    uploaded: bool


class NotIn(BaseModel):
    """A file or page that is not in the corpus, and why."""

    source: str
    reason: str


class DocumentList(BaseModel):
    """A page of the documents, and what is not among them: the first 500 of each, and how many there are."""

    documents: list[DocumentEntry]
    total: int
    skipped: list[NotIn]
    left_out: list[NotIn]
    skipped_total: int
    left_out_total: int


class ChunkEntry(BaseModel):
    """A chunk: where it stands in the document's text, in code points."""

    id: str
    start: int
    end: int
    headings: str


class DocumentBody(BaseModel):
    """A document, or the part of it that was asked for: ``text`` begins at ``start`` of ``characters``."""

    source: str
    title: str
    media_type: str
    text: str
    start: int
    characters: int
    metadata: dict[str, Any]
    chunks: list[ChunkEntry]
    uploaded: bool


class Refused(BaseModel):
    """A file that was not taken, and why; ``taken`` where another has its name, and ``replace`` would put it in that one's place."""

    name: str
    reason: str
    taken: bool


class Uploaded(BaseModel):
    """What became of the files of an upload, by their paths under the project; ``job`` reads them, where there is anything to read."""

    saved: list[str]
    replaced: list[str]
    unchanged: list[str]
    refused: list[Refused]
    job: Job | None


class Removed(BaseModel):
    """The job that removes it."""

    job: Job


_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
                        "folder": {"type": "string", "description": "Under uploads/."},
                        "replace": {"type": "boolean", "description": "Write over files of the same name."},
                    },
                }
            }
        },
    }
}


@router.get("/api/documents", responses=documented())
def list_documents(
    state: Serving,
    caller: Annotated[Caller, Depends(require("read"))],
    query: Annotated[str, Query(max_length=500, description="What names or titles hold.")] = "",
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> DocumentList:
    """Documents by name. A key with access tags sees those that it may find, and nothing of what was skipped."""
    workspace = state.project.workspace
    if not workspace.corpus.is_file():
        return DocumentList(documents=[], total=0, skipped=[], left_out=[], skipped_total=0, left_out_total=0)
    with _corpus(workspace) as corpus:
        documents, total = corpus.listed(query, offset, limit, caller.access)
        skipped, left_out = absent(corpus) if caller.access is None else ([], [])
    return DocumentList(
        documents=[_entry(workspace, each) for each in documents],
        total=total,
        skipped=_reasons(skipped),
        left_out=_reasons(left_out),
        skipped_total=len(skipped),
        left_out_total=len(left_out),
    )


@router.get("/api/document", responses=documented(404))
def show_document(
    source: Source,
    state: Serving,
    caller: Annotated[Caller, Depends(require("ask"))],
    start: Annotated[int, Query(ge=0, le=10**9, description="Code point of the text to begin at.")] = 0,
    length: Annotated[int, Query(ge=1, le=_LONGEST, description="Code points, at most.")] = _LONGEST,
) -> DocumentBody:
    """A document's text and where its chunks stand in it. Who may ask may read what a citation names."""
    workspace = state.project.workspace
    with _corpus(workspace) as corpus:
        file = _file_of(corpus, source, caller)
        document, (chunks, text) = corpus.document(source), corpus.chunks_of(source)
    end = min(len(text), start + length)
    return DocumentBody(
        source=source,
        title=document.title,
        media_type=document.media_type,
        text=text[start:end],
        start=start,
        characters=len(text),
        metadata=plain(dict(document.metadata)),
        chunks=[
            ChunkEntry(id=each.id, start=each.start, end=each.end, headings=" › ".join(each.headings))
            for each in chunks
            if each.start < end and each.end > start
        ],
        uploaded=_is_upload(workspace, file),
    )


@router.post("/api/documents", responses=documented(409, 413), openapi_extra=_FORM)
async def upload_documents(request: Request, state: Serving, caller: Annotated[Caller, Depends(require("write"))]) -> Uploaded:
    """Put files into ``uploads/`` and have them read. Names are made safe; nothing is overwritten unless ``replace`` is true."""
    whole(caller)
    form = await _form(request, state.project.settings.serve.largest_upload)
    try:
        return await run_sync(_take, state, form)
    finally:
        await form.close()


@router.delete("/api/document", responses=documented(404, 409))
def remove_document(source: Source, state: Serving, caller: Annotated[Caller, Depends(require("write"))]) -> Removed:
    """Remove a document. An uploaded file is deleted and the corpus synced; any other is purged: out of corpus and index, and kept out."""
    whole(caller)
    workspace = state.project.workspace
    with _corpus(workspace) as corpus:
        file = _file_of(corpus, source, caller)
    try:
        if source == file and _is_upload(workspace, file):
            with removed(workspace.project / file):
                return Removed(job=_sync(state))
        return Removed(job=state.jobs.create("purge", {"sources": [source]}))
    except JobError as error:
        raise HTTPException(409, str(error)) from None


async def _form(request: Request, largest: int) -> FormData:
    """The form, its files on disk.

    Raises:
        HTTPException: it is too large, or no form.
    """
    too_large = HTTPException(413, f"an upload takes {largest:,} bytes at most (serve.largest_upload): send fewer files at once")
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > largest + _OVERHEAD:
        raise too_large

    async def counted() -> AsyncGenerator[bytes, None]:
        taken = 0
        async for piece in request.stream():
            taken += len(piece)
            if taken > largest + _OVERHEAD:
                raise too_large
            yield piece

    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(400, "send the files as multipart/form-data, in fields of the name files")
    try:
        return await MultiPartParser(request.headers, counted(), max_files=_MOST_FILES, max_fields=10).parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"this is no form that can be read: {getattr(error, 'message', error)}") from None


def _take(state: State, form: FormData) -> Uploaded:
    files = [each for each in form.getlist("files") if isinstance(each, UploadFile)]
    if not files:
        raise HTTPException(400, "there is no file in the form: send them in fields of the name files")
    folder, said = str(form.get("folder") or ""), str(form.get("replace") or "false").lower()
    if said not in ("true", "false"):
        raise HTTPException(400, f"replace = {said[:20]!r}: send true or false")
    replace = said == "true"
    taken: dict[str, list[str]] = {"saved": [], "replaced": [], "unchanged": []}
    refused: list[Refused] = []
    for each in files:
        try:
            path, outcome = save(state.project.workspace.uploads, folder, each.filename or "", each.file, replace=replace)
            taken[outcome].append(path)
        except ConfigError as error:
            refused.append(Refused(name=_shown(each.filename), reason=str(error), taken=isinstance(error, NameTakenError)))
        except OSError as error:
            refused.append(Refused(name=_shown(each.filename), reason=f"it cannot be written: {error.strerror or error}", taken=False))
    with contextlib.suppress(JobError):  # so many are under way that one of them will read it
        return Uploaded(**taken, refused=refused, job=_sync(state) if taken["saved"] or taken["replaced"] else None)
    return Uploaded(**taken, refused=refused, job=None)


def _sync(state: State) -> Job:
    """An ingest that begins after now: one that waits already, else a new one."""
    waiting = [job for job in state.jobs.all() if (job.kind, job.state, job.started) == ("ingest", "waiting", None) and not job.settings]
    return waiting[0] if waiting else state.jobs.create("ingest")


@contextlib.contextmanager
def _corpus(workspace: Workspace) -> Iterator[Corpus]:
    if not workspace.corpus.is_file():
        raise HTTPException(404, "there are no documents yet: upload some, or run 'ragtune ingest'")
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        yield corpus


def _file_of(corpus: Corpus, source: str, caller: Caller) -> str:
    """The file that a document came from, which the caller may see."""
    file = corpus.file_of(source)
    if file is not None and caller.access is not None:
        tags = access_tags(corpus.document(source).metadata.get("access"))
        file = file if not tags or not tags.isdisjoint(caller.access) else None
    if file is None:
        raise HTTPException(404, f"there is no document {source[:200]!r}: it was removed or renamed, or the key is not for it")
    return file


def _is_upload(workspace: Workspace, file: str) -> bool:
    return file.startswith(f"{workspace.uploads.name}/") and (workspace.project / file).is_file()


def _entry(workspace: Workspace, listed: Listed) -> DocumentEntry:
    return DocumentEntry(
        source=listed.source,
        title=listed.title,
        media_type=listed.media_type,
        characters=listed.characters,
        chunks=listed.chunks,
        language=listed.language,
        access=sorted(listed.access) or None,
        duplicate_of=listed.kept,
        uploaded=_is_upload(workspace, listed.file),
    )


def _reasons(reasons: list[Reason]) -> list[NotIn]:
    return [NotIn(source=each.source, reason=each.reason) for each in reasons[:_MOST_LISTED]]


def _shown(name: str | None) -> str:
    return "".join(each if each.isprintable() else "�" for each in (name or "")[:200])
