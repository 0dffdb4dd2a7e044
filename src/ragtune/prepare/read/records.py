"""Records (of JSON, JSON Lines or Parquet, and rows whose fields were named) to documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ragtune.errors import ReadError
from ragtune.prepare.read import title_from_name
from ragtune.prepare.sources import Source
from ragtune.types import JSON, Document

_IDS = ("id", "_id")
_TITLES = ("title", "name", "headline")
_TEXTS = ("text", "content", "body", "contents", "markdown")


def to_documents(source: Source, records: Iterable[tuple[int, Mapping[str, Any]]], media_type: str, place: str) -> list[Document]:
    """A document for each record, ``file#ID``; records without a text field are written out field by field.

    Args:
        source: what holds them.
        records: number from 1 and fields, of JSON values, of each.
        media_type: of the source.
        place: what the number counts (``line``, ``record``), for messages.

    Raises:
        ReadError: an id is there twice, or a record is a question: the answers of a test must not get into the index.
    """
    wanted = source.fields
    documents: dict[str, Document] = {}
    for number, record in records:
        if isinstance(record.get("question"), str) and isinstance(record.get("answers"), list):
            raise ReadError(
                f'{source.name} holds questions, not documents ({place} {number} has "question" and "answers"): '
                "give it with --questions, or rename these fields if it is to be read"
            )
        keys = [_first(record, (wanted.id, *_IDS)), _first(record, (wanted.title, *_TITLES))]
        id_, title = ("" if key is None else str(record[key]) for key in keys)
        texts = [key for key in wanted.text if _first(record, (key,))] or [key for key in [_first(record, _TEXTS)] if key]
        text = "\n\n".join(_plain(record[key]) for key in texts)
        name = f"{source.name}#{id_ or number}"
        if name in documents:
            raise ReadError(f"{source.name} {place} {number}: the id {id_!r} is there twice: ids must differ")
        used = {*keys, *texts}
        rest: dict[str, JSON] = {key: value for key, value in record.items() if key not in used}
        title = title or f"{title_from_name(source.name)} {id_ or number}"
        documents[name] = Document(name, title, text or _write_out(title, rest), media_type, rest if text else _access(rest))
    return list(documents.values())


def _access(fields: Mapping[str, JSON]) -> dict[str, JSON]:
    """Who may find a record holds for it however its fields are shown."""
    return {"access": fields["access"]} if "access" in fields else {}


def parse(text: str) -> Any:
    """JSON to values, each of which UTF-8 can store.

    Raises:
        ValueError: it is not JSON, or nested deeper than its parser goes.
    """
    try:
        value = json.loads(text)
        if "\\u" in text:  # half of a surrogate pair becomes the replacement character, as in any text
            whole = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            value = json.loads(whole)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return value


def _first(record: Mapping[str, Any], names: Iterable[str | None]) -> str | None:
    return next((name for name in names if name is not None and record.get(name) not in (None, "")), None)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _write_out(title: str, fields: Mapping[str, JSON]) -> str:
    lines = [f"{key}: {_plain(value)}" for key, value in fields.items()]
    return f"# {title}\n\n" + "\n".join(lines) if lines else ""
