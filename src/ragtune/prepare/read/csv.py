"""Tables in CSV: each row a document, written out as Markdown so that a row reads by itself."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from ragtune.errors import ReadError
from ragtune.prepare.read import title_from_name
from ragtune.prepare.read.records import to_documents
from ragtune.prepare.read.text import decode
from ragtune.prepare.sources import Fields, Source
from ragtune.types import Document

_TITLES = ("title", "name", "subject", "headline", "question")
_DELIMITERS = ",;\t|"


def read(source: Source) -> list[Document]:
    """A document for each row, ``file.csv#ID``: the ``id`` column's value where it tells rows apart, else the row number from 1."""
    text = decode(source.read_bytes()).replace("\0", "")
    csv.field_size_limit(max(len(text), csv.field_size_limit()))  # of the whole process, so it is only ever raised
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, source)) if any(map(str.strip, row))]
    except csv.Error as error:
        raise ReadError(f"{source.name} cannot be read as CSV: {error}") from error
    while len(rows) > 1 and sum(map(bool, rows[0])) == 1 < sum(map(bool, rows[1])):
        rows = rows[1:]  # a caption over the header
    if len(rows) < 2:
        raise ReadError(f"no rows found in {source.name}: it needs a header and at least one row")
    width = max(map(len, rows))
    header = _distinct([name.strip() or f"column {i}" for i, name in enumerate(rows[0] + [""] * (width - len(rows[0])), start=1)])
    records = [dict(zip(header, (" ".join(cell.split()) for cell in row), strict=False)) for row in rows[1:]]
    media_type = "text/tab-separated-values" if source.suffix == ".tsv" else "text/csv"
    if source.fields != Fields():
        return to_documents(source, enumerate(records, start=1), media_type, "row")
    ids = _ids(header, records)
    return [_document(source, header, record, id_, media_type) for record, id_ in zip(records, ids, strict=True)]


def _distinct(header: Sequence[str]) -> list[str]:
    """Names of columns, the repeats numbered: under one name only the last one's cells would be kept."""
    taken = set(header)
    seen: set[str] = set()
    distinct = []
    for name in header:
        unique, number = name, 2
        while unique in seen or (unique != name and unique in taken):
            unique, number = f"{name} {number}", number + 1
        seen.add(unique)
        distinct.append(unique)
    return distinct


def _delimiter(text: str, source: Source) -> str:
    """The one that cuts the header into most cells; the sniffer of the standard library guesses letters on short files."""
    if source.suffix == ".tsv":
        return "\t"
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(_DELIMITERS, key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter), [])))


def _ids(header: Sequence[str], records: Sequence[Mapping[str, str]]) -> list[str]:
    column = next((name for name in header if name.casefold() == "id"), None)
    if column is not None:
        ids = [record.get(column, "") for record in records]
        if all(ids) and len(set(ids)) == len(ids):
            return ids
    return [str(number) for number in range(1, len(records) + 1)]


def _document(source: Source, header: Sequence[str], record: Mapping[str, str], id_: str, media_type: str) -> Document:
    by_name = {name.casefold(): value for name, value in record.items() if value}
    own = next((by_name[name] for name in _TITLES if name in by_name), "")
    table = title_from_name(source.name)
    title = own or f"{table} {id_}"
    lines = [f"{name}: {record[name]}" for name in header if record.get(name)]
    return Document(f"{source.name}#{id_}", title, f"# {title}\n\n" + "\n".join(lines), media_type, {"table": table, "row": id_})
