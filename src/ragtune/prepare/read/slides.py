"""Presentations: each slide a section with its text from top to bottom, its tables, its charts' numbers and its notes."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from pptx import Presentation

from ragtune.errors import ReadError
from ragtune.prepare.clean import RULES, Rule, clean_text
from ragtune.prepare.read.package import open_package
from ragtune.prepare.read.tables import pipe_table
from ragtune.prepare.sources import Source
from ragtune.types import JSON, Document

_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
_BODY = (2, 7)  # placeholders whose text is bullets: BODY, OBJECT
_DEEPEST = 20  # groups within groups


def read(source: Source, rules: Collection[Rule] = RULES, counts: Counter[str] | None = None) -> list[Document]:
    """The whole file as one document; ``page_starts`` in its metadata holds where each slide's text starts.

    Each slide is cleaned by itself, by the rules that are switched on; what they did is added to the counts.
    """
    data = source.read_bytes()
    metadata = open_package(data, source.name, "ppt/presentation.xml", "a presentation").properties
    try:
        slides = [_slide(slide) for slide in Presentation(io.BytesIO(data)).slides]
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # what python-pptx raises on damaged files is anything from KeyError to XMLSyntaxError
        raise ReadError(f"{source.name} is damaged: {type(error).__name__}: {error}") from error
    if not any(head or body for head, body in slides):
        return []
    text = ""
    starts: list[JSON] = []
    for number, (head, body) in enumerate(slides, start=1):
        text += "\n\n" if text else ""
        starts.append(len(text))
        cleaned, made = clean_text(f"## {head or f'Slide {number}'}" + (f"\n\n{body}" if body else ""), rules)
        text += cleaned
        if counts is not None:
            counts.update(made)
    title = str(metadata.get("title", ""))
    if title.casefold() in ("", "powerpoint presentation"):  # what PowerPoint writes where nobody did
        title = next((head for head, _ in slides if head), "")
    return [Document(source.name, title, text, _MEDIA_TYPE, metadata | {"page_starts": starts})]


def _slide(slide: Any) -> tuple[str, str]:
    """Title and Markdown of one slide."""
    title = slide.shapes.title
    head = " ".join(title.text_frame.text.split()) if title is not None else ""
    parts = [part for shape in _ordered(slide.shapes) if title is None or shape.shape_id != title.shape_id for part in _shape(shape, 0)]
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        parts += [f"Notes: {notes}"] if notes else []
    return head, "\n\n".join(filter(None, parts))


def _ordered(shapes: Iterable[Any]) -> list[Any]:
    """From top to bottom, then left to right; what has no place of its own keeps its place in the file."""
    return sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0))


def _shape(shape: Any, depth: int) -> Iterator[str]:
    if hasattr(shape, "shapes"):  # a group
        if depth < _DEEPEST:
            for inner in _ordered(shape.shapes):
                yield from _shape(inner, depth + 1)
    elif getattr(shape, "has_table", False):
        rows = [[cell.text for cell in row.cells] for row in shape.table.rows]
        yield pipe_table(rows) if rows else ""
    elif getattr(shape, "has_chart", False):
        yield from _chart(shape.chart)
    elif shape.has_text_frame:
        bullets = shape.is_placeholder and shape.placeholder_format.type in _BODY
        lines = [
            f"{'  ' * paragraph.level}- {words}" if bullets else words
            for paragraph in shape.text_frame.paragraphs
            if (words := " ".join(paragraph.text.split()))
        ]
        yield ("\n" if bullets else "\n\n").join(lines)


def _chart(chart: Any) -> Iterator[str]:
    if chart.has_title and chart.chart_title.has_text_frame:
        yield " ".join(chart.chart_title.text_frame.text.split())
    for plot in chart.plots:
        series = list(plot.series)
        rows = [
            [str(category), *(str(each.values[i]) if i < len(each.values) else "" for each in series)]
            for i, category in enumerate(plot.categories)
        ]
        if rows:
            yield pipe_table([["", *(each.name for each in series)], *rows])
