"""One manual of 300 pages and 1,000 short files: each is read, cut, split and searched as it should be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ragtune import Project
from ragtune.corpus import Corpus
from ragtune.dataset.store import read_dataset
from ragtune.types import Chunk, Document
from tiny_project import Sources, write_project

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

CHAPTERS, SECTIONS = 30, 10
FILES = 1000
ROWS = 30
SIZE = "prepare.chunk_size=120"  # the tiny embedder knows few words and counts the letters of others
CODE = "def open_valve(pressure):\n    if pressure > 174:\n        return relief(pressure)\n    return None"


def fact(chapter: int, section: int) -> str:
    return f"The valve of circuit K{chapter:02}x{section:02} opens at {100 + 10 * chapter + section} bar and closes at dusk."


def prose(chapter: int, section: int) -> list[str]:
    filler = f"The heron crosses the meadow of part {chapter} and the ferry waits in the marsh until section {section} is read."
    return [f"{filler} {filler}", fact(chapter, section), f"{filler} In winter the saddle is greased and the lantern is filled."]


def markdown() -> str:
    lines = ["# Ropeway manual"]
    for chapter in range(1, CHAPTERS + 1):
        lines += ["", f"## Chapter {chapter}"]
        for section in range(1, SECTIONS + 1):
            lines += ["", f"### Section {chapter}.{section}", "", "\n\n".join(prose(chapter, section))]
            if section == 4:
                lines += ["", "| Part | Torque |", "| --- | --- |", *(f"| bolt B{chapter:02}r{row:02} | {row} Nm |" for row in range(ROWS))]
            if section == 7:
                lines += ["", "```python", CODE, "```"]
    return "\n".join(lines) + "\n"


def make_pdf(path: Path) -> None:
    """A section a page, with a running head, page numbers, and a table in each chapter."""
    platypus = pytest.importorskip("reportlab.platypus", reason="needs reportlab, of ragtune[examples]")
    pytest.importorskip("liteparse", reason="needs ragtune[documents]")
    from reportlab.lib import colors
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import getSampleStyleSheet

    styles = getSampleStyleSheet()

    def frame(canvas: Any, page: Any) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.drawString(72, A4[1] - 30, "Ropeway manual")
        canvas.drawString(280, 25, f"Page {page.page}")

    story: list[Any] = []
    for chapter in range(1, CHAPTERS + 1):
        for section in range(1, SECTIONS + 1):
            story += [platypus.Paragraph(f"Chapter {chapter}", styles["Heading1"])] if section == 1 else []
            story += [platypus.Paragraph(f"Section {chapter}.{section}", styles["Heading2"])]
            story += [platypus.Paragraph(text, styles["BodyText"]) for text in prose(chapter, section)]
            if section == 4:
                rows = [["Part", "Torque"], *([f"bolt B{chapter:02}r{row:02}", f"{row} Nm"] for row in range(ROWS))]
                story.append(platypus.Table(rows, style=[("GRID", (0, 0), (-1, -1), 0.5, colors.black)]))
            story.append(platypus.PageBreak())
    platypus.SimpleDocTemplate(str(path), pagesize=A4).build(story, onFirstPage=frame, onLaterPages=frame)


def write_questions(path: Path, document: str) -> None:
    rows = [
        {
            "id": f"q{chapter}-{section}",
            "question": f"At how many bar does the valve of circuit K{chapter:02}x{section:02} open?",
            "answers": [f"{100 + 10 * chapter + section} bar"],
            "document": document,
            "evidence": fact(chapter, section),
        }
        for chapter in range(1, CHAPTERS + 1)
        for section in (2, 5, 9)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module", params=["md", "pdf"])
def manual(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_chat: Path, tiny_embedder: Path) -> Project:
    """A project over the manual alone, ingested and indexed, with the reader's limits as they are by default."""
    folder = tmp_path_factory.mktemp(f"manual-{request.param}")
    sources = Sources(folder / "documents", folder / "questions.jsonl")
    sources.documents.mkdir()
    name = f"manual.{request.param}"
    if request.param == "pdf":
        make_pdf(sources.documents / name)
    else:
        (sources.documents / name).write_text(markdown(), encoding="utf-8")
    write_questions(sources.questions, name)
    opened = Project(write_project(folder / "project", sources, tiny_chat, tiny_embedder), overrides=[SIZE])
    made = opened.ingest()
    assert (made.documents, made.skipped) == (1, ())
    opened.index()
    return opened


@pytest.fixture
def corpus(manual: Project) -> Iterator[Corpus]:
    opened = Corpus(manual.workspace.corpus)
    yield opened
    opened.close()


def of(chunks: list[Chunk], words: str) -> Chunk:
    return next(chunk for chunk in chunks if words in chunk.text)


def document_of(corpus: Corpus) -> Document:
    (document,) = corpus.documents()
    return document


def test_every_section_of_a_manual_is_under_its_headings(corpus: Corpus) -> None:
    chunks = corpus.all_chunks()
    for chapter in range(1, CHAPTERS + 1):
        for section in range(1, SECTIONS + 1):
            found = of(chunks, f"circuit K{chapter:02}x{section:02} opens")
            above = [*found.headings, *found.text.splitlines(), *found.prefix.splitlines()]
            assert any(f"Section {chapter}.{section}" in words for words in above), (chapter, section)
            assert any(f"Chapter {chapter}" in words for words in above), (chapter, section)


def test_the_tables_of_a_manual_are_cut_between_rows_and_repeat_their_header(corpus: Corpus) -> None:
    chunks = corpus.all_chunks()
    for chapter in (1, 17, CHAPTERS):
        rows = [chunk for chunk in chunks if f"bolt B{chapter:02}r" in chunk.text]
        assert len(rows) > 1
        for row in range(ROWS):
            found = of(rows, f"| bolt B{chapter:02}r{row:02} | {row} Nm |")
            assert "| Part | Torque |" in f"{found.prefix}\n{found.text}"


def test_the_pages_of_a_manual_are_known_and_its_code_is_whole(corpus: Corpus) -> None:
    document = document_of(corpus)
    if document.media_type == "text/markdown":
        assert sum(f"```python\n{CODE}\n```" in chunk.text for chunk in corpus.all_chunks()) == CHAPTERS
        return
    starts = document.metadata["page_starts"]
    assert isinstance(starts, list)
    assert document.metadata["pages"] == len(starts) == CHAPTERS * SECTIONS
    for page, (low, high) in enumerate(pairwise([*starts, len(document.text)])):
        chapter, section = divmod(page, SECTIONS)
        assert fact(chapter + 1, section + 1) in document.text[int(str(low)) : int(str(high))]
    assert document.text.count("Ropeway manual") == 1
    assert "Page 12" not in document.text


def test_a_manual_is_split_by_sections_and_none_is_trained_and_tested_on(manual: Project, corpus: Corpus) -> None:
    made = manual.dataset()
    assert made.figures["groups"] == {"unit": "section", "count": CHAPTERS * 3}
    data = read_dataset(Path(made.folder))
    assert min(len(data.train), len(data.validation), len(data.test)) > 0
    new = {example.group for example in data.test if example.stratum == "new_documents"}
    assert new
    assert not new & {example.group for example in data.train}


@pytest.mark.parametrize(("chapter", "section"), [(1, 1), (15, 6), (30, 10)])
def test_any_place_of_a_manual_is_found_and_shown_with_its_section(manual: Project, chapter: int, section: int) -> None:
    (hit, *_) = manual.search(f"circuit K{chapter:02}x{section:02} opens at how many bar", 3)
    assert fact(chapter, section) in hit.text
    wide = Project(manual.path, overrides=[SIZE, "retrieve.expand=section"])
    *_, answer = wide.ask(f"circuit K{chapter:02}x{section:02} opens at how many bar", model="base", k=1)
    (passage,) = answer.passages  # type: ignore[union-attr]
    assert len(passage.chunk_ids) > 1
    assert all(text in " ".join(passage.text.split()) for text in prose(chapter, section))


def test_a_thousand_short_files_are_each_found_and_searched_by(tmp_path: Path, tiny_chat: Path, tiny_embedder: Path) -> None:
    sources = Sources(tmp_path / "documents", tmp_path / "questions.jsonl")
    for number in range(FILES):
        path = sources.documents / f"{number // 100}" / f"{number:04}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# Note {number}\n\n{fact(number // 10, number % 10)} Seen {number} times.\n", encoding="utf-8")
    sources.questions.write_text("", encoding="utf-8")
    opened = Project(write_project(tmp_path / "project", sources, tiny_chat, tiny_embedder), overrides=["prepare.near_duplicates=1", SIZE])
    made = opened.ingest()
    assert (made.documents, made.chunks, made.skipped) == (FILES, FILES, ())
    assert opened.index().vectors == FILES
    for number in (0, 517, 999):
        hit = opened.search(f"circuit K{number // 10:02}x{number % 10:02}", 1)[0]
        assert hit.source == f"{number // 100}/{number:04}.md"
    again = opened.ingest()
    assert (again.unchanged, again.read) == (FILES, ())
    assert opened.ingest_report().chunk_lengths.n == FILES
