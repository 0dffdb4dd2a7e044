"""The report of an ingest as one HTML file: figures, reasons, and documents beside their sources with the borders of their chunks.

Everything that comes from a document, its name included, is escaped here; what would turn the order of text round is made visible.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from ragtune.page import fold, framed, render_page, safe, section
from ragtune.page.charts import histogram, share_bar
from ragtune.prepare.preview import ChunkPreview, Preview, stretches
from ragtune.prepare.report import FORMATS, Cause, Histogram, IngestReport, RuleCount, Share, without_name
from ragtune.types import JSON

_ROWS = 25  # of a table of shares
_ITEMS = 100  # under one reason, and reasons
_VALUES, _VALUE = 40, 300  # metadata: how many, and characters of one; of a title, a name or a reason, too
_PAGES_IN = "page_starts"  # metadata that is shown in the text


def render_report(report: IngestReport, previews: Sequence[Preview]) -> str:
    """The page of a whole corpus.

    Args:
        report: its figures.
        previews: documents that can be looked at; with fewer than there are, the page says how to see another.
    """
    parts = [
        (
            "contents",
            "What is in it",
            "Documents in the index by where they came from. Duplicates are not counted here.",
            _contents(report),
        ),
        (
            "length",
            "Length",
            "Documents in characters, and chunks in tokens as they are embedded, title and headings included.",
            _length(report),
        ),
        (
            "not-in-it",
            "What is not in it",
            "Grouped by reason; the figures count files, or documents where a file holds several.",
            _missing(report),
        ),
        (
            "cleaning",
            "Cleaning",
            "How often each rule did something, and where most. A rule is switched in [prepare] of ragtune.toml.",
            _cleaning(report.cleaning),
        ),
        ("documents", "Documents", _about_documents(report, previews), _documents(previews)),
    ]
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _, _ in parts)
    main = f'{_hero(report)}<nav aria-label="Sections">{links}</nav>{"".join(section(*part) for part in parts)}'
    return render_page("Ingest", _when(report.created), main, style=_resource("report.css"), script=_resource("report.js"))


def render_preview(preview: Preview, created: str) -> str:
    """The page of one document."""
    head = f'<h1>{safe(_value(preview.title or preview.source))}</h1><p class="facts">{_facts(preview)}</p>'
    main = f'<section class="alone">{head}{_document(preview, level=2)}</section>'
    return render_page(preview.source, _when(created), main, style=_resource("report.css"))


def _hero(report: IngestReport) -> str:
    facts = [f"{_count(report.files, 'file')} read"]
    for causes, words in ((report.skipped, "skipped"), (report.left_out, "left out"), (report.duplicates, "duplicates")):
        count = sum(cause.count for cause in causes)
        facts.append(f"{count:,} {words.removesuffix('s') if count == 1 else words}")
    notes = []
    if report.settings_changed:
        names = ", ".join(f"prepare.{name}" for name in report.settings_changed)
        notes.append(f"Settings are others than at the last ingest, so this is how it was before: {names}.")
    listed = "".join(f"<li>{safe(note)}</li>" for note in notes)
    return (
        f'<section class="hero"><h1>{_count(report.documents, "document")} in {_count(report.chunks, "chunk")}</h1>'
        f'<p class="facts">{" · ".join(facts)}</p>{f"<ul class=notes aria-label=Notes>{listed}</ul>" if listed else ""}</section>'
    )


def _contents(report: IngestReport) -> str:
    tables = (
        ("By source", "Source", report.sources),
        ("By format", "Format", report.formats),
        ("By language", "Language", report.languages),
    )
    return "".join(f"<h3>{caption}</h3>{_shares(caption, head, found)}" for caption, head, found in tables)


def _shares(caption: str, head: str, found: Sequence[Share]) -> str:
    if not found:
        return "<p>Nothing is in the index.</p>"
    shown, others = list(found[:_ROWS]), found[_ROWS:]
    most = max(share.documents for share in found)
    if others:
        sums = [sum(getattr(share, name) for share in others) for name in ("documents", "chunks", "characters")]
        shown.append(Share(f"({len(others):,} more)", *sums))
    rows = "".join(
        f'<tr class="first"><th scope="row"><bdi>{safe(share.label)}</bdi></th><td class="number">{share.documents:,}</td>'
        f'<td class="bars">{share_bar(min(share.documents, most), most)}</td>'
        f'<td class="number">{share.chunks:,}</td><td class="number">{share.characters:,}</td></tr>'
        for share in shown
    )
    heads = f'<th scope="col">{head}</th><th scope="col" class="number">Documents</th><td class="bars"></td>' + "".join(
        f'<th scope="col" class="number">{words}</th>' for words in ("Chunks", "Characters")
    )
    return framed(f"Documents {caption.lower()}", f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>", "shares")


def _length(report: IngestReport) -> str:
    marks = [(float(report.chunk_size), f"chunk_size {report.chunk_size}, without the prefix")]
    if report.window:
        marks.append((float(report.window), f"{report.window}: the embedder reads no more"))
    return _lengths("Documents", "characters", report.document_lengths, []) + _lengths("Chunks", "tokens", report.chunk_lengths, marks)


def _lengths(name: str, unit: str, found: Histogram, marks: Sequence[tuple[float, str]]) -> str:
    if not found.n:
        return ""
    sampled = "" if found.n == found.of else f" Of {found.of:,}, {found.n:,} were measured, spread evenly."
    words = f"The middle one of {found.n:,} has {found.median:,} {unit}, the longest {found.longest:,}.{sampled}"
    label = f"{name} by length in {unit}. {words} " + " ".join(words for _, words in marks)
    rows = "".join(
        f'<tr class="first"><th scope="row">{low:,} to {high - 1:,}</th><td class="number">{count:,}</td></tr>'
        for low, high, count in zip(found.edges, found.edges[1:], found.counts, strict=False)
        if count
    )
    head = f'<thead><tr><th scope="col">{unit.capitalize()}</th><th scope="col" class="number">{name}</th></tr></thead>'
    table = framed(f"{name} by length in {unit}", f"{head}<tbody>{rows}</tbody>", "shares narrow")
    chart = histogram(found.edges, found.counts, label, marks)
    return f"<h3>{name}, in {unit}</h3><p>{words}</p><figure>{chart}</figure>{fold('Figures', table)}"


def _missing(report: IngestReport) -> str:
    groups = (
        ("Read or embedded in part", report.cut),
        ("Skipped", report.skipped),
        ("Left out by filters or the purge list", report.left_out),
        ("Duplicates", report.duplicates),
    )
    shown = [f"<h3>{title}</h3>{''.join(map(_cause, found[:_ITEMS]))}{_others(found)}" for title, found in groups if found]
    return "".join(shown) or "<p>Nothing was skipped, cut, left out or found twice.</p>"


def _others(found: Sequence[Cause]) -> str:
    more = len(found) - _ITEMS
    return f'<p class="quiet">and {more:,} other reasons: ragtune ingest --report --json lists them all</p>' if more > 0 else ""


def _cause(cause: Cause) -> str:
    items = "".join(
        f"<li><bdi>{safe(item.source)}</bdi>{_own_words(item.reason, item.source, cause)}</li>" for item in cause.items[:_ITEMS]
    )
    more = (
        f'<li class="quiet">and {cause.count - _ITEMS:,} more: ragtune ingest --report --json lists them all</li>'
        if cause.count > _ITEMS
        else ""
    )
    return (
        f'<details class="cause"><summary><b class="number">{cause.count:,}</b> <span>{safe(_value(cause.reason))}</span></summary>'
        f"<ul>{items}{more}</ul></details>"
    )


def _own_words(reason: str, source: str, cause: Cause) -> str:
    return "" if without_name(reason, source, "it") == cause.reason else f' <span class="quiet">{safe(_value(reason))}</span>'


def _cleaning(rules: Sequence[RuleCount]) -> str:
    rows = "".join(
        f'<tr class="first"><th scope="row">{safe(rule.rule)}</th><td>{"always" if rule.on is None else "on" if rule.on else "off"}</td>'
        f'<td class="number">{rule.times:,}</td><td class="number">{rule.files:,}</td>'
        f'<td class="most">{", ".join(f"<bdi>{safe(file)}</bdi> {times:,}" for file, times in rule.most)}</td></tr>'
        for rule in rules
    )
    heads = "".join(
        f'<th scope="col"{" class=number" if words in ("Times", "Files") else ""}>{words}</th>'
        for words in ("Rule", "Switched", "Times", "Files", "Most in")
    )
    return framed("What each rule of cleaning did", f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>", "shares")


def _about_documents(report: IngestReport, previews: Sequence[Preview]) -> str:
    there = report.documents + sum(cause.count for cause in report.duplicates)
    shown = "All documents" if len(previews) >= there else f"{len(previews):,} of {there:,} documents, some of every source and format"
    return (
        f"{shown}: the stored text with the borders of its chunks, beside what it was made from. A chunk's prefix is "
        '<span class="prefix">in italics</span>, what the chunk before holds too is <mark class="overlap">marked</mark>. '
        "Any one, whole and beside what its reader gave: <code>ragtune ingest --document NAME</code>"
    )


def _documents(previews: Sequence[Preview]) -> str:
    if not previews:
        return "<p>There is none.</p>"
    entries = "".join(
        f'<details class="document" id="document-{number}"><summary><bdi class="name">{safe(preview.source)}</bdi> '
        f'<span class="quiet">{_facts(preview)}</span></summary>{_document(preview)}</details>'
        for number, preview in enumerate(previews, start=1)
    )
    return (
        '<div class="controls" id="controls" hidden><input type="search" id="search" placeholder="Search names, titles and formats" '
        'aria-label="Search documents by name, title or format" autocomplete="off"></div>'
        f'<p class="quiet" id="count" role="status"></p><div id="list">{entries}</div>'
    )


def _facts(preview: Preview) -> str:
    facts = [FORMATS.get(preview.media_type, preview.media_type), f"{preview.characters:,} characters"]
    facts.append("not in the index" if preview.left_out else _count(len(preview.chunks), "chunk"))
    return safe(" · ".join(facts))


def _document(preview: Preview, level: int = 3) -> str:
    values: dict[str, JSON] = {"title": preview.title, "format": FORMATS.get(preview.media_type, preview.media_type), "file": preview.file}
    values |= {name: value for name, value in list(preview.metadata.items())[:_VALUES] if name != _PAGES_IN}
    items = "".join(f"<dt>{safe(_value(name))}</dt><dd><bdi>{safe(_value(value))}</bdi></dd>" for name, value in values.items())
    why = f'<p class="why">{safe(preview.left_out)}</p>' if preview.left_out else ""
    stored = f"<h{level}>As it is stored</h{level}>{''.join(_text(preview))}"
    return (
        f'<dl class="metadata">{items}</dl>{why}<div class="beside">'
        f'<section class="side" tabindex="0" aria-label="Text and chunks">{stored}</section>'
        f'<section class="side" tabindex="0" aria-label="Source">{_original(preview, level)}</section></div>'
    )


def _value(value: JSON) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE else f"{text[:_VALUE]} …"


def _text(preview: Preview) -> Iterator[str]:
    shown = len(preview.text)
    if not preview.chunks:
        yield f'<div class="text">{safe(preview.text)}</div>'
    at = 0
    for number, chunk in enumerate(preview.chunks, start=1):
        between = preview.text[at : chunk.start].strip()
        if between:
            yield f'<div class="text outside">{safe(between)}</div>'
        yield _chunk(preview, number, chunk)
        at = max(at, chunk.end)
    if shown < preview.characters:
        yield f'<p class="quiet">The first {shown:,} of {preview.characters:,} characters.</p>'


def _chunk(preview: Preview, number: int, chunk: ChunkPreview) -> str:
    prefix = f'<p class="prefix"><span class="hidden">Prefix: </span>{safe(chunk.prefix)}</p>' if chunk.prefix else ""
    body = "".join(
        (f'<span class="page">page {part.page}</span>' if part.page else "")
        + (f'<mark class="overlap" title="in the chunk before, too">{safe(part.text)}</mark>' if part.overlap else safe(part.text))
        for part in stretches(preview, chunk.start, min(chunk.end, len(preview.text)), chunk.overlap)
    )
    return (
        f'<article class="chunk" aria-label="Chunk {number}"><p class="border">{number} <span class="quiet">{chunk.tokens:,} tokens · '
        f'{chunk.start:,}–{chunk.end:,}</span></p>{prefix}<div class="text">{body}</div></article>'
    )


def _original(preview: Preview, level: int) -> str:
    link = f'<p><a href="{safe(Path(preview.path).as_uri())}">{safe(Path(preview.path).name)}</a></p>' if preview.path else ""
    changed = '<p class="why">The file has changed since it was read.</p>' if preview.changed else ""
    if preview.original is None:
        name = safe(preview.source)
        none = "" if preview.path else "<p>The file is no longer where it was read from.</p>"
        how = f"<p>Before it was cleaned: <code>ragtune ingest --document {name}</code></p>" if preview.path else ""
        return f"<h{level}>The source</h{level}>{link}{changed}{none}{how}"
    title = "The file" if preview.original_is == "file" else "As its reader gave it, before cleaning"
    return f'<h{level}>{title}</h{level}>{link}{changed}<div class="text raw">{safe(preview.original)}</div>'


def _when(created: str) -> str:
    return f"ingested {created[:16].replace('T', ' ')} UTC" if created else ""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _resource(name: str) -> str:
    return files("ragtune.prepare").joinpath(name).read_text(encoding="utf-8").strip()
