"""Markdown, text, CSV and JSON Lines."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ragtune.errors import ReadError
from ragtune.prepare import Source, reader_version
from ragtune.prepare.read import read_source, title_from_name
from ragtune.types import Document

pytest.importorskip("charset_normalizer", reason="needs ragtune[documents]")


def read(folder: Path, name: str, content: str | bytes) -> list[Document]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_source(Source(path, f"sub/{name}"))


def test_markdown_keeps_its_text_and_takes_its_title_from_the_first_heading(tmp_path: Path) -> None:
    text = "Intro.\n\n```\n# not this\n```\n\n## The *Marl* [Hut](x.md)\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    (document,) = read(tmp_path, "marl-hut.md", text + "\n")
    assert document == Document("sub/marl-hut.md", "The Marl Hut", text, "text/markdown", {})


def test_front_matter_becomes_metadata(tmp_path: Path) -> None:
    (document,) = read(tmp_path, "a.md", '---\ntitle: "Wind limits"\nauthor: Ada\ntags:\n  - x\n---\n# Other\n\nText.')
    assert document.title == "Wind limits"
    assert document.metadata == {"title": "Wind limits", "author": "Ada"}
    assert document.text == "# Other\n\nText."


def test_a_rule_at_the_start_is_no_front_matter(tmp_path: Path) -> None:
    (document,) = read(tmp_path, "a.md", "---\n\nSome text.\n\n---\n\nMore.")
    assert "Some text." in document.text


def test_a_document_without_a_heading_is_called_after_its_file(tmp_path: Path) -> None:
    (document,) = read(tmp_path, "wind_limits-2.txt", "Stop at 62 km/h.")
    assert document.title == "Wind limits 2"
    assert title_from_name("a/b/README.md") == "README"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "cp1252"])
def test_text_in_common_encodings_is_read(tmp_path: Path, encoding: str) -> None:
    text = "Größe, façade, naïve café – 20 °C"
    assert read(tmp_path, "a.txt", text.encode(encoding))[0].text == text


def test_a_longer_text_in_another_code_page_is_guessed(tmp_path: Path) -> None:
    text = "Съешь ещё этих мягких французских булок, да выпей чаю. Канатная дорога закрыта при сильном ветре. " * 4
    assert read(tmp_path, "a.txt", text.encode("cp1251"))[0].text == text.strip()


def test_bad_bytes_are_replaced_and_zeros_refused(tmp_path: Path) -> None:
    assert "ok line" in read(tmp_path, "a.txt", b"ok line\n\xff\xfe\x80broken\xc3\n\x00nul\n" * 200)[0].text
    with pytest.raises(ReadError, match="is not text"):
        read(tmp_path, "b.md", b"\0" * 4096)


@pytest.mark.parametrize(("name", "content"), [("a.md", ""), ("a.txt", " \n\t\n"), ("a.jsonl", "\n")])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(ReadError, match=f"no text found in sub/{name}"):
        read(tmp_path, name, content)


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"no reader for \.xyz"):
        read(tmp_path, "a.xyz", "text")


def test_each_row_of_a_table_is_a_document(tmp_path: Path) -> None:
    first, second = read(tmp_path, "tower-register.csv", 'id,name,height m,note\nB-1,"The Bride",42.5,"a, b\nc"\nB-2,Tom,,\n')
    assert first.source == "sub/tower-register.csv#B-1"
    assert first.title == "The Bride"
    assert first.text == "# The Bride\n\nid: B-1\nname: The Bride\nheight m: 42.5\nnote: a, b c"
    assert second.text == "# Tom\n\nid: B-2\nname: Tom"
    assert second.media_type == "text/csv"


def test_rows_without_usable_ids_are_numbered(tmp_path: Path) -> None:
    assert [each.source for each in read(tmp_path, "a.csv", "id,x\n1,a\n1,b\n")] == ["sub/a.csv#1", "sub/a.csv#2"]
    (row,) = read(tmp_path, "storm_log.csv", "wind,gust\n60,80\n")
    assert (row.source, row.title) == ("sub/storm_log.csv#1", "Storm log 1")


def test_other_delimiters_captions_and_ragged_rows_are_read(tmp_path: Path) -> None:
    assert "x, y: 1" in read(tmp_path, "a.csv", '"x, y";z\n1;2\n')[0].text
    assert "y: 2" in read(tmp_path, "a.tsv", "x\ty\n1,5\t2\n")[0].text
    assert "Team: Oilers" in read(tmp_path, "b.csv", "Stanley Cups,,\nTeam,City,Cups\nOilers,Edmonton,5\n")[0].text
    assert "column 3: c" in read(tmp_path, "c.csv", "x,y\na,b,c\n")[0].text


def test_a_small_table_does_not_lower_the_size_of_cells_for_others(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    read(tmp_path, "a.csv", "a,b\n1,2\n")
    assert csv.field_size_limit() == before
    assert f"b: {'x' * before}x" in read(tmp_path, "b.csv", f"a,b\n1,{'x' * before}x\n")[0].text
    csv.field_size_limit(before)


def test_columns_of_one_name_keep_their_cells_under_numbered_names(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "a.csv", "phone,phone,phone 2,phone,column 6,\n1,2,3,4,5,6\n")
    assert row.text.split("\n")[2:] == ["phone: 1", "phone 3: 2", "phone 2: 3", "phone 4: 4", "column 6: 5", "column 6 2: 6"]


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no rows found"):
        read(tmp_path, "a.csv", "a,b\n")


def test_each_record_is_a_document(tmp_path: Path) -> None:
    first = '{"id": "x1", "title": "One", "content": "Line\u2028end", "year": 1951, "tags": ["a"]}'
    lines = first + '\n\n{"body": "Only text"}\n{"beds": 60, "open": true}'
    one, two, three = read(tmp_path, "huts.jsonl", lines)
    assert (one.source, one.title, one.text) == ("sub/huts.jsonl#x1", "One", "Line\nend")
    assert one.metadata == {"year": 1951, "tags": ["a"]}
    assert (two.source, two.title) == ("sub/huts.jsonl#3", "Huts 3")
    assert three.text == "# Huts 4\n\nbeds: 60\nopen: true"


def test_half_a_character_in_a_record_becomes_the_replacement_character(tmp_path: Path) -> None:
    (document,) = read(tmp_path, "a.jsonl", r'{"id": "x\ud800", "title": "\udc00", "text": "An \ud83d\ude00 \ud800end", "tag": "\ud800"}')
    assert (document.source, document.title, document.text) == ("sub/a.jsonl#x\ufffd", "\ufffd", "An 😀 \ufffdend")
    assert document.metadata == {"tag": "\ufffd"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [("{bad", "line 1 is not JSON"), ("[1]", "holds list"), ('{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}', "there twice")],
)
def test_malformed_records_are_refused_with_their_line(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        read(tmp_path, "a.jsonl", content)


def test_every_format_has_a_version_of_its_own() -> None:
    assert reader_version("a/b.PDF") == reader_version("c.pdf") != reader_version("c.html")
    assert reader_version("c.htm") == reader_version("c.html")
    assert reader_version("c.xyz")


def test_a_file_of_questions_is_refused_as_a_document(tmp_path: Path) -> None:
    asked = '{"id": "q1", "question": "Who?", "answers": ["Ann"], "evidence": "Ann did."}'
    with pytest.raises(ReadError, match=r"sub/a\.jsonl holds questions, not documents \(line 2 has"):
        read(tmp_path, "a.jsonl", '{"text": "A note."}\n' + asked)
    (entry,) = read(tmp_path, "faq.jsonl", '{"question": "Who?", "answer": "Ann"}')
    assert "answer: Ann" in entry.text
