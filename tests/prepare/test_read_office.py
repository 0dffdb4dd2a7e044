"""Presentations, spreadsheets, OpenDocument texts and e-books, made here."""

# ruff: noqa: E501 - the lines of a table, and files written out

from __future__ import annotations

import datetime as dt
import io
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from ragtune.errors import ReadError
from ragtune.prepare import RULES, Source
from ragtune.prepare.read import read_source
from ragtune.types import Document

pptx = pytest.importorskip("pptx", reason="needs ragtune[documents]")
pytest.importorskip("python_calamine", reason="needs ragtune[documents]")
pytest.importorskip("mammoth", reason="needs ragtune[documents]")
xlsxwriter = pytest.importorskip("xlsxwriter")

DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
ODF = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text", "table", "style", "meta"))
LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'


def read(folder: Path, name: str, data: bytes) -> Document:
    (folder / name).write_bytes(data)
    (document,) = read_source(Source(folder / name, name))
    return document


def zipped(parts: Mapping[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return stream.getvalue()


def deck() -> bytes:
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    made = pptx.Presentation()
    made.core_properties.title, made.core_properties.author = "Lift talk", "Ann"
    slide = made.slides.add_slide(made.slide_layouts[1])
    slide.shapes.title.text = "Wind\nlimits"
    body = slide.placeholders[1].text_frame
    body.text = "Stop at 62 km/h"
    inner = body.add_paragraph()
    inner.text, inner.level = "Gusts count", 1
    slide.notes_slide.notes_text_frame.text = "Ask the crew."
    second = made.slides.add_slide(made.slide_layouts[6])
    low = second.shapes.add_textbox(Inches(1), Inches(5), Inches(2), Inches(1))
    low.text_frame.text = "Below"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(1), Inches(4), Inches(1)).table
    for i, words in enumerate(["Hut", "Beds", "Marl", "60"]):
        table.cell(i // 2, i % 2).text = words
    data = CategoryChartData()
    data.categories = ["2023", "2024"]
    data.add_series("Guests", (100, 120))
    second.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(1), Inches(3), Inches(4), Inches(1), data)
    stream = io.BytesIO()
    made.save(stream)
    return stream.getvalue()


def test_each_slide_is_a_section_with_bullets_tables_charts_and_notes(tmp_path: Path) -> None:
    document = read(tmp_path, "talk.pptx", deck())
    assert document.text == (
        "## Wind limits\n\n- Stop at 62 km/h\n  - Gusts count\n\nNotes: Ask the crew.\n\n## Slide 2\n\n"
        "| Hut | Beds |\n| --- | --- |\n| Marl | 60 |\n\n|  | Guests |\n| --- | --- |\n| 2023 | 100.0 |\n| 2024 | 120.0 |\n\nBelow"
    )
    assert (document.title, document.metadata["author"]) == ("Lift talk", "Ann")
    starts = document.metadata["page_starts"]
    assert isinstance(starts, list)
    assert [document.text[start:].split("\n")[0] for start in starts if isinstance(start, int)] == ["## Wind limits", "## Slide 2"]


def workbook(far: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    book = xlsxwriter.Workbook(stream)
    book.set_properties({"title": "Huts", "author": "Ann"})
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    sheet = book.add_worksheet("All huts")
    sheet.write(0, 1, "Huts of 2024")
    sheet.write_row(1, 1, ["Hut", "Beds", "Opened", "Share"])
    sheet.write_row(2, 1, ["Marl", 60])
    sheet.write_datetime(2, 3, dt.datetime(1951, 6, 1), day)
    sheet.write(2, 4, 0.5)
    sheet.write_row(4, 1, ["Sum", 60])
    sheet.write(6, 1, "A note on its own.")
    hidden = book.add_worksheet("Hidden")
    hidden.write(0, 0, "secret")
    hidden.hide()
    if far:
        sheet.write(*far, "far")
    book.close()
    return stream.getvalue()


def test_sheets_are_sections_and_blank_rows_part_their_tables(tmp_path: Path) -> None:
    document = read(tmp_path, "huts.xlsx", workbook())
    assert document.text == (
        "## All huts\n\nHuts of 2024\n\n| Hut | Beds | Opened | Share |\n| --- | --- | --- | --- |\n| Marl | 60 | 1951-06-01 | 0.5 |\n\n"
        "Sum: 60\n\nA note on its own."
    )
    assert (document.title, document.metadata["author"]) == ("Huts", "Ann")


def test_a_sheet_with_a_cell_far_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="a sheet of 1,048,576 rows and 16,384 columns"):
        read(tmp_path, "huts.xlsx", workbook(far=(1048575, 16383)))
    assert "far" in read(tmp_path, "huts.xlsx", workbook(far=(20_000, 10))).text


def odt(content: str, **others: str) -> bytes:
    meta = f"<office:document-meta {ODF} {DC}><office:meta><dc:title>Manual</dc:title><dc:language>de-CH</dc:language></office:meta></office:document-meta>"
    return zipped({"content.xml": content, "meta.xml": meta, **others})


BODY = f"""<office:document-content {ODF}><office:automatic-styles><text:list-style style:name="N"><text:list-level-style-number text:level="1"/>
</text:list-style></office:automatic-styles><office:body><office:text><text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>
<text:h text:outline-level="2">Wind</text:h><text:p>Stop at<text:s/>62<text:line-break/>km/h<text:note><text:note-citation>1</text:note-citation>
<text:note-body><text:p>Gusts.</text:p></text:note-body></text:note>.</text:p><text:list text:style-name="N"><text:list-item><text:p>one</text:p>
<text:list><text:list-item><text:p>inner</text:p></text:list-item></text:list></text:list-item></text:list><table:table><table:table-row>
<table:table-cell><text:p>Hut</text:p></table:table-cell><table:table-cell><text:p>Beds</text:p></table:table-cell></table:table-row>
<table:table-row><table:table-cell><text:p>Marl &lt;1&gt;</text:p></table:table-cell><table:table-cell><text:p>60</text:p></table:table-cell>
</table:table-row></table:table></office:text></office:body></office:document-content>"""


def test_an_opendocument_text_keeps_headings_lists_tables_and_notes(tmp_path: Path) -> None:
    document = read(tmp_path, "manual.odt", odt(BODY))
    assert document.text.startswith("## Wind\n\nStop at 62")
    for part in ("(Gusts.)", "1. one", "- inner", "| Hut | Beds |\n| --- | --- |\n| Marl <1> | 60 |"):
        assert part in document.text
    assert "deleted" not in document.text
    assert (document.title, document.metadata["language"]) == ("Manual", "de-CH")


def test_a_locked_opendocument_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="locked with a password"):
        read(tmp_path, "a.odt", odt(BODY, **{"META-INF/manifest.xml": "<manifest:encryption-data/>"}))


CONTAINER = '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
OPF = f"""<package xmlns="http://www.idpf.org/2007/opf" {DC}><metadata><dc:title>The Lift</dc:title><dc:creator>Ann</dc:creator>
<dc:language>en</dc:language><dc:date>1951</dc:date></metadata><manifest><item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="b" href="b%20two.xhtml" media-type="application/xhtml+xml"/><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="n"/><itemref idref="b"/><itemref idref="a"/><itemref idref="gone"/></spine></package>"""
PAGE = '<!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><body><h1>{0}</h1><p>Text of {0}.</p></body></html>'


def epub(**others: str) -> bytes:
    pages = {f"OPS/{name}.xhtml": PAGE.format(name) for name in ("nav", "a", "b two")}
    return zipped({"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "OPS/book.opf": OPF, **pages, **others})


def cafe_deck() -> bytes:
    made = pptx.Presentation()
    made.slides.add_slide(made.slide_layouts[5]).shapes.title.text = "The cafÃ© of Quessen"
    stream = io.BytesIO()
    made.save(stream)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["cafe.epub", "cafe.pptx"])
def test_pages_and_slides_are_cleaned_by_the_rules_that_are_on_and_counted(tmp_path: Path, name: str) -> None:
    data = epub(**{"OPS/a.xhtml": PAGE.format("The cafÃ© of Quessen")}) if name.endswith("epub") else cafe_deck()
    (tmp_path / name).write_bytes(data)
    source, counts = Source(tmp_path / name, name), Counter[str]()
    assert "The café of Quessen" in read_source(source, RULES, counts)[0].text
    assert counts["mojibake"] >= 1
    counts.clear()
    assert "The cafÃ© of Quessen" in read_source(source, RULES - {"mojibake"}, counts)[0].text
    assert "mojibake" not in counts


def test_a_book_is_read_in_its_order_without_its_table_of_contents(tmp_path: Path) -> None:
    document = read(tmp_path, "lift.epub", epub())
    assert document.text == "# b two\n\nText of b two.\n\n# a\n\nText of a."
    assert document.title == "The Lift"
    assert document.metadata == {"title": "The Lift", "author": "Ann", "language": "en", "date": "1951", "page_starts": [0, 25]}


def test_a_book_locked_by_its_seller_is_refused_and_one_with_locked_fonts_is_not(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="locked by its seller"):
        read(tmp_path, "a.epub", epub(**{"META-INF/encryption.xml": '<CipherReference URI="OPS/a.xhtml"/>'}))
    assert read(tmp_path, "a.epub", epub(**{"META-INF/encryption.xml": '<CipherReference URI="OPS/font.otf"/>'})).text


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.pptx", {"ppt/presentation.xml": LAUGHS}),
        ("a.xlsx", {"xl/workbook.xml": LAUGHS}),
        ("a.odt", {"content.xml": LAUGHS}),
        ("a.epub", {"META-INF/container.xml": CONTAINER, "OPS/book.opf": LAUGHS}),
    ],
)
def test_entities_are_refused(tmp_path: Path, name: str, parts: dict[str, str]) -> None:
    with pytest.raises(ReadError, match="declares XML entities"):
        read(tmp_path, name, zipped(parts))


@pytest.mark.parametrize("name", ["a.pptx", "a.xlsx", "a.odt", "a.epub", "a.docx"])
def test_what_is_locked_damaged_something_else_or_a_bomb_is_refused(tmp_path: Path, name: str) -> None:
    for data, reason in (
        (b"\xd0\xcf\x11\xe0" + bytes(600), "locked with a password"),
        (b"PK\3\4 nothing", "is damaged"),
        (zipped({"other.xml": "<a/>"}), "is not an? "),
        (zipped({"zeros.bin": "0" * (202 << 20)}), "would swell from"),
    ):
        with pytest.raises(ReadError, match=reason):
            read(tmp_path, name, data)


def test_a_damaged_old_workbook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="is damaged"):
        read(tmp_path, "a.xls", b"\xd0\xcf\x11\xe0" + bytes(600))
