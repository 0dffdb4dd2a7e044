"""Whatever the document, size and overlap: what is shown of a chunk holds it, and is a stretch of the document's own text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtune.corpus import Corpus
from ragtune.prepare import chunk_document
from ragtune.retrieve.expand import Expansion
from ragtune.types import Document

LINES = st.sampled_from(
    [
        "# Title", "## Part", "### Sub part", "```", "| a | b |", "|---|---|", "| 1 | two words |", "- an item", "", "",
        "A sentence stands here. Another one follows it, with a clause; and more!", "x" * 90, "ünïcode — 日本語のテキスト 😀",
    ]
)  # fmt: skip
MARKDOWN = st.lists(LINES | st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=60).map("\n".join)


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


@pytest.mark.parametrize("mode", ["neighbours", "section"])
def test_a_passage_holds_its_chunk_and_is_a_stretch_of_the_document(tmp_path: Path, mode: Literal["neighbours", "section"]) -> None:
    corpus = Corpus(tmp_path / "corpus.db")

    @settings(max_examples=60)
    @given(MARKDOWN, st.integers(8, 40), st.integers(0, 7))
    def check(text: str, size: int, overlap: int) -> None:
        document = Document("d.md", "A title", text)
        corpus.put_file("d.md", str(hash(text)), "", [(document, chunk_document(document, count_words, size, overlap))])
        expand = Expansion(corpus, mode)
        chunks, stored = corpus.chunks_of("d.md")
        assert stored == text
        homes: dict[str, str] = {}
        for chunk in chunks:
            assert chunk.text == text[chunk.start : chunk.end]
            passage = expand(chunk)
            (span,) = passage.spans
            assert passage.text == text[span.start : span.end]
            assert span.start <= chunk.start < chunk.end <= span.end
            assert chunk.id in passage.chunk_ids
            for id_ in passage.chunk_ids:
                homes.setdefault(id_, passage.id)
        if mode == "section":
            assert all(expand(chunk).id == homes[chunk.id] for chunk in chunks), "every chunk is in just one"

    try:
        check()
    finally:
        corpus.close()
