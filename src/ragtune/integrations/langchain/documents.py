"""Documents of LangChain's loaders in a project: one JSON Lines file for each set, which ``ragtune ingest`` reads like any other."""

from __future__ import annotations

import json
import logging
import textwrap
from collections.abc import Iterable
from pathlib import Path

from langchain_core.documents import Document

from ragtune.errors import ProjectError, ReadError
from ragtune.pipeline.records import IngestResult
from ragtune.prepare.read import title_from_name
from ragtune.project import Project
from ragtune.workspace import write_bytes

FOLDER = "langchain"
_TITLE_CHARACTERS = 60
_log = logging.getLogger(__name__)


def ingest_documents(project: Project, documents: Iterable[Document], *, name: str = "documents") -> IngestResult:
    """Make the project hold just these documents of a LangChain loader under a name, then bring it up to date with all of its sources.

    They are kept in the project, so every later ``ragtune ingest`` has them too; the same documents again change nothing, and those that
    are no longer given leave. Without any the name is empty. Run ``project.index()`` next.

    A document is known by its ``id``, else by its metadata's ``source`` (a second one of that source is ``source 2``), and so is a
    citation of it. Its title is its metadata's ``title``, else made from the source. Documents without text are left out.

    Args:
        project: theirs.
        documents: of a loader; not split, for ragtune cuts them along their headings and sentences.
        name: of the set; letters, digits, ``-`` and ``_``.

    Raises:
        ReadError: two have one id.
        ProjectError: the name cannot be one.
    """
    write_documents(project, name, known_by_id(documents))
    return project.ingest()


def documents_file(project: Project, name: str) -> Path:
    """Where the documents of a name are kept.

    Raises:
        ProjectError: the name cannot be a file's.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ProjectError(f"{name!r} cannot name a set of documents: use letters, digits, '-' and '_'")
    return project.workspace.loaded / FOLDER / f"{name}.jsonl"


def source_of(name: str, id_: str) -> str:
    """The source under which the corpus has a document."""
    return f"{FOLDER}/{name}.jsonl#{id_}"


def write_documents(project: Project, name: str, documents: dict[str, Document]) -> None:
    """Write the documents of a name, by id; a file whose bytes stay the same is not read again."""
    lines = [json.dumps(_record(id_, document), ensure_ascii=False, default=str) for id_, document in documents.items()]
    write_bytes(documents_file(project, name), "".join(f"{line}\n" for line in lines).encode())


def read_documents(project: Project, name: str) -> dict[str, Document]:
    """The documents of a name, by id, as they were written."""
    path = documents_file(project, name)
    if not path.is_file():
        return {}
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return {r["id"]: Document(id=r["id"], page_content=r["text"], metadata=r["metadata"]) for r in records}


def known_by_id(documents: Iterable[Document]) -> dict[str, Document]:
    """Documents that hold text, by an id that does not change from one run of a loader to the next.

    Raises:
        ReadError: two have one id.
    """
    found: dict[str, Document] = {}
    seen: dict[str, int] = {}
    empty = 0
    for document in documents:
        source = str(document.metadata.get("source") or "document")
        seen[source] = seen.get(source, 0) + 1
        id_ = document.id or (source if seen[source] == 1 else f"{source} {seen[source]}")
        if id_ in found:
            raise ReadError(f"two documents have the id {id_!r}: give each its own, or none")
        if document.page_content.strip():
            found[id_] = document
        else:
            empty += 1
    if empty:
        _log.warning("%d of %d documents hold no text and are left out", empty, empty + len(found))
    return found


def _record(id_: str, document: Document) -> dict[str, object]:
    # Metadata stays apart: in it a loader may use the names that say which field is the text.
    return {"id": id_, "title": _title(document), "text": document.page_content, "metadata": document.metadata}


def _title(document: Document) -> str:
    title, source = (str(document.metadata.get(key) or "").strip() for key in ("title", "source"))
    return title or title_from_name(source) or textwrap.shorten(document.page_content.strip().splitlines()[0], _TITLE_CHARACTERS)
