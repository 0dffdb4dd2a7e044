"""Spreadsheets: each sheet a section, what blank rows set apart a table of its own."""

from __future__ import annotations

import datetime as dt
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetVisibleEnum

from ragtune.errors import ReadError
from ragtune.prepare.read import title_from_name
from ragtune.prepare.read.package import Properties, open_package
from ragtune.prepare.read.tables import pipe_table
from ragtune.prepare.sources import Source
from ragtune.types import Document

_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_MOST_CELLS = 5_000_000  # of the rectangle around a sheet's cells, which is held in memory
_PLACE = re.compile(rb"""\sr\s*=\s*["']([A-Z]{0,3})(\d{1,7})["']""")


def read(source: Source) -> list[Document]:
    """The whole workbook as one document; hidden sheets are passed over, formulas stand for the values they had when it was saved."""
    data = source.read_bytes()
    metadata: Properties = {}
    if source.suffix != ".xls":
        package = open_package(data, source.name, "xl/workbook.xml", "a workbook")
        metadata = package.properties
        _check_size(package.archive, source.name)
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(data))
        shown = [sheet.name for sheet in workbook.sheets_metadata if sheet.visible == SheetVisibleEnum.Visible]
        sheets = {name: workbook.get_sheet_by_name(name).to_python(skip_empty_area=True) for name in shown}
    except PasswordError as error:
        raise ReadError(f"{source.name} is locked with a password: save it without one") from error
    except (CalamineError, OSError, ValueError) as error:
        raise ReadError(f"{source.name} is damaged: {error}") from error
    bodies = {name: body for name, rows in sheets.items() if (body := "\n\n".join(_blocks(rows)))}
    title = metadata.get("title")
    title = title if isinstance(title, str) else title_from_name(source.name)
    text = "\n\n".join(f"## {' '.join(name.split())}\n\n{body}" for name, body in bodies.items())
    return [Document(source.name, title, text, _MEDIA_TYPE if source.suffix != ".xls" else "application/vnd.ms-excel", metadata)]


def _check_size(archive: zipfile.ZipFile, name: str) -> None:
    """Refuse a sheet with a cell so far out that the rectangle up to it would not fit in memory."""
    for part in archive.namelist():
        if not part.startswith("xl/worksheets/"):
            continue
        places = {(column, int(row)) for column, row in _PLACE.findall(archive.read(part))}
        width = max((_number(column) for column, _ in places), default=0)
        height = max((row for _, row in places), default=0)
        if width * height > _MOST_CELLS:
            size = f"{height:,} rows and {width:,} columns"
            raise ReadError(f"{name} has a sheet of {size} ({part}): more than {_MOST_CELLS:,} cells are not read")


def _number(column: bytes) -> int:
    number = 0
    for letter in column:
        number = 26 * number + letter - 64
    return number


def _blocks(rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Stretches of rows without a blank one between: a table where there are columns, else text."""
    block: list[list[str]] = []
    for row in [*rows, ()]:
        cells = [_cell(value) for value in row]
        if any(cells):
            block.append(cells)
        elif block:
            yield from _block(block)
            block = []


def _block(rows: list[list[str]]) -> Iterator[str]:
    used = [i for i in range(max(map(len, rows))) if any(row[i] for row in rows)]
    rows = [[row[i] for i in used] for row in rows]
    while len(rows) > 1 and sum(map(bool, rows[0])) == 1 < len(used):  # a caption over the header
        yield next(filter(None, rows.pop(0)))
    if len(used) == 1 or len(rows) == 1:
        yield "\n\n".join(": ".join(filter(None, row)) for row in rows)
    else:
        yield pipe_table(rows)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, dt.datetime) and value.time() == dt.time():
        value = value.date()
    return " ".join(str(value).split())
