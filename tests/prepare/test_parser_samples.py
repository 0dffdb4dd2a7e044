"""Every file of ``parser_samples``: which phrases must be found in its text (hand-picked by looking into it), or why it is refused."""

# ruff: noqa: E501 - the lines of a table, and files written out

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragtune.prepare import find_sources, read_sources

if "RAGTUNE_DATA" not in os.environ:
    pytest.skip("set RAGTUNE_DATA to the folder of sample data", allow_module_level=True)
for package in ("liteparse", "mammoth", "pptx", "python_calamine"):
    pytest.importorskip(package, reason="needs ragtune[documents]")

FOLDER = Path(os.environ["RAGTUNE_DATA"]) / "parser_samples"
LOCKED = "locked with a password"
IMAGES = "no text found in .* all images|no text found in .* an image"
DAMAGED = "is damaged"
NO_READER = "no reader for "

# a list: these stand in the text, white space aside; a string: the reason of its refusal
EXPECTED: dict[str, list[str] | str] = {
    "docling/2206.01062_pg3.pdf": LOCKED,
    "docling/2305.03393v1-pg9.pdf": ["5.1 Hyper Parameter Optimization", "AMD EPYC 7763", "reduced sequence representation"],
    "docling/LICENSE": NO_READER,
    "docling/README.md": ["test documents which are locked", "- Owner password: `owner`"],
    "docling/SOURCE.txt": ["licence: MIT"],
    "docling/amt_handbook_sample.pdf": ["the all-metal type and the fiber lock type", "Figure 7-26. Self-locking nuts."],
    "docling/asciidoc_02.asciidoc": ["## Section 1: Testing nestedlists", "|Cell 1 |Cell 2 |Cell 3"],
    "docling/duck.md": ["# Swimming in the lake", "| Leaves  | Ash, Elm, Maple", "- Use sun cream"],
    "docling/equations.docx": ["E=mc^2 and F=ma are physics formulas", "a^2+b^2=c^2"],
    "docling/html_rich_table_cells.html": ["| Mallard | Ponds, lakes, rivers | Quack |", "Gracefully glide on H2O surfaces"],
    "docling/hyperlink_05.html": ["Clickable Example", "This is an example caption for the image."],
    "docling/multi_page.pdf": ["# Pre-Digital Era (19th - Early 20th Century)", "Patented in 1868 by Christopher Latham Sholes"],
    "docling/normal_4pages.pdf": ["코로나-19 관련 보험약관상 재해보험금 지급문제 및 개선과제", "고객에게 유리하게 해석되어야 한다"],
    "docling/ocr_test.pdf": IMAGES,
    "docling/powerpoint_bad_text.pptx": ["## X-Library The fully customisable and copyright-free standard content template collection"],
    "docling/powerpoint_malformed_pictures.pptx": ["## Slide 2\n\nSlide With Dangling Rel", "Slide With Wrong Content Type"],
    "docling/qr_bill_example.jpg": NO_READER,
    "docling/right_to_left_01.pdf": ["تعتبر البرمجة", "Python و R"],
    "docling/text_document_01.odt": ["# heading level 1.0", "1. numbered list 1\n2. numbered list 2", "Extremes of Good and Evil"],
    "docling/unit_test_headers_numbered.docx": ["# Test Document", "### Section 1.2.3\n\nParagraph 1.2.3.1", "1. First sub-item at this level"],
    "made/SOURCE.txt": ["made here by make_hostile.py"],
    "made/bad_utf8.txt": ["ok line", "broken"],
    "made/billion_laughs.docx": "declares XML entities",
    "made/deep_nesting.html": ["deep text"],
    "made/external_entity.docx": "declares XML entities",
    "made/html_named.pdf": "is not a PDF",
    "made/huge_table.csv": ["col0: r0c0", "col19: r19999c19"],
    "made/make_hostile.py": ["```python", 'open(f"{out}/nul_bytes.md", "wb").write(b"\\x00" * 4096)'],
    "made/mojibake_latin1_as_utf8.txt": ["Größe, façade, naïve café – 20 °C"],
    "made/nul_bytes.md": "is not text",
    "made/one_line_3mb.txt": ["word word word"],
    "made/pdf_header_only.pdf": DAMAGED,
    "made/prompt_injection.md": ["Grease every 300 hours.", "the warranty is 99 years"],
    "made/truncated_half.pdf": DAMAGED,
    "made/truncated_no_eof.pdf": DAMAGED,
    "made/zip_bomb_200mb.docx": "200,000,167 bytes of XML",
    "made/zip_slip.docx": ["hello"],
    "markitdown/LICENSE": NO_READER,
    "markitdown/RECEIPT-2024-TXN-98765_retail_purchase.pdf": ["Store #0342 - Downtown SF", "SUBTOTAL $863.91", "TOTAL $821.14"],
    "markitdown/REPAIR-2022-INV-001_multipage.pdf": ["| Insured name | Gabriel Diaz | Year | 2022 |", "Estimate (ID: EST-1008)"],
    "markitdown/SOURCE.txt": ["licence: MIT"],
    "markitdown/SPARSE-2024-INV-1234_borderless_table.pdf": ["| SKU-8847 | A-12 | 450 |", "Prepared By: Sarah Martinez"],
    "markitdown/pdf_complex_layout.pdf": ["Complex Layout Document", "Widget A"],
    "markitdown/pdf_multiple_images.pdf": ["Text between first and second image.", "Final text after all images."],
    "markitdown/pdf_scanned_invoice.pdf": IMAGES,
    "markitdown/rlink.docx": ["Testing Linked Images", "A red and blue square"],
    "markitdown/test.epub": ["# Chapter 1: Test Content", "- A bullet point\n- Another point", "> This is a blockquote for testing."],
    "markitdown/test.pdf": ["# 1 Introduction", "crucial building block in developing powerful agents"],
    "markitdown/test.xls": ["| Alpha | Beta | Gamma | Delta |", "6ff4173b-42", "| 13 | 14 | 15 | affc7dad-52dc-4b98-9b5d-51e65d8a8ad0 |"],
    "markitdown/test_files.zip/test.docx": ["# AutoGen: Enabling Next-Gen LLM Applications via Multi-Agent Conversation", "Qingyun Wu"],
    "markitdown/test_files.zip/test.jpg": NO_READER,
    "markitdown/test_files.zip/test.pptx": ["## AutoGen: Enabling Next-Gen LLM Applications", "2cdda5c8-e50e-4db4-b5f0-9722a649f455"],
    "markitdown/test_files.zip/test.xlsx": ["| Alpha | Beta | Gamma | Delta |", "affc7dad-52dc-4b98-9b5d-51e65d8a8ad0"],
    "markitdown/test_files.zip/test_blog.html": ["Does Model and Inference Parameter Matter in LLM Applications?", "Chi Wang"],
    "markitdown/test_files.zip/test_serp.html": ["## Microsoft - Wikipedia", "headquartered in Redmond, Washington"],
    "markitdown/test_files.zip/test_wikipedia.html": ["# Microsoft", "former OpenAI CEO Sam Altman"],
    "markitdown/test_notebook.ipynb": ['```python\nprint("markitdown")\n```', "```\n42\n```", "## Code Cell Below"],
    "markitdown/test_serp.html": ["## Microsoft - Wikipedia", "headquartered in Redmond, Washington"],
    "markitdown/test_wikipedia.html": ["# Microsoft", "| Company type | Public |", "former OpenAI CEO Sam Altman"],
    "markitdown/xlsx_complex_layout.xlsx": ["## Complex Report\n\nAnnual Report 2024", "| Month | Sales |", "Total: 2200", "| South | $600K |"],
    "pdfminer/LICENSE": NO_READER,
    "pdfminer/SOURCE.txt": ["licence: MIT"],
    "pdfminer/aes-256-r6.pdf": LOCKED,
    "pdfminer/base.pdf": ["Secret!"],
    "pdfminer/issue-625-identity-cmap.pdf": ["# Faktura nr FV 1/2021", "| Sprzedawca | Nabywca |", "ul. Żwirki i Wigury 16"],
    "pdfminer/issue_566_test_1.pdf": ["Date：2019-4-25", "黎荣"],
    "pdfminer/jo.pdf": ["透", "幽"],
    "pdfminer/matplotlib.pdf": ["0 2 4 6 8"],
    "pdfminer/pdf-with-jbig2.pdf": IMAGES,
    "pdfminer/rc4-128.pdf": LOCKED,
    "pdfminer/rc4-40.pdf": LOCKED,
    "pdfminer/simple4.pdf": ["Text1 Text2 Text3"],
    "pdfminer/zen_of_python_corrupted.pdf": ["Beautiful is better than ugly.", "Namespaces are one honking great idea"],
    "pdfplumber/LICENSE.txt": ["The MIT License"],
    "pdfplumber/SOURCE.txt": ["licence: MIT"],
    "pdfplumber/empty.pdf": "is not a PDF",
    "pdfplumber/federal-register-2020-17221.pdf": ["# Proposed Rules", "participate in the rule making prior to the adoption of the final rules"],
    "pdfplumber/issue-71-duplicate-chars.pdf": ["引水隧洞爆破方案优化设计", "| 微软公司的 | 2019年11月 |"],
    "pdfplumber/la-precinct-bulletin-2014-p1.pdf": ["327 BALLOTS CAST", "| ASHLEY SWEARENGIN | REP | 249 |", "| TOM LACKEY | REP | 249 |"],
    "pdfplumber/nics-background-checks-2015-11-rotated.pdf": ["| Wisconsin | 5,867 | 13,700 | 17,759 |", "| Maryland | 1,512 | 3,220 |"],
    "pdfplumber/pdf_structure.pdf": ["# Titre du document", "| Chose | Truc |", "| Chose 2 | Truc 2 |"],
    "pdfplumber/scotus-transcript-p1.pdf": ["IN THE SUPREME COURT OF THE UNITED STATES", "CHARLES M. SEVILLA, ESQ., San Diego, Cal."],
    "pdfplumber/senate-expenditures.pdf": ["| DOCUMENT NO. | DATE POSTED | PAYEE NAME |", "| LEGISLATIVE CORRESPONDENT | 21,000.00 |", "411.49"],
    "pypdf/LICENSE": NO_READER,
    "pypdf/SOURCE.txt": ["licence: CC BY-SA 4.0"],
    "pypdf/habibi-rotated.pdf": ["habibi"],
    "pypdf/multicolumn.pdf": ["# Two-Column Document with Lorem Ipsum", "| Denmark | 5.8 | 42,951 | Copenhagen | Danish |"],
    "pypdf/pdflatex-4-pages.pdf": ["Hello, here is some text without a meaning.", 'some nonsense like "Huardest gefburn"? Kjift - not at all!'],
    "pypdf/pdflatex-image.pdf": ["# 1 Your Chapter", "no sea takimata sanctus est"],
    "pypdf/with-attachment.pdf": ["Lorem ipsum dolor sit amet"],
    "tika/LICENSE.txt": ["Apache License"],
    "tika/SOURCE.txt": ["licence: Apache-2.0"],
    "tika/protectedSheets.xlsx": ["## Лист1", "| pass: | q1 |", "защищена формула от чтения в С3"],
    "tika/test-nested-tarball.tar/folderContainingTgz/inner/nested.tgz/folderWithinTgz/testTXT.txt": ["Test d'indexation de Txt"],
    "tika/testEXCEL_protected_passtika.xlsx": LOCKED,
    "tika/testODTEncrypted.odt": LOCKED,
    "tika/testPDF_deeplyEmbeddedAttachments.pdf": ["a"],
    "tika/testPDF_malformedXFA.pdf": IMAGES,
    "tika/testPDF_protected.pdf": ["# RETHINKING THE FINANCIAL NETWORK", "Executive Director, Financial Stability"],
    "tika/testPPT_protected_passtika.pptx": LOCKED,
    "tika/testRTFCorruptListOverride.rtf": NO_READER,
    "tika/testZIP_corrupted_oom.zip": DAMAGED,
    "tika/testZipEncrypted.zip/encrypted.txt": LOCKED,
    "tika/testZipEncrypted.zip/unencrypted.txt": ["hello world"],
    "unstructured/DA-1p.pdf": ["#### Abomination", "We had been tracking the maleficar for days", "a mere puppet for some demon"],
    "unstructured/LICENSE.md": ["Apache License"],
    "unstructured/README.md": ["## Example Docs", "```bash\ncurl -O"],
    "unstructured/SOURCE.txt": ["licence: Apache-2.0"],
    "unstructured/category-level.docx": ["Call me Ishmael.", "# A Heading 1", "## A Heading 2\n\nThis is my substitute for pistol and ball."],
    "unstructured/chi_sim_image.jpeg": NO_READER,
    "unstructured/codeblock.md": ["```html\n<!DOCTYPE html>", "<body>Don't forget me this weekend!</body>"],
    "unstructured/contains-pictures.docx": ["runs “through” the floating picture", "and this text follows it on the same line"],
    "unstructured/csv-with-long-lines.csv": ["SpearmanCorrelationCoefficient: 2Unstim BasophilsS6Unstim", "1Freq CD161CD8TfrequencyUnstim: 0.194282447"],
    "unstructured/docx-hdrftr.docx": ["Main document"],
    "unstructured/docx-tables.docx": ["| Header Col 1 | Header Col 2 |", "| Lorem ipsum | A link example |", "| j | k | l |"],
    "unstructured/double-column-A.jpg": NO_READER,
    "unstructured/email-no-utf8-2008-07-16.062410.eml": ["# RE: שלום", "From: Tamir Erez", "אני חושב שזה לא יהיה מקצועי"],
    "unstructured/email-with-image.eml": ["The unstructured logo is attached to this email.", "From: Mallori Harrell <mallori@unstructured.io>"],
    "unstructured/email-with-image.eml/unstructured_logo.png": NO_READER,
    "unstructured/embedded-images-tables.jpg": NO_READER,
    "unstructured/embedded-images-tables.pdf": ["Anodic and cathodic polarization curve of stainless steel", "Langmuir adsorption isotherm of ES"],
    "unstructured/embedded-images.pdf": ["## Hands-free unlocking, when approaching the vehicle", "remote locking is disabled"],
    "unstructured/emoji.xlsx": ["🤠😅"],
    "unstructured/english-and-korean.png": NO_READER,
    "unstructured/example-steelJIS-datasheet-utf-16.html": ["## SNB22-3 Chemical composition, standards and properties", "| SNB22-3 | 293-375 |"],
    "unstructured/example-steelJIS-datasheet.html": ["## SNB22-3 Chemical composition, standards and properties", "| SNB22-3 | 293-375 |"],
    "unstructured/example-with-scripts.html": ["# Russian Offensive Campaign Assessment, December 13", "strikes against Enerhodar, Tokmak, and Hulyaipole"],
    "unstructured/factbook.xml": ["| name | capital | leader | sport |", "| Trinidad & Tobado | Port of Spain | Keith Rowley | Track & Field |"],
    "unstructured/failure-after-repair.pdf": ["# Understanding Breast Cancer", "Numbness and tingling - Surgery can cause bruising or injury to nerves"],
    "unstructured/fake-bold-sample.pdf": ["# Fake Bold PDF Test Document", "The quick brown fox jumps over the lazy dog."],
    "unstructured/fake-email-attachment.eml": ["Here's the attachments!", "- Little to no content"],
    "unstructured/fake-email-attachment.eml/fake-attachment.txt": ["Hey this is a fake attachment!"],
    "unstructured/fake-email-attachment.msg": NO_READER,
    "unstructured/fake-email.eml": ["# Test Email", "- Roses are red\n - Violets are blue"],
    "unstructured/fake-encrypted.eml": "is encrypted",
    "unstructured/fake-encrypted.msg": NO_READER,
    "unstructured/fake-html-cp1252.html": ["# My First Heading", "Die schöne Frau hat einen Kaffee", "L'été était très chaud", "15,50 €"],
    "unstructured/fake-power-point-table.pptx": ["## A Slide with a Table", "| Red | Green | Blue |", "| Tangerine | Pink | Aqua |"],
    "unstructured/fake-power-point.pptx": ["- Find the bullet slide layout\n - Use _TextFrame.text for first bullet", "some text in a text box!"],
    "unstructured/fake-text-all-whitespace.txt": "no text found",
    "unstructured/fake-text-utf-16-le.txt": ["Doylestown, PA 18901", "- I love fuzzy blankets"],
    "unstructured/fake-text-utf-16.txt": ["Doylestown, PA 18901", "- I love fuzzy blankets"],
    "unstructured/fake.odt": ["Lorem ipsum dolor sit amet.", "| Header row | Mon | Wed | Fri |", "| Leader | Sarah | Mark | Ryan |"],
    "unstructured/group-shapes-nested.pptx": ["## Slide 1", "A\n\nC\n\nE", "J"],
    "unstructured/interface-config-guide-p93.pdf": ["port 1/x1/1/c1/1", "- Only unused faceplate ports", "© 2023 Nokia."],
    "unstructured/invalid-pdf-structure-pdfminer-one-page.pdf": ["## Threats Highlight the Importance of Establishing Leadership in Cybersecurity"],
    "unstructured/korean-text-with-tables.pdf": ["# 커피전문점·제과점·편의점 2% 빅포인트 적립", "| 서비스 제공 기준 | 적립 제외 대상 |"],
    "unstructured/layout-parser-paper-fast.pdf": ["# LayoutParser: A Unified Toolkit for Deep Learning Based Document Image Analysis"],
    "unstructured/more-than-1k-cells.xlsx": ["| x | x | x | x |"],
    "unstructured/negative-coords.pdf": ["2022 Environmental Progress Report", "AirPort Extreme, Apple TV"],
    "unstructured/pdf-with-ocr-text.pdf": ["keep you posted on"],
    "unstructured/picture.pptx": "no text found",
    "unstructured/semicolon-delimited.csv": ["dolor sit: adipiscing", "Lorem, ipsum: sed, do"],
    "unstructured/single_table.pdf": IMAGES,
    "unstructured/stanley-cups-utf-16.csv": ["Team: Maple Leafs\nLocation: TOR\nStanley Cups: 13"],
    "unstructured/table-multi-row-column-cells.pdf": IMAGES,
}  # fmt: skip


class Outcome:
    """What became of the samples: text and reason by name, and what stands where nothing may be written."""

    def __init__(self, scratch: Path) -> None:
        self.texts: defaultdict[str, str] = defaultdict(str)
        self.reasons: dict[str, str] = {}
        before = _listing(FOLDER)
        for result in read_sources(find_sources([FOLDER]), timeout_s=30, memory_mb=2048):
            for document in result.documents or ():
                self.texts[document.source.partition("#")[0]] += f"{document.text}\n"
            if result.reason:
                self.reasons[result.source.name] = result.reason
            self.reasons |= {reason.source: reason.reason for reason in result.skipped}
        self.written = [*scratch.rglob("*"), *(set(_listing(FOLDER)) ^ set(before))]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """All samples read once, with nothing but a folder of the test's own to put temporary files in."""
    scratch = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(scratch))
        patch.chdir(scratch)
        yield Outcome(scratch)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_gives_its_text_or_the_reason_of_its_refusal(outcome: Outcome, name: str) -> None:
    expected = EXPECTED[name]
    if isinstance(expected, str):
        assert name not in outcome.texts
        assert re.search(expected, outcome.reasons[name]), outcome.reasons[name]
    else:
        assert name not in outcome.reasons
        missing = [phrase for phrase in expected if _squeezed(phrase) not in _squeezed(outcome.texts[name])]
        assert not missing, outcome.texts[name][:2000]


def test_every_sample_is_in_the_table_and_none_crashes_hangs_or_writes(outcome: Outcome) -> None:
    assert outcome.texts.keys() | outcome.reasons.keys() == EXPECTED.keys()
    assert not [reason for reason in outcome.reasons.values() if re.search("crashed|took more|cannot be read", reason)]
    assert outcome.written == []
    assert "root:" not in "".join(outcome.texts.values())


def _squeezed(text: str) -> str:
    return re.sub(r"[^\S\n]+", " ", text)


def _listing(folder: Path) -> list[tuple[Path, int, int]]:
    return [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")]
