from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ragtune.errors import ReadError
from ragtune.prepare import Source
from ragtune.prepare.clean import clean_text
from ragtune.prepare.read import read_source
from ragtune.quotes import find_span
from ragtune.types import Document

pytest.importorskip("liteparse", reason="needs ragtune[documents]")

PROSE = (
    "The Cooperative was founded on 14 March 1951 at a meeting in the wool loft above the Bobbin Inn, and it has run every line of the "
    "valley since. In the hard winter of 1947 the road was closed for 93 days, so that the quarrymen lived for a fortnight on oats."
)


def make(folder: Path, paragraphs: int = 12) -> Path:
    """A document of several small pages with running head, page numbers, justified text, headings, a list and a ruled table."""
    platypus = pytest.importorskip("reportlab.platypus", reason="needs reportlab, of ragtune[examples]")
    from reportlab.lib import colors
    from reportlab.lib.enums import TA_JUSTIFY
    from reportlab.lib.pagesizes import A5
    from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet

    styles = getSampleStyleSheet()
    body = ParagraphStyle("justified", parent=styles["BodyText"], alignment=TA_JUSTIFY)

    def frame(canvas: Any, page: Any) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.drawString(50, A5[1] - 25, "Hallowmere handbook")
        canvas.drawString(200, 20, f"Page {page.page}")

    def cell(text: str) -> Any:
        return platypus.Paragraph(text, styles["BodyText"])

    rows = [["Order", "Consumer"], ["1", "control room and radio"], ["2", "passenger lines with people on them, and the hospital"]]
    table = platypus.Table([[cell(text) for text in row] for row in rows], style=[("GRID", (0, 0), (-1, -1), 0.5, colors.black)])
    items = [platypus.ListItem(cell("Grease the wheel every week")), platypus.ListItem(cell("Check the rope"))]
    story = [platypus.Paragraph("Power and lines", styles["Title"]), platypus.Paragraph("History", styles["Heading2"])]
    story += [platypus.Paragraph(f"Item {i}. {PROSE}", body) for i in range(paragraphs)]
    story += [platypus.Paragraph("Who gets power first", styles["Heading2"]), table, platypus.ListFlowable(items, bulletType="bullet")]
    path = folder / "power.pdf"
    platypus.SimpleDocTemplate(str(path), pagesize=A5).build(story, onFirstPage=frame, onLaterPages=frame)
    return path


def read(path: Path) -> Document:
    (document,) = read_source(Source(path, path.name))
    return document


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    return read(make(tmp_path_factory.mktemp("pdf")))


def test_sentences_are_whole_over_lines_and_pages(document: Document) -> None:
    for i in range(12):
        assert f"Item {i}. {PROSE}" in document.text


def test_headings_tables_and_lists_are_kept(document: Document) -> None:
    assert document.title == "Power and lines"
    assert "# Power and lines\n" in document.text
    assert "## History\n\nItem 0" in document.text
    assert "| Order | Consumer |\n| --- | --- |\n| 1 | control room and radio |" in document.text
    assert "| 2 | passenger lines with people on them, and the hospital |" in document.text
    assert "- Grease the wheel every week\n- Check the rope" in document.text


def test_a_table_below_text_keeps_the_words_of_all_its_columns(tmp_path: Path) -> None:
    text = read(make(tmp_path, paragraphs=6)).text
    assert (
        "| Order | Consumer |\n| --- | --- |\n| 1 | control room and radio |\n| 2 | passenger lines with people on them, and the hospital |"
        in text
    )
    assert text.count("control room and radio") == 1


def test_running_heads_are_kept_once_and_page_numbers_not_at_all(document: Document) -> None:
    assert document.text.count("Hallowmere handbook") == 1
    assert "Page " not in document.text


def test_page_starts_point_into_the_text(document: Document) -> None:
    starts = document.metadata["page_starts"]
    assert isinstance(starts, list)
    assert document.metadata["pages"] == len(starts) > 2
    assert starts[0] == 0
    assert starts == sorted(starts)  # type: ignore[type-var]
    assert clean_text(document.text)[0] == document.text


def samples(name: str) -> Path:
    if "RAGTUNE_DATA" not in os.environ:
        pytest.skip("set RAGTUNE_DATA to the folder of sample data")
    return Path(os.environ["RAGTUNE_DATA"]) / "parser_samples" / name


@pytest.mark.parametrize("name", ["markitdown/pdf_scanned_invoice.pdf", "docling/ocr_test.pdf"])
def test_a_scan_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(ReadError, match=r"no text found in .* \(1 page, an image\): OCR is not built in yet"):
        read(samples(name))


@pytest.mark.parametrize(
    ("name", "reason"), [("pdfminer/aes-256-r6.pdf", "locked with a password"), ("made/truncated_half.pdf", "is damaged")]
)
def test_locked_and_damaged_files_are_refused(name: str, reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        read(samples(name))


@pytest.mark.parametrize(
    ("name", "quotes"),
    [
        ("docling/multi_page.pdf", ["In the 1970s, Wang introduced dedicated word processing machines."]),
        (
            "pdfplumber/federal-register-2020-17221.pdf",
            ["The FAA proposes to supersede Airworthiness Directive (AD) 2018-23-51, which applies to all The Boeing Company Model 737-8"],
        ),
        ("pypdf/multicolumn.pdf", ["This is a sample document with two columns filled with Lorem Ipsum text."]),
        (
            "tika/testPDF_protected.pdf",
            ["On 16 November 2002, the first official case of Severe Acute Respiratory Syndrome (SARS) was recorded"],
        ),
    ],
)
def test_sentences_of_real_documents_are_found(name: str, quotes: list[str]) -> None:
    text = read(samples(name)).text
    for quote in quotes:
        assert find_span(quote, text), quote


def test_no_words_of_a_real_booklet_are_lost() -> None:
    from collections import Counter

    from liteparse import LiteParse

    path = samples("unstructured/failure-after-repair.pdf")
    raw = "\n".join(page.text for page in LiteParse(ocr_enabled=False, quiet=True).parse(path.read_bytes()).pages)
    expected, got = (Counter(text.split()) for text in (raw, read(path).text))
    lost = {word: n for word, n in (expected - got).items() if word.isalpha()}
    # what is dropped is page numbers, running heads and the two halves of hyphenated words
    assert sum(lost.values()) < 0.01 * expected.total(), lost
