from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ragtune.errors import ReadError
from ragtune.prepare import Source
from ragtune.prepare.clean import RULES, Rule, clean_text
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
    from liteparse import LiteParse

    path = samples("unstructured/failure-after-repair.pdf")
    raw = "\n".join(page.text for page in LiteParse(ocr_enabled=False, quiet=True).parse(path.read_bytes()).pages)
    expected, got = (Counter(text.split()) for text in (raw, read(path).text))
    lost = {word: n for word, n in (expected - got).items() if word.isalpha()}
    # what is dropped is page numbers, running heads and the two halves of hyphenated words
    assert sum(lost.values()) < 0.01 * expected.total(), lost


def make_broken(folder: Path) -> Path:
    """Pages with a running head, page numbers, a word that a line's end breaks and one that a page's end breaks."""
    canvas = pytest.importorskip("reportlab.pdfgen.canvas", reason="needs reportlab, of ragtune[examples]")
    path = folder / "broken.pdf"
    made = canvas.Canvas(str(path), pagesize=(420, 595))
    for page in range(1, 5):
        made.setFont("Helvetica", 8)
        made.drawString(50, 570, "Hallowmere handbook")
        made.drawString(200, 20, f"Page {page}")
        made.setFont("Helvetica", 11)
        lines = [f"Rope {page} was spliced by the night com-", "mittee of the valley, and it was laid again by the quar-"]
        lines[0] = lines[0] if page == 1 else f"rymen before dusk. {lines[0]}"
        for number, line in enumerate(lines):
            made.drawString(50, 500 - 14 * number, line)
        made.showPage()
    made.save()
    return path


@pytest.mark.parametrize(
    ("off", "kept", "counted"),
    [
        (set(), [], {"hyphenation": 7, "repeated lines": 7}),
        ({"hyphenation"}, ["com- mittee", "quar- rymen"], {"repeated lines": 7}),
        ({"repeated lines"}, ["Page 3"], {"hyphenation": 4}),
    ],
)
def test_the_rules_that_need_the_layout_are_switched_and_counted(
    tmp_path: Path, off: set[Rule], kept: list[str], counted: dict[str, int]
) -> None:
    path, counts = make_broken(tmp_path), Counter[str]()
    (document,) = read_source(Source(path, path.name), RULES - off, counts)
    assert {rule: counts[rule] for rule in RULES if rule in counts} == counted
    everything = {"com- mittee", "quar- rymen", "Page 3"}
    assert {words for words in everything if words in document.text} == set(kept)
    assert document.text.count("Hallowmere handbook") == (4 if "repeated lines" in off else 1)


def test_the_reader_repairs_no_letters_where_that_is_switched_off(tmp_path: Path) -> None:
    canvas = pytest.importorskip("reportlab.pdfgen.canvas", reason="needs reportlab, of ragtune[examples]")
    made = canvas.Canvas(str(tmp_path / "cafe.pdf"))
    made.drawString(50, 700, "The cafÃ© is beside the pier and opens before the first boat leaves.")
    made.save()
    source, counts = Source(tmp_path / "cafe.pdf", "cafe.pdf"), Counter[str]()
    assert "café" in read_source(source, RULES, counts)[0].text
    assert counts["mojibake"] == 1
    assert "cafÃ©" in read_source(source, RULES - {"mojibake"})[0].text


def test_a_manual_whose_pages_start_with_a_numbered_heading_keeps_them(tmp_path: Path) -> None:
    platypus = pytest.importorskip("reportlab.platypus", reason="needs reportlab, of ragtune[examples]")
    from reportlab.lib.styles import getSampleStyleSheet

    styles = getSampleStyleSheet()
    story: list[Any] = []
    for section in range(1, 7):
        story += [platypus.Paragraph(f"Section {section}", styles["Heading2"]), platypus.Paragraph(PROSE, styles["BodyText"])]
        story.append(platypus.PageBreak())
    path = tmp_path / "manual.pdf"
    platypus.SimpleDocTemplate(str(path), topMargin=40).build(story)
    text = read(path).text
    assert [f"## Section {section}\n" in text or f"# Section {section}\n" in text for section in range(1, 7)] == [True] * 6
