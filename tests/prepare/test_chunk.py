from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtune.prepare import chunk_document
from ragtune.prepare.chunk import HEADER_TOKENS, PREFIX_TOKENS
from ragtune.prepare.clean import clean_text
from ragtune.types import Chunk, Document


def count_words(texts: Sequence[str]) -> list[int]:
    """Words and signs, as a tokenizer would count common ones."""
    return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


def count_characters(texts: Sequence[str]) -> list[int]:
    """The worst tokenizer, for which white space counts and parts do not add up to a stripped whole."""
    return [len(text) for text in texts]


def chunk(text: str, size: int = 40, overlap: int = 0, title: str = "Guide") -> list[Chunk]:
    return chunk_document(Document("guide.md", title, text), count_words, size, overlap)


def sentences(n: int, word: str = "word") -> str:
    return " ".join(f"The {word} number {i} stands here." for i in range(n))


LINES = st.sampled_from(
    [
        "# Title", "## Part", "### Sub part", "#### Deep", "Setext\n===", "Other\n---", "```", "~~~", "    indented", "",
        "| a | b |", "|---|---|", "| 1 | two words |", "- item one", "- item two goes on and on", "1. first", "> quoted",
        "A sentence stands here. Another one follows, with a clause; and more!", "---", "x" * 90, "ünïcode — “quotes” 日本語のテキスト",
    ]
)  # fmt: skip
MARKDOWN = st.lists(LINES | st.text(max_size=60), max_size=60).map("\n".join)


@settings(max_examples=250)
@given(MARKDOWN, st.integers(8, 60), st.integers(0, 7), st.sampled_from([count_words, count_characters]))
def test_chunks_are_exact_complete_and_small(text: str, size: int, overlap: int, count: object) -> None:
    counter = count_characters if count is count_characters else count_words
    chunks = chunk_document(Document("d.md", "A title", text), counter, size, overlap)
    covered = bytearray(len(text))
    for each in chunks:
        assert each.text == text[each.start : each.end]
        assert each.text == each.text.strip() != ""
        assert counter([each.text])[0] <= size
        assert counter([each.prefix])[0] <= PREFIX_TOKENS + HEADER_TOKENS + 1
        covered[each.start : each.end] = b"\1" * (each.end - each.start)
    assert [i for i, character in enumerate(text) if not character.isspace() and not covered[i]] == []
    assert len({each.id for each in chunks}) == len(chunks)
    assert [each.start for each in chunks] == sorted(each.start for each in chunks)
    assert chunks == chunk_document(Document("d.md", "A title", text), counter, size, overlap)


def test_sections_that_are_not_tiny_stay_apart() -> None:
    text = f"# Guide\n\n## One\n\n{sentences(4)}\n\n## Two\n\n{sentences(4)}"
    first, second = chunk(text)
    assert first.text.startswith("# Guide\n\n## One\n\nThe word")
    assert second.text.startswith("## Two")
    assert first.headings == ("Guide", "One")
    assert second.headings == ("Guide", "Two")


def test_tiny_neighbours_under_one_parent_are_put_together() -> None:
    text = "# Guide\n\n## One\n\nShort.\n\n## Two\n\nShort too.\n\n# Next\n\nOther."
    first, second = chunk(text, title="Other title")
    assert first.text.endswith("Short too.")
    assert first.headings == ("Guide",)
    assert second.headings == ("Next",)


def test_sub_sections_are_packed_within_their_section() -> None:
    text = "## One\n\n" + "\n\n".join(f"### Sub {i}\n\n{sentences(2)}" for i in range(4))
    chunks = chunk(text, size=60)
    assert len(chunks) == 2
    assert all(each.headings[0] == "One" for each in chunks)


def test_a_heading_alone_is_no_chunk() -> None:
    chunks = chunk(f"# Report\n\n# Summary\n\n{sentences(12)}\n\n# Cause\n\n{sentences(4)}", title="Report")
    assert chunks[0].text.startswith("# Report\n\n# Summary\n\nThe word")
    assert chunks[0].headings == ("Summary",)
    assert chunks[1].prefix == "Report > Summary"


def test_the_prefix_names_what_the_text_does_not_show() -> None:
    text = f"# Guide\n\n## Huts\n\n### Marl\n\n{sentences(12)}"
    chunks = chunk(text)
    assert len(chunks) > 1
    assert chunks[0].prefix == "Guide"
    assert {each.prefix for each in chunks[1:]} == {"Guide > Huts > Marl"}
    assert chunk("Plain text.", title="Notes")[0].prefix == "Notes"


def test_a_long_path_loses_its_middle_first() -> None:
    text = f"# Guide\n\n## {'middle ' * 30}\n\n### End\n\n{sentences(12)}"
    assert chunk(text)[-1].prefix == "Guide > End"


def test_a_table_is_cut_between_rows_and_its_header_repeated() -> None:
    rows = "\n".join(f"| hut {i} | {i}0 beds | open |" for i in range(12))
    text = f"# Guide\n\nBefore.\n\n| Hut | Beds | State |\n|---|---|---|\n{rows}\n\nAfter."
    chunks = chunk(text, size=60)
    assert len(chunks) > 2
    for each in chunks[1:]:
        assert each.prefix.splitlines()[-1] == "| Hut | Beds | State |"
        assert all(line.startswith("|") and line.endswith("|") for line in each.text.splitlines()[:-2])
    assert "| Hut | Beds | State |\n|---|---|---|\n| hut 0" in chunks[0].text


def test_no_chunk_of_a_wide_table_is_its_rule() -> None:
    cells = [["Hut", "Beds", "State", "Keeper"], *([f"hut {i}", f"{i}0 beds", "open", "Miller"] for i in range(9))]
    lines = ["| " + " | ".join(f"{cell:30}" for cell in row) + " |" for row in cells]
    text, _ = clean_text("\n".join([lines[0], "|" + f"{'-' * 32}|" * 4, *lines[1:]]))
    chunks = chunk(text)
    assert [each.text for each in chunks if not re.search(r"\w", each.text)] == []
    assert {each.prefix for each in chunks[1:]} == {"Guide\n| Hut | Beds | State | Keeper |"}


def test_a_table_and_code_that_fit_are_kept_whole() -> None:
    code = "```python\n# not a heading\n\nx = 1\n```"
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"
    text = f"{sentences(5)}\n\n{code}\n\n{sentences(5)}\n\n{table}"
    texts = [each.text for each in chunk(text)]
    assert any(code in each for each in texts)
    assert any(table in each for each in texts)


def test_no_chunk_ends_in_a_heading() -> None:
    text = "# Guide\n\n" + "\n\n".join(f"### Sub {i}\n\n{sentences(7)}" for i in range(5))
    for each in chunk(text):
        assert not each.text.splitlines()[-1].startswith("#")


def test_a_term_stays_with_its_definition() -> None:
    text = "\n\n".join(f"    --option-{i} VALUE\n\n        {sentences(2, f'word{i}')}" for i in range(5))
    chunks = chunk(text, size=32)
    assert len(chunks) > 3
    assert all(each.text.startswith("--option-") and each.text.endswith(".") for each in chunks)


def test_long_text_is_cut_between_sentences_and_evenly() -> None:
    chunks = chunk(sentences(30), size=100)
    assert all(each.text.endswith(".") and each.text.startswith("The") for each in chunks)
    sizes = count_words([each.text for each in chunks])
    assert min(sizes) >= max(sizes) / 2


def test_overlap_repeats_the_end_of_the_chunk_before() -> None:
    chunks = chunk(sentences(30), size=60, overlap=10)
    for before, after in pairwise(chunks):
        assert before.start < after.start < before.end
        assert count_words(["".join(after.text[: before.end - after.start])])[0] <= 10
        assert after.text.startswith("The word")


def test_ids_follow_the_text_not_its_place() -> None:
    text = f"## One\n\n{sentences(4)}\n\n## Two\n\n{sentences(5)}"
    ids = {each.text: each.id for each in chunk(text)}
    moved = {each.text: each.id for each in chunk(f"## New\n\n{sentences(6)}\n\n{text}")}
    assert ids.items() <= moved.items()
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in ids.values())


def test_equal_chunks_of_one_document_have_ids_of_their_own() -> None:
    section = f"## Same\n\n{sentences(5)}"
    chunks = chunk(f"{section}\n\n{section}")
    assert chunks[0].text == chunks[1].text
    assert chunks[0].id != chunks[1].id


@pytest.mark.parametrize("text", ["", " \n\n\t"])
def test_nothing_gives_no_chunks(text: str) -> None:
    assert chunk(text) == []


def test_a_book_in_one_line_is_cut() -> None:
    chunks = chunk("word " * 60_000, size=160)
    assert 375 <= len(chunks) < 500


def test_headings_without_end_are_cut_in_time() -> None:
    chunks = chunk("# a\n" * 100_000, size=160)
    assert sum(each.text.count("#") for each in chunks) == 100_000


def test_a_long_text_stays_with_what_is_before_it_though_what_follows_is_indented_further() -> None:
    intro, term, definition = ("rope " * 9).strip(), ("cabin " * 27).strip(), ("stop " * 33).strip()
    chunks = chunk(f"{intro}\n\n{term}\n\n        {definition}", size=40)
    assert [(intro in each.text, term in each.text, definition in each.text) for each in chunks] == [
        (True, True, False),
        (False, False, True),
    ]
