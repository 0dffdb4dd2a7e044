"""XML of any vocabulary: sections by nesting, records as tables, leaves as ``name: value`` lines."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ragtune.errors import ReadError
from ragtune.prepare.read.tables import pipe_table
from ragtune.prepare.sources import Source
from ragtune.types import JSON, Document

_DEEPEST = 100
_TITLES = ("title", "name", "head", "label")
_PROSE = ("p", "para", "simpara", "paragraph", "text", "description", "abstract", "summary")
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def read(source: Source) -> list[Document]:
    """The whole file as one document."""
    try:
        root = fromstring(source.read_bytes(), forbid_entities=True, forbid_external=True)
    except DefusedXmlException as error:
        raise ReadError(f"{source.name} declares XML entities, which can swell or fetch other files: not read") from error
    except (ParseError, ValueError, LookupError) as error:
        raise ReadError(f"{source.name} is not well-formed XML: {error}") from error
    if _depth(root) > _DEEPEST:
        raise ReadError(f"{source.name} is nested deeper than {_DEEPEST} levels: not read")
    title = _title(root)
    language = root.get(_LANGUAGE) or root.get("lang")
    metadata: dict[str, JSON] = {"language": language} if language else {}
    return [Document(source.name, title, "\n\n".join(_blocks(root, 1)), "application/xml", metadata)]


def _depth(root: Element) -> int:
    deepest = 0
    level = [root]
    while level:
        deepest += 1
        level = [child for element in level for child in element]
    return deepest


def _blocks(element: Element, level: int) -> Iterator[str]:
    children = list(element)
    words = " ".join("".join(element.itertext()).split())
    if not children or _is_prose(element):
        line = f"{_name(element)}: {', '.join(filter(None, [words, _attributes(element)]))}" if words or element.attrib else ""
        yield from filter(None, [words if _name(element) in _PROSE or (children and words) else line])
        return
    title = _title(element)
    heading = title if title and _name(element) not in _PROSE else _name(element)
    yield f"{'#' * min(level, 6)} {heading}"
    if element.attrib and (about := _attributes(element)):
        yield about
    if table := _table(children):
        yield table
        return
    lines: list[str] = []
    for child in children:
        if child.text and _name(child) in _TITLES and _words(child) == title:
            continue
        if len(child) == 0 and _name(child) not in _PROSE:
            lines += _blocks(child, level + 1)
            continue
        if lines:
            yield "\n".join(lines)
            lines = []
        yield from _blocks(child, level + 1)
    if lines:
        yield "\n".join(lines)


def _table(rows: list[Element]) -> str:
    """Elements of one name that hold nothing but leaves, as a table; empty where they are something else."""
    if len(rows) < 2 or len({row.tag for row in rows}) > 1 or any(len(cell) for row in rows for cell in row) or not any(map(len, rows)):
        return ""
    records: list[dict[str, str]] = []
    for row in rows:
        if _is_prose(row):
            return ""
        record = {_local(key): value for key, value in row.attrib.items()}
        for cell in row:
            value = ", ".join(filter(None, [_words(cell), _attributes(cell)]))
            record[_name(cell)] = f"{record[_name(cell)]}; {value}" if _name(cell) in record else value
        records.append(record)
    columns = list(dict.fromkeys(key for record in records for key in record))
    return pipe_table([columns, *([record.get(column, "") for column in columns] for record in records)])


def _is_prose(element: Element) -> bool:
    """Words and elements mixed."""
    return bool(len(element)) and bool((element.text or "").strip() or any((child.tail or "").strip() for child in element))


def _title(element: Element) -> str:
    return next((_words(child) for child in element if _name(child) in _TITLES and _words(child)), "")


def _words(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _attributes(element: Element) -> str:
    return ", ".join(f"{_local(key)} {value}" for key, value in element.attrib.items() if value and ":" not in value)


def _name(element: Element) -> str:
    return _local(str(element.tag))


def _local(name: str) -> str:
    return name.rpartition("}")[2]
