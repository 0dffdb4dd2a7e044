"""Anchoring: from evidence as a question file states it to exact offsets in the documents' text; what is not found is listed."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ragtune.dataset.questions import RawEvidence, RawQuestion
from ragtune.quotes import find_span
from ragtune.types import Document, Evidence, Question, Reason

_WORD = re.compile(r"\w{2,}")
_TABLES = frozenset({"text/csv", "text/tab-separated-values"})
_RECORDS = "application/jsonl"
_WRITTEN_OUT = re.compile(r"# [^\n]*\n\n[^\n:]+: ")  # a record without a text field: its title, then its fields


@dataclass(frozen=True, slots=True)
class AnchorReport:
    """What anchoring made of the question files.

    Args:
        questions: ready to be split; those without evidence are scored on their answer only.
        stale: questions whose document or evidence is not there, with the reason.
        unread: questions that need a capability (``needs``) without which their document was not ingested.
    """

    questions: list[Question] = field(default_factory=list)
    stale: list[Reason] = field(default_factory=list)
    unread: list[Reason] = field(default_factory=list)


class _NotFoundError(Exception):
    """Evidence, or the document that should hold it, is not there."""


class _NoDocumentError(_NotFoundError):
    """The document is not there at all."""


def anchor(raw: Sequence[RawQuestion], documents: Mapping[str, Document]) -> AnchorReport:
    """Find each question's evidence in the documents.

    Args:
        raw: as :func:`ragtune.dataset.questions.load_questions` gives them.
        documents: the corpus by source. A row or record is a document ``file#id``; a question may name the plain file.
    """
    report = AnchorReport()
    endings = _endings(documents)
    for question in raw:
        try:
            evidence = _anchor_one(question, documents, endings)
        except _NoDocumentError as error:
            if question.needs:
                report.unread.append(Reason(question.id, f"needs {question.needs}: {error}"))
            else:
                report.stale.append(Reason(question.id, f"{question.where}: {error}"))
        except _NotFoundError as error:
            report.stale.append(Reason(question.id, f"{question.where}: {error}"))
        else:
            report.questions.append(
                Question(question.id, question.question, question.answers, evidence, question.split, question.kind, question.needs)
            )
    return report


def _anchor_one(question: RawQuestion, documents: Mapping[str, Document], endings: Mapping[str, list[str]]) -> tuple[Evidence, ...]:
    evidence = []
    for span in question.evidence:
        name = span.document or question.document
        if name is None:
            evidence.append(_search(span, question, list(documents.values()), "any document"))
            continue
        exact = _exact(span, documents.get(name))
        if exact is not None:
            evidence.append(exact)
            continue
        try:
            within = _resolve(name, documents, endings)
        except _NoDocumentError:
            if span.start is None:
                raise
            # SQuAD names an article, which the user's own documents need not know by that name.
            evidence.append(_search(span, question, list(documents.values()), "any document"))
        else:
            evidence.append(_search(span, question, within, name))
    if question.document is not None and not question.evidence:
        _resolve(question.document, documents, endings)
    return tuple(dict.fromkeys(evidence))


def _endings(documents: Mapping[str, Document]) -> dict[str, list[str]]:
    """Every ending of every source (whole path components; a row's also without its ``#id``) to the sources that have it."""
    endings: dict[str, list[str]] = {}
    for source, document in documents.items():
        for path in dict.fromkeys((source, _file(document))):
            parts = path.split("/")
            for first in range(len(parts)):
                endings.setdefault("/".join(parts[first:]), []).append(source)
    return endings


def _resolve(name: str, documents: Mapping[str, Document], endings: Mapping[str, list[str]]) -> list[Document]:
    """The document of that name, or the rows of the file of that name."""
    wanted = name.replace("\\", "/").removeprefix("./").strip("/")
    if wanted in documents:
        return [documents[wanted]]
    sources = endings.get(wanted, [])
    if not sources:
        raise _NoDocumentError(f"no ingested document is called {name}: check the path, or ingest it")
    rows = [source for source in sources if _file(documents[source]) == wanted]
    files = sorted({source if source.endswith(wanted) else _file(documents[source]) for source in sources})
    if len(files) > 1 and not rows:
        raise _NotFoundError(f"{name} could be any of {', '.join(files[:4])}: write more of its path")
    return [documents[source] for source in rows or sources]


def _file(document: Document) -> str:
    """The file that a row or record came from; of any other document its source, which may hold a ``#`` of its own."""
    of_many = document.media_type in _TABLES or document.media_type == _RECORDS
    return document.source.rpartition("#")[0] if of_many else document.source


def _is_row(document: Document) -> bool:
    """Whether the text is a row's or record's fields, a line each."""
    if document.media_type == _RECORDS:
        return not document.metadata and _WRITTEN_OUT.match(document.text) is not None
    return document.media_type in _TABLES


def _exact(span: RawEvidence, document: Document | None) -> Evidence | None:
    if document is None or span.start is None or not document.text.startswith(span.text, span.start):
        return None
    return Evidence(document.source, span.start, span.start + len(span.text), span.text)


def _search(span: RawEvidence, question: RawQuestion, documents: Sequence[Document], where: str) -> Evidence:
    found = []
    for document in documents:
        place = _place(span.text, document)
        if place is not None:
            found.append((document, place))
    if not found:
        raise _NotFoundError(f"the evidence {_short(span.text)} is not in {where}: copy it verbatim from the document's text")
    # One cell ("24") may stand in many rows: the row that shares most words with the question and its answers is meant.
    words = set(_WORD.findall(" ".join([question.question, *question.answers]).casefold()))
    document, (start, end) = max(found, key=lambda each: len(words & _words(each[0]))) if len(found) > 1 else found[0]
    return Evidence(document.source, start, end, document.text[start:end])


def _words(document: Document) -> set[str]:
    return set(_WORD.findall(f"{document.source} {document.text}".casefold()))


def _place(text: str, document: Document) -> tuple[int, int] | None:
    if not _is_row(document):
        return find_span(text, document.text)
    place = _in_row(text, document.text) or _fields_place(text, document)
    # Of a row, the whole line is evidence: "24" alone says nothing, "beds: 24" does.
    return None if place is None else _lines(document.text, *place)


def _fields_place(line: str, row: Document) -> tuple[int, int] | None:
    """Where the fields of a raw CSV line stand in a row's ``column: value`` text: from the first to the last."""
    row_id = row.source.rpartition("#")[2]
    for delimiter in ",;\t":
        fields = [value.strip() for value in next(csv.reader([line], delimiter=delimiter), []) if value.strip()]
        if len(fields) < 2:
            continue
        places = [_in_row(value, row.text) for value in fields]
        missing = [value for value, place in zip(fields, places, strict=True) if place is None and value != row_id]
        present = [place for place in places if place is not None]
        if present and not missing:
            return min(start for start, _ in present), max(end for _, end in present)
    return None


def _in_row(value: str, text: str) -> tuple[int, int] | None:
    """Where a cell stands in a row's text: below its heading, which repeats one of the cells, else in it."""
    body = text.find("\n\n") + 1 if text.startswith("#") else 0
    return _whole_word(value, text, body) or _whole_word(value, text, 0)


def _whole_word(value: str, text: str, at: int) -> tuple[int, int] | None:
    """Like ``find_span``, and not inside a longer word or number: 6 is not in 16."""
    while (place := find_span(value, text, at)) is not None:
        start, end = place
        before, after = text[start - 1 : start], text[end : end + 1]
        if not (before.isalnum() and value[0].isalnum()) and not (after.isalnum() and value[-1].isalnum()):
            return place
        at = start + 1
    return None


def _lines(text: str, start: int, end: int) -> tuple[int, int]:
    """``[start, end)`` stretched to whole lines."""
    last = text.find("\n", end)
    return text.rfind("\n", 0, start) + 1, len(text) if last < 0 else last


def _short(text: str) -> str:
    line = " ".join(text.split())
    return f"“{line}”" if len(line) <= 70 else f"“{line[:67]}…”"
