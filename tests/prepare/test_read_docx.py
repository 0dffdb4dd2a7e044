from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from ragtune.errors import ReadError
from ragtune.prepare import Source
from ragtune.prepare.read import read_source
from ragtune.types import Document

docx = pytest.importorskip("docx", reason="needs python-docx, of ragtune[examples]")
pytest.importorskip("mammoth", reason="needs ragtune[documents]")

XML = (
    '<?xml version="1.0"?>{head}<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>'
)
XML_END = "</w:t></w:r></w:p></w:body></w:document>"


def read(path: Path) -> Document:
    (document,) = read_source(Source(path, path.name))
    return document


def made(folder: Path) -> Path:
    word = docx.Document()
    word.core_properties.title = "Leave rules 2024"
    word.core_properties.author = "Ada"
    word.add_heading("Leave and rest", 0)
    word.add_paragraph("Staff have 28 days a year.")
    word.add_heading("Night work", 1)
    word.add_paragraph("Eleven hours of rest", style="List Bullet")
    word.add_paragraph("No second night", style="List Bullet")
    table = word.add_table(2, 2)
    for cell, text in zip((cell for row in table.rows for cell in row.cells), ["Post", "Days", "Warden", "28"], strict=True):
        cell.text = text
    path = folder / "leave.docx"
    word.save(str(path))
    return path


def hostile(folder: Path, body: str, head: str = "") -> Path:
    path = folder / "trap.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", XML.format(head=head) + body + XML_END)
    return path


def test_headings_lists_and_tables_are_kept(tmp_path: Path) -> None:
    document = read(made(tmp_path))
    assert document.text == (
        "# Leave and rest\n\nStaff have 28 days a year.\n\n# Night work\n\n- Eleven hours of rest\n- No second night\n\n"
        "| Post | Days |\n| --- | --- |\n| Warden | 28 |"
    )
    assert document.title == "Leave and rest"
    assert document.metadata["author"] == "Ada"


def test_a_document_without_headings_takes_its_title_from_its_properties(tmp_path: Path) -> None:
    word = docx.Document()
    word.core_properties.title = "Leave rules 2024"
    word.add_paragraph("Text.")
    word.save(str(tmp_path / "a.docx"))
    assert read(tmp_path / "a.docx").title == "Leave rules 2024"


def test_equations_are_written_out(tmp_path: Path) -> None:
    m = "http://schemas.openxmlformats.org/officeDocument/2006/math"
    run = "<m:r><m:t>{}</m:t></m:r>".format
    power = f"<m:sSup><m:e>{run('r')}</m:e><m:sup>{run('2')}</m:sup></m:sSup>"
    half = f"<m:f><m:num>{run('1')}</m:num><m:den>{run('x+1')}</m:den></m:f>"
    path = tmp_path / "a.docx"
    word = docx.Document()
    word.add_paragraph("The area is HERE.")
    buffer = io.BytesIO()
    word.save(buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "word/document.xml":
                equation = f'</w:t></w:r><m:oMath xmlns:m="{m}">{run("A=π")}{power}{half}</m:oMath><w:r><w:t>'
                data = data.replace(b"HERE", equation.encode())
            target.writestr(name, data)
    assert read(path).text == "The area is A=πr^2(1)/(x+1)."


@pytest.mark.parametrize(
    "head",
    ['<!DOCTYPE w [<!ENTITY x SYSTEM "file:///etc/passwd">]>', '<!DOCTYPE w [<!ENTITY x "ha">]>', f"<!--{' ' * 5000}--><!DOCTYPE w>"],
)
def test_xml_entities_are_refused(tmp_path: Path, head: str) -> None:
    with pytest.raises(ReadError, match="declares XML entities"):
        read(hostile(tmp_path, "&x;", head))


def test_a_bomb_is_refused_before_it_swells(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"XML in word/document.xml"):
        read(hostile(tmp_path, "A" * 70_000_000))


def test_what_is_no_word_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"not a zip")
    with pytest.raises(ReadError, match="damaged or locked"):
        read(tmp_path / "a.docx")
    with zipfile.ZipFile(tmp_path / "b.docx", "w") as archive:
        archive.writestr("x.xml", "<x/>")
    with pytest.raises(ReadError, match="is not a Word document"):
        read(tmp_path / "b.docx")
