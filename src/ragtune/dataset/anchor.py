"""Anchoring: from evidence as a question file states it to exact offsets in the documents' text; what is not found is listed."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

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

    def __init__(self, document: str, nearest: str | None = None) -> None:
        meant = "check the path, or ingest it" if nearest is None else f"did you mean {nearest}?"
        super().__init__(f"no ingested document is called {document}: {meant}")
        self.document = document


@dataclass(frozen=True, slots=True)
class _Sources:
    """What a question may name, and where its evidence is then looked for.

    Args:
        documents: by source, copies included.
        copies: documents that are left out of the index, to the one that is kept in their place.
        endings: every ending of every source to the sources that have it.
        kept: the documents that are in the index.
    """

    documents: Mapping[str, Document]
    copies: Mapping[str, str]
    endings: Mapping[str, list[str]]
    kept: Sequence[Document]


def anchor(raw: Sequence[RawQuestion], documents: Mapping[str, Document], copies: Mapping[str, str] | None = None) -> AnchorReport:
    """Find each question's evidence in the documents.

    Args:
        raw: as :func:`ragtune.dataset.questions.load_questions` gives them.
        documents: the corpus by source, copies included. A row or record is a document ``file#id``; a question may name the plain file.
        copies: the documents that are left out since they say the same as another, to that other, where evidence is looked for instead.
    """
    report = AnchorReport()
    # An ingest that was killed may have removed what is kept, and not yet taken the copy in again.
    copies = {source: other for source, other in (copies or {}).items() if other in documents}
    kept = [document for source, document in documents.items() if source not in copies]
    sources = _Sources(documents, copies, _endings(documents), kept)
    for question in raw:
        try:
            evidence = _anchor_one(question, sources)
            # Without evidence, what it names still says which questions belong together.
            named = () if evidence or question.document is None else _named(question.document, sources)
        except _NoDocumentError as error:
            if question.needs:
                report.unread.append(Reason(question.id, f"needs {question.needs}: without it {error.document} could not be ingested"))
            else:
                report.stale.append(Reason(question.id, f"{question.where}: {error}"))
        except _NotFoundError as error:
            report.stale.append(Reason(question.id, f"{question.where}: {error}"))
        else:
            report.questions.append(
                Question(
                    id=question.id,
                    question=question.question,
                    answers=question.answers,
                    evidence=evidence,
                    split=question.split,
                    kind=question.kind,
                    needs=question.needs,
                    documents=named,
                    reasoning=question.reasoning,
                    history=question.history,
                    reviewed=question.reviewed is not None,
                )
            )
    return report


def _anchor_one(question: RawQuestion, sources: _Sources) -> tuple[Evidence, ...]:
    evidence = []
    for span in question.evidence:
        name = span.document or question.document
        if name is None:
            evidence += _search(span, question, sources.kept, "any document")
            continue
        exact = _exact(span, sources.documents.get(_kept(name, sources)))
        if exact is not None:
            evidence.append(exact)
            continue
        try:
            within = [sources.documents[source] for source in _named(name, sources)]
        except _NoDocumentError:
            if span.start is None:
                raise
            # SQuAD names an article, which the user's own documents need not know by that name.
            evidence += _search(span, question, sources.kept, "any document")
        else:
            evidence += _search(span, question, within, _place_name(name, sources))
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


def _resolve(name: str, sources: _Sources) -> list[str]:
    """The source of the document of that name, or those of the rows of the file of that name; they may be copies."""
    wanted = name.replace("\\", "/").removeprefix("./").strip("/")
    if wanted in sources.documents:
        return [wanted]
    found = sources.endings.get(wanted, [])
    if not found:
        parts = wanted.split("/")
        ends = ("/".join(parts[first:]) for first in range(1, len(parts)))
        raise _NoDocumentError(name, next((end for end in ends if end in sources.endings), None))
    rows = [source for source in found if _file(sources.documents[source]) == wanted]
    if rows:
        return rows
    by_file: dict[str, list[str]] = {}
    for source in found:
        by_file.setdefault(source if source.endswith(wanted) else _file(sources.documents[source]), []).append(source)
    # Copies of one text are one document under several names, and no reason to ask which is meant.
    indexed = {file: own for file, own in by_file.items() if not all(source in sources.copies for source in own)}
    if len({_kept(source, sources) for source in found}) > 1 and len(indexed or by_file) > 1:
        raise _NotFoundError(f"{name} could be any of {', '.join(sorted(indexed or by_file)[:4])}: write more of its path")
    return next(iter(indexed.values()), found)


def _kept(source: str, sources: _Sources) -> str:
    """The document that stands in the index for this one: itself, or what it is a copy of."""
    while source in sources.copies:
        source = sources.copies[source]
    return source


def _named(name: str, sources: _Sources) -> tuple[str, ...]:
    """The documents in the index that a question means by a name."""
    return tuple(dict.fromkeys(_kept(source, sources) for source in _resolve(name, sources)))


def _place_name(name: str, sources: _Sources) -> str:
    """Where evidence was looked for, in a message."""
    named = _resolve(name, sources)
    if len(named) > 1 or named[0] not in sources.copies:
        return name
    return f"{_kept(named[0], sources)}, which is kept in place of its duplicate {named[0]}"


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


def _search(span: RawEvidence, question: RawQuestion, documents: Sequence[Document], where: str) -> list[Evidence]:
    """The evidence; of several lines of a table, which are a document each, that of every line."""
    found = []
    for document in documents:
        place = _place(span.text, document)
        if place is not None:
            found.append((document, place))
    lines = [line for line in span.text.splitlines() if line.strip()]
    if not found and len(lines) > 1 and all(map(_is_row, documents)):
        return [each for line in lines for each in _search(replace(span, text=line), question, documents, where)]
    if not found:
        raise _NotFoundError(f"the evidence {_short(span.text)} is not in {where}: copy it verbatim from the document's text")
    # One cell ("24") may stand in many rows: the row that shares most words with the question and its answers is meant.
    words = set(_WORD.findall(" ".join([question.question, *question.answers]).casefold()))
    document, (start, end) = max(found, key=lambda each: len(words & _words(each[0]))) if len(found) > 1 else found[0]
    return [Evidence(document.source, start, end, document.text[start:end])]


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
        fields = _cells(line, delimiter)
        if len(fields) < 2:
            continue
        places = [_in_row(value, row.text) for value in fields]
        missing = [value for value, place in zip(fields, places, strict=True) if place is None and value != row_id]
        present = [place for place in places if place is not None]
        if present and not missing:
            return min(start for start, _ in present), max(end for _, end in present)
    return None


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a raw CSV line that are not empty; none where it is no such line: a line break outside of quotes, a cell of 128 KiB."""
    try:
        return [value.strip() for value in next(csv.reader([line], delimiter=delimiter), []) if value.strip()]
    except csv.Error:
        return []


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
