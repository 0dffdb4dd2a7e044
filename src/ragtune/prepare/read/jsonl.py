"""Records in JSON Lines: each a document, its text under the first of the usual names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ragtune.errors import ReadError
from ragtune.prepare.read import title_from_name
from ragtune.prepare.read.text import decode
from ragtune.prepare.sources import Source
from ragtune.types import JSON, Document

_IDS = ("id", "_id")
_TITLES = ("title", "name", "headline")
_TEXTS = ("text", "content", "body", "contents", "markdown")


def read(source: Source) -> list[Document]:
    """A document for each line, ``file.jsonl#ID``; records without a text field are written out field by field.

    Raises:
        ReadError: a record is malformed, or a question: the answers of a test must not get into the index.
    """
    documents: dict[str, Document] = {}
    for number, record in _records(source):
        if isinstance(record.get("question"), str) and isinstance(record.get("answers"), list):
            raise ReadError(
                f'{source.name} holds questions, not documents (line {number} has "question" and "answers"): '
                "give it with --questions, or rename these fields if it is to be read"
            )
        used = [next((name for name in names if record.get(name) not in (None, "")), None) for names in (_IDS, _TITLES, _TEXTS)]
        id_, title, text = ("" if name is None else str(record[name]) for name in used)
        name = f"{source.name}#{id_ or number}"
        if name in documents:
            raise ReadError(f"{source.name} line {number}: the id {id_!r} is there twice: ids must differ")
        rest: dict[str, JSON] = {key: value for key, value in record.items() if key not in used}
        title = title or f"{title_from_name(source.name)} {id_ or number}"
        documents[name] = Document(name, title, text or _write_out(title, rest), "application/jsonl", rest if text else _access(rest))
    return list(documents.values())


def _records(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    # not splitlines(): U+2028 may stand inside a JSON string
    for number, line in enumerate(decode(source.path.read_bytes()).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if "\\u" in line:  # what UTF-8 cannot store, half of a surrogate pair, becomes the replacement character, as in any text
                whole = json.dumps(record, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
                record = json.loads(whole)
        except ValueError as error:
            raise ReadError(f"{source.name} line {number} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise ReadError(f"{source.name} line {number} holds {type(record).__name__}, not an object")
        yield number, record


def _access(fields: Mapping[str, JSON]) -> dict[str, JSON]:
    """Who may find a record holds for it however its fields are shown."""
    return {"access": fields["access"]} if "access" in fields else {}


def _write_out(title: str, fields: Mapping[str, JSON]) -> str:
    lines = [f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return f"# {title}\n\n" + "\n".join(lines) if lines else ""
