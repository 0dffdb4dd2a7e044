"""PDF: liteparse's layout blocks to Markdown that reads as one text, not as lines on pages.

Running heads, page numbers and rules are dropped; sentences broken over lines, columns or pages are joined, and so are words hyphenated at
a line's end. Where heads and hyphens stand is known from the layout alone, so the rules of cleaning that are about them are obeyed and
counted here. Scans have no text layer and are refused: there is no OCR here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from liteparse import LiteParse
from liteparse.types import AnnotationRect, LayoutBlock, LayoutCell, ParsedPage, ParseError, ParseResult, TextItem

from ragtune.errors import ReadError
from ragtune.prepare.clean import RULES, Rule, clean_text
from ragtune.prepare.read.package import dublin_core
from ragtune.prepare.read.tables import pipe_table
from ragtune.prepare.sources import Source
from ragtune.types import JSON, Document

_EMPHASIS = re.compile(r"(?<!\\)(\*{1,3})(?=\S)(.+?)(?<=[^\s\\])\1")
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>~])")
_SENTENCE_END = re.compile(r"[.!?:;…]['\"”’)\]]*$")
_HYPHEN_BREAK = re.compile(r"(\w+)[-\u00ad\u2010] ?\Z")
_WORD = re.compile(r"\w+(?:-\w+)*")
_LINE_BREAKS_WORD = re.compile(r"[-\u00ad\u2010][ \t]*$", re.MULTILINE)
_PAGE_NUMBER = re.compile(r"(?:page |seite |- ?)?(?:\d{1,5}|[ivxlc]{1,6})(?: ?(?:of|/|von|-) ?\d*)?", re.IGNORECASE)
_DATE = re.compile(r"D:(\d{4})(\d\d)(\d\d)")
_LARGER = 1.15  # times the text's letters: a heading's
_LONGEST_HEADING = 120  # characters
_FEWEST_LOST = 3  # words in a line
_MARGIN = 0.12  # of a page's height: where running heads stand


@dataclass(slots=True)
class _Piece:
    """A block on its way to Markdown."""

    kind: str
    text: str
    page: int
    level: int = 0
    marker: str = ""
    margin: Literal["", "top", "bottom"] = ""
    in_table: bool = False
    size: float = 0.0  # of the letters, in points, where the piece is short enough for a heading
    rows: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Cleaning:
    """The rules that are switched on, and what they did; white space is always put in order and is not counted here."""

    rules: Collection[Rule]
    counts: Counter[str]

    def text(self, text: str) -> str:
        cleaned, made = clean_text(text, self.rules)
        for rule in RULES:
            self.count(rule, made.get(rule, 0))
        return cleaned

    def count(self, rule: Rule, times: int) -> None:
        if times:
            self.counts[rule] += times

    def inline(self, text: str) -> str:
        """One line without emphasis: liteparse gives it by line, so that it ends in mid sentence."""
        return _ESCAPE.sub(r"\1", _EMPHASIS.sub(r"\2", " ".join(self.text(text).split())))


def read(source: Source, rules: Collection[Rule] = RULES, counts: Counter[str] | None = None) -> list[Document]:
    """The whole file as one document; ``page_starts`` in its metadata holds where each page's text starts.

    Args:
        source: the file.
        rules: of cleaning, those that are switched on.
        counts: what they did is added to it.
    """
    cleaning = _Cleaning(rules, Counter() if counts is None else counts)
    data = source.read_bytes()
    if b"%PDF-" not in data[:1024]:
        raise ReadError(f"{source.name} is not a PDF: it does not start with %PDF-")
    try:
        result = LiteParse(
            ocr_enabled=False,
            extract_blocks=True,
            extract_document_metadata=True,
            extract_links=False,
            image_mode="off",
            keep_headers_footers=True,
            quiet=True,
        ).parse(data)
    except ParseError as error:
        if "password" in str(error):
            raise ReadError(f"{source.name} is locked with a password: save it without one") from error
        raise ReadError(f"{source.name} is damaged: {error}") from error
    if not any(page.text.strip() for page in result.pages):
        pages = "1 page, an image" if result.total_pages == 1 else f"{result.total_pages} pages, all images"
        raise ReadError(
            f"no text found in {source.name} ({pages}): OCR is not built in yet, save it with a text layer and run 'ragtune ingest' again"
        )
    pieces = _pieces(result, cleaning)
    if not any(piece.kind == "heading" for piece in pieces):
        _find_headings(pieces, result)
    pieces = _join(_drop_running_heads(pieces, cleaning), cleaning)
    text, starts = _render(pieces, result.total_pages)
    metadata = _properties(result) | {"pages": result.total_pages, "page_starts": list[JSON](starts)}
    empty: list[JSON] = [page.page_num for page in result.pages if not page.text.strip()]
    if empty:
        metadata["pages_without_text"] = empty
    title = next((piece.text for piece in pieces if piece.kind == "heading" and piece.page <= 1), "")
    return [Document(source.name, title if len(title) <= 150 else "", text, "application/pdf", metadata)]


def _properties(result: ParseResult) -> dict[str, JSON]:
    """Author, date and language as the file states them; its own title is too often that of a template to go by."""
    stated = result.doc_meta
    if stated is None:
        return {}
    found = dublin_core(stated.xmp or "")
    made = _DATE.match(stated.creation_date or "")
    return found | ({"date": "-".join(made.groups())} if made else {})


def _pieces(result: ParseResult, cleaning: _Cleaning) -> list[_Piece]:
    pieces: list[_Piece] = []
    for page in result.pages:
        found = [piece for block in page.blocks or [] if (piece := _piece(block, page, cleaning))]
        # the words of some cells stand in a paragraph of their own, too
        in_tables = sum((_words(" ".join(cell for row in piece.rows for cell in row)) for piece in found), Counter[str]())
        found = [piece for piece in found if not (piece.in_table and _words(piece.text) <= in_tables)]
        pieces += [*found, *_left_out(page, found, cleaning)] if found else _plain(page, cleaning)
    return pieces


def _find_headings(pieces: list[_Piece], result: ParseResult) -> None:
    """Headings by the size of their letters: liteparse finds none in some long documents that have few."""
    letters: Counter[float] = Counter()
    for page in result.pages:
        for item in page.text_items:
            letters[round(item.font_size or 0, 1)] += len(item.text)
    body = letters.most_common(1)[0][0] if letters else 0.0
    heads = [piece for piece in pieces if piece.size > _LARGER * body > 0 and piece.kind == "paragraph" and not piece.margin]
    sizes = sorted({piece.size for piece in heads}, reverse=True)
    for piece in heads:
        if not piece.in_table and not piece.text.endswith((".", ",", ";")):
            piece.kind, piece.level = "heading", min(sizes.index(piece.size) + 1, 6)


def _left_out(page: ParsedPage, found: list[_Piece], cleaning: _Cleaning) -> list[_Piece]:
    """Lines of a page that are in no block: around figures and in odd tables liteparse drops some. They follow the page's text."""
    missing = _words(page.text)
    for piece in found:
        missing -= _words(" ".join([piece.text, *(cell for row in piece.rows for cell in row)]))
    lost: list[_Piece] = []
    for line in page.text.splitlines():
        words = _words(line)
        if words.total() >= _FEWEST_LOST and (words & missing).total() > 0.8 * words.total():
            missing -= words
            lost.append(_Piece("paragraph", cleaning.inline(line), page.page_num, margin="bottom"))
    return lost


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text))


def _plain(page: ParsedPage, cleaning: _Cleaning) -> list[_Piece]:
    """A page whose layout was not understood, paragraph by paragraph."""
    paragraphs = [cleaning.inline(" ".join(part.split())) for part in re.split(r"\n\s*\n", page.text)]
    return [_Piece("paragraph", text, page.page_num) for text in paragraphs if text]


def _piece(block: LayoutBlock, page: ParsedPage, cleaning: _Cleaning) -> _Piece | None:
    number = page.page_num
    if block.kind == "table":
        cells = [[cleaning.inline(cell.text or _ink(cell, page)) for cell in row] for row in [block.header or [], *(block.rows or [])]]
        rows = [row for row in cells if any(row)]
        return _Piece("table", "", number, rows=rows) if rows else None
    if block.kind in ("code", "grid_fallback"):
        text = cleaning.text("\n".join(block.lines or []))
        return _Piece(block.kind, text, number) if text.strip() else None
    text = cleaning.inline(_with_hyphens(block, page, cleaning))
    if not text.strip("|-_ ·•"):
        return None  # rules and figures, and what is left of them
    if block.kind == "list_item":
        return _Piece(block.kind, text, number, block.level or 0, (block.marker or "1.") if block.ordered else "-")
    piece = _Piece(block.kind, text, number, block.level or 0, margin=_margin(block.bbox, page.height))
    piece.in_table, piece.size = _in_table(block, page), _letter_size(block.bbox, page) if len(text) <= _LONGEST_HEADING else 0.0
    return piece


def _ink(cell: LayoutCell, page: ParsedPage) -> str:
    """The words that stand where the cell is: liteparse finds the cells of ruled tables but loses the words of some columns."""
    box = cell.bbox
    if box is None:
        return ""
    return " ".join(item.text for item in sorted(_items(box, page), key=lambda item: (round(item.y / 3), item.x)))


def _letter_size(box: AnnotationRect | None, page: ParsedPage) -> float:
    """Of the smallest letters in a box of at most two lines; 0 in a higher one."""
    size = min((round(item.font_size or 0, 1) for item in _items(box, page)), default=0.0) if box else 0.0
    return size if box and box.height <= 3 * size else 0.0


def _items(box: AnnotationRect, page: ParsedPage) -> list[TextItem]:
    return [
        item
        for item in page.text_items
        if box.x <= item.x + item.width / 2 < box.x + box.width and box.y <= item.y + item.height / 2 < box.y + box.height
    ]


def _in_table(block: LayoutBlock, page: ParsedPage) -> bool:
    box = block.bbox
    if box is None or block.kind != "paragraph":
        return False
    x, y = box.x + box.width / 2, box.y + box.height / 2
    tables = [other.bbox for other in page.blocks or [] if other.kind == "table" and other.bbox]
    return any(table.x <= x <= table.x + table.width and table.y <= y <= table.y + table.height for table in tables)


def _margin(box: AnnotationRect | None, height: float) -> Literal["", "top", "bottom"]:
    if box is None:
        return ""
    if box.y + box.height < _MARGIN * height:
        return "top"
    return "bottom" if box.y > (1 - _MARGIN) * height else ""


def _with_hyphens(block: LayoutBlock, page: ParsedPage, cleaning: _Cleaning) -> str:
    """A block's text; words that liteparse joined over the ends of its lines are counted, or broken again where that is not wanted."""
    text = block.text or ""
    if block.bbox is None or not _LINE_BREAKS_WORD.search(page.text):
        return text
    parts, done = [], 0
    for upper, lower in pairwise(item.text for item in _items(block.bbox, page)):
        broken, rest = _HYPHEN_BREAK.search(upper.rstrip()), _WORD.match(lower)
        seam = text.find(broken[1] + rest[0], done) if broken and rest else -1
        if broken and seam >= 0:
            seam += len(broken[1])
            parts.append(text[done:seam])
            done = seam
    if "hyphenation" in cleaning.rules:
        cleaning.count("hyphenation", len(parts))
        return text
    return "- ".join([*parts, text[done:]])


def _drop_running_heads(pieces: list[_Piece], cleaning: _Cleaning) -> list[_Piece]:
    """Drop page numbers, and what stands in the margin of two and half of the pages in the same words, numbers aside but for headings.

    The first head stays: on a letter or a form it may say what the document is. Where the rule is off all stay, as no part of a sentence.
    """
    pages = {piece.page for piece in pieces}
    limit = max(2, len(pages) / 2)
    seen = Counter(form for form, _page in {(_form(piece), piece.page) for piece in pieces if piece.margin})
    kept: list[_Piece] = []
    running: list[_Piece] = []
    heads: set[str] = set()
    for piece in pieces:
        form = _form(piece)
        first = piece.margin == "top" and form not in heads and piece.page == min(pages)
        if piece.margin and (_PAGE_NUMBER.fullmatch(piece.text) or (seen[form] >= limit and not first)):
            running.append(piece)
            continue
        if piece.margin and seen[form] >= limit:
            heads.add(form)
        kept.append(piece)
    if "repeated lines" in cleaning.rules:
        cleaning.count("repeated lines", len(running))
        return kept
    for piece in running:
        piece.kind = "running" if piece.kind == "paragraph" else piece.kind
    return pieces


def _form(piece: _Piece) -> str:
    """What two running heads have in common; a heading's number tells it from others, as in a manual whose every page starts a section."""
    text = piece.text.casefold()
    return text if piece.kind == "heading" else re.sub(r"\d+", "#", text)


def _join(pieces: list[_Piece], cleaning: _Cleaning) -> list[_Piece]:
    """Put together what a line, column or page break cut: paragraphs, list items, run-in headings, and tables with the same columns."""
    words = {word for piece in pieces for word in _WORD.findall(piece.text)}
    joined: list[_Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if last is not None and _continues(last, piece):
            last.text = _glue(last.text, piece.text, words, cleaning)
            if last.kind == "heading":
                last.kind, last.level = "paragraph", 0
        elif last is not None and last.kind == piece.kind == "table" and last.page < piece.page and len(last.rows[0]) == len(piece.rows[0]):
            last.rows += piece.rows[1:] if piece.rows[0] == last.rows[0] else piece.rows
        else:
            joined.append(piece)
    return joined


def _continues(last: _Piece, piece: _Piece) -> bool:
    if piece.kind != "paragraph" or last.kind not in ("paragraph", "list_item", "heading"):
        return False
    if _SENTENCE_END.search(last.text):
        return False
    return piece.text[0].islower() or (last.kind != "heading" and bool(_HYPHEN_BREAK.search(last.text) or last.text.endswith(",")))


def _glue(left: str, right: str, words: set[str], cleaning: _Cleaning) -> str:
    """Two parts of a sentence; a hyphen at the seam goes where the word without it is used elsewhere, or the one with it is not."""
    broken = _HYPHEN_BREAK.search(left)
    if broken is None or not right[0].isalpha() or "hyphenation" not in cleaning.rules:
        return f"{left} {right}"
    cleaning.count("hyphenation", 1)
    tail = _WORD.match(right)
    end = tail[0] if tail else ""
    keep = right[0].isupper() or (f"{broken[1]}-{end}" in words and broken[1] + end not in words)
    return f"{left[: broken.end(1)]}{'-' if keep else ''}{right}"


def _render(pieces: list[_Piece], pages: int) -> tuple[str, list[int]]:
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    for i, piece in enumerate(pieces):
        if i:
            separator = "\n" if piece.kind == pieces[i - 1].kind == "list_item" else "\n\n"
            parts.append(separator)
            length += len(separator)
        starts += [length] * (piece.page - len(starts))
        parts.append(_markdown(piece))
        length += len(parts[-1])
    return "".join(parts), starts + [length] * (pages - len(starts))


def _markdown(piece: _Piece) -> str:
    match piece.kind:
        case "heading":
            return f"{'#' * min(max(piece.level, 1), 6)} {piece.text}"
        case "list_item":
            return f"{'  ' * piece.level}{piece.marker} {piece.text}"
        case "table":
            return pipe_table(piece.rows)
        case "code":
            return f"```\n{piece.text}\n```"
        case "grid_fallback":
            return "\n".join(re.sub(r"(?<=\S) {3,}(?=\S)", "  ", line).strip() for line in piece.text.splitlines() if line.strip())
        case _:
            return piece.text
