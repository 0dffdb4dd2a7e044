from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.corpus import Overview
from ragtune.page import safe, visible
from ragtune.page.charts import histogram, short
from ragtune.prepare.preview import Preview, preview_chunks, stretches
from ragtune.prepare.report import (
    TOP,
    IngestReport,
    causes,
    choose_previews,
    cleaning,
    lengths_in_characters,
    lengths_in_tokens,
    shares,
    source_of,
)
from ragtune.prepare.report_page import render_preview, render_report
from ragtune.types import Chunk, Reason

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">' \u202edlrow\u202c \x1b[31m & \0"


def overview(source: str, *, characters: int = 100, chunks: int = 1, kind: str = "text/plain", duplicate: bool = False) -> Overview:
    return Overview(source, source.partition("#")[0], kind, "", characters, chunks, duplicate, 0)


@pytest.mark.parametrize(
    ("source", "file", "where"),
    [
        ("guides/wind/limits.md", "guides/wind/limits.md", "guides"),
        ("hut.md", "hut.md", TOP),
        ("lines.csv#L2", "lines.csv", "lines.csv"),
        ("data/lines.csv#L2", "data/lines.csv", "data"),
        ("old.zip/guides/a.md", "old.zip", "old.zip"),
        ("https://example.org/a/b", "https://example.org/a/b", "example.org"),
    ],
)
def test_a_document_belongs_to_its_top_folder_archive_records_or_site(source: str, file: str, where: str) -> None:
    assert source_of(source, file) == where


def test_shares_count_what_is_in_the_index_the_largest_first() -> None:
    documents = [overview("a/1", chunks=2), overview("b/1"), overview("b/2", characters=50), overview("b/3", duplicate=True)]
    found = shares(documents, {each.source: each.source[0] for each in documents})
    assert [(share.label, share.documents, share.chunks, share.characters) for share in found] == [("b", 2, 2, 150), ("a", 1, 2, 100)]


def test_reasons_that_differ_in_names_and_numbers_are_one_cause() -> None:
    found = causes(
        [
            Reason("a.pdf", "no text found in a.pdf (3 pages, all images): no OCR"),
            Reason("b.pdf", "no text found in b.pdf (12 pages, all images): no OCR"),
            Reason("c.exe", "no reader for .exe: save c.exe as PDF"),
        ]
    )
    assert [(cause.reason, cause.count) for cause in found] == [
        ("no text found in it (… pages, all images): no OCR", 2),
        ("no reader for .exe: save it as PDF", 1),
    ]
    assert [item.source for item in found[0].items] == ["a.pdf", "b.pdf"]


def test_duplicates_are_one_cause_whatever_is_kept_and_each_names_it() -> None:
    copies = {"b": "a", "d": "c"}
    (cause,) = causes([Reason("b", "same text as a"), Reason("d", "same text as c")], copies)
    assert (cause.reason, cause.count) == ("same text as another", 2)
    assert [item.reason for item in cause.items] == ["same text as a", "same text as c"]


@given(st.lists(st.integers(0, 3_000_000), max_size=40))
def test_every_length_is_in_its_bar(values: list[int]) -> None:
    for found in (lengths_in_characters(values), lengths_in_tokens(values, len(values), 256)):
        assert sum(found.counts) == len(values)
        assert len(found.edges) == len(found.counts) + 1
        assert list(found.edges) == sorted(set(found.edges))
        for low, high, count in zip(found.edges, found.edges[1:], found.counts, strict=False):
            assert count == sum(low <= value < high for value in values)
        assert found.longest == max(values, default=0)


def test_the_limit_of_the_embedder_is_on_the_axis_though_no_chunk_comes_near() -> None:
    found = lengths_in_tokens([20, 30], 2, 256)
    assert found.edges[-1] > 256
    svg = histogram(found.edges, found.counts, "Chunks", [(256.0, "embedder's limit")])
    assert 'class="limit"' in svg
    assert "embedder&#x27;s limit" in svg


@pytest.mark.parametrize(("value", "words"), [(0, "0"), (500, "500"), (2000, "2k"), (20_000, "20k"), (1_000_000, "1M"), (1234, "1,234")])
def test_numbers_on_an_axis_are_short(value: int, words: str) -> None:
    assert short(value) == words


def test_rules_that_did_nothing_are_there_too_and_say_whether_they_are_on() -> None:
    found = {rule.rule: rule for rule in cleaning({"a": {"mojibake": 2}, "b": {"mojibake": 5, "trailing space": 1}}, ["mojibake"])}
    assert (found["mojibake"].on, found["mojibake"].times, found["mojibake"].files) == (True, 7, 2)
    assert found["mojibake"].most == (("b", 5), ("a", 2))
    assert (found["hyphenation"].on, found["hyphenation"].times) == (False, 0)
    assert found["trailing space"].on is None


def test_previews_are_all_documents_where_there_is_room_and_else_some_of_each_kind() -> None:
    many = [overview(f"a/{number:03}") for number in range(300)]
    few = [overview("b/1"), overview("c/1", kind="application/pdf"), overview("a/copy", duplicate=True)]
    assert choose_previews(few, 10, 1000, 100) == ["a/copy", "b/1", "c/1"]
    chosen = choose_previews([*many, *few], 20, 10_000, 100)
    assert len(chosen) == 20
    assert {"b/1", "c/1", "a/copy"} < set(chosen)
    assert len(choose_previews([*many, *few], 200, 1000, 100)) == 10  # a thousand characters hold ten of a hundred each


def chunk(text: str, start: int, end: int, prefix: str = "Guide") -> Chunk:
    return Chunk(f"{start}", "guide.md", start, end, text[start:end], "Guide", (), prefix)


def preview(text: str = "abcdefghij" * 3, **changed: object) -> Preview:
    chunks = [chunk(text, 0, 12), chunk(text, 8, 20), chunk(text, 20, 30)]
    values: dict[str, object] = {
        "source": "guide.md",
        "file": "guide.md",
        "title": "Guide",
        "media_type": "text/markdown",
        "metadata": {"page_starts": [0, 10, 25]},
        "text": text,
        "characters": len(text),
        "chunks": preview_chunks(chunks, [12, 12, 10]),
    }
    return Preview(**{**values, **changed})  # type: ignore[arg-type]


def test_a_chunk_shows_what_it_repeats_and_where_pages_start() -> None:
    shown = preview()
    assert [each.overlap for each in shown.chunks] == [0, 4, 0]
    second = [(part.text, part.overlap, part.page) for part in stretches(shown, 8, 20, 4)]
    assert second == [("ij", True, None), ("ab", True, 2), ("cdefghij", False, None)]
    page = render_preview(shown, "")
    assert '<mark class="overlap" title="in the chunk before, too">ij</mark><span class="page">page 2</span>' in page


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def report(**changed: object) -> IngestReport:
    lengths = lengths_in_tokens([20, 30], 2, 256)
    values: dict[str, object] = {
        "created": "",
        "files": 1,
        "documents": 1,
        "chunks": 3,
        "sources": shares([overview(HOSTILE)], {HOSTILE: HOSTILE}),
        "formats": (),
        "languages": (),
        "document_lengths": lengths,
        "chunk_lengths": lengths,
        "chunk_size": 96,
        "window": 256,
        "cut": (),
        "skipped": causes([Reason(HOSTILE, f"no reader for {HOSTILE}"), Reason("x", HOSTILE)]),
        "left_out": (),
        "duplicates": (),
        "cleaning": cleaning({HOSTILE: {"mojibake": 1, HOSTILE: 2}}, []),
    }
    return IngestReport(**{**values, **changed})  # type: ignore[arg-type]


def test_a_hostile_document_is_text_in_the_page_and_nothing_else() -> None:
    shown = preview(
        HOSTILE * 2, source=HOSTILE, title=HOSTILE, media_type=HOSTILE, metadata={HOSTILE: HOSTILE}, left_out=HOSTILE, original=HOSTILE * 2
    )
    for page in (render_report(report(), [shown]), render_preview(shown, HOSTILE)):
        tags = Tags()
        tags.feed(page)
        assert not {"img", "iframe", "link", "object"} & {tag for tag, _ in tags.seen}
        assert sum(tag == "script" for tag, _ in tags.seen) == page.count("const search")
        assert not any(name.startswith("on") for _, attributes in tags.seen for name in attributes)
        assert not {"\0", "\x1b", "\u202e", "\u202c"} & set(page)
        assert "⟨U+202E⟩dlrow⟨U+202C⟩" in page
        assert "default-src 'none'" in page


def test_a_page_of_many_chunks_has_a_heading_for_each_part_and_a_caption_for_each_table() -> None:
    page = render_report(report(), [preview()])
    tags = Tags()
    tags.feed(page)
    names = [tag for tag, _ in tags.seen]
    assert names.count("table") == names.count("caption")
    assert names.count("h1") == 1
    assert names.count("h2") == 5
    assert all(attributes.get("scope") for tag, attributes in tags.seen if tag == "th")
    assert [attributes["tabindex"] for tag, attributes in tags.seen if attributes.get("class") == "side"] == ["0", "0"]


@given(st.text())
def test_what_is_shown_holds_no_character_that_steers_others(text: str) -> None:
    assert not any(ord(letter) < 32 and letter not in "\t\n" for letter in visible(text))
    assert not set(safe(text)) & set("<>\"'\u202e\u2066\x1b")
