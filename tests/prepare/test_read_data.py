"""JSON, XML, notebooks, Parquet and source code; and the fields of records that a project names."""

# ruff: noqa: E501 - the lines of a table, and files written out

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragtune.errors import ReadError
from ragtune.prepare import Fields, Source, chunk_document
from ragtune.prepare.read import read_source
from ragtune.types import Document

pytest.importorskip("charset_normalizer", reason="needs ragtune[documents]")
pytest.importorskip("defusedxml", reason="needs ragtune[documents]")


def read(folder: Path, name: str, content: str | bytes, fields: Fields | None = None) -> list[Document]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_source(Source(path, name, fields=fields or Fields()))


def test_a_list_of_objects_is_a_document_each(tmp_path: Path) -> None:
    one, two = read(tmp_path, "huts.json", '[{"id": "a", "title": "Marl", "text": "60 beds."}, {"beds": 12}]')
    assert (one.source, one.title, one.text) == ("huts.json#a", "Marl", "60 beds.")
    assert (two.source, two.text) == ("huts.json#2", "# Huts 2\n\nbeds: 12")


def test_other_json_is_one_document_with_headings_and_tables(tmp_path: Path) -> None:
    value = {
        "name": "Lift 3",
        "open": True,
        "limits": {"wind": 62, "note": None},
        "towers": [{"id": 1, "height": 42.5}, {"id": 2}],
        "tags": ["a", {"deep": [1, 2]}],
    }
    (document,) = read(tmp_path, "lift.json", json.dumps(value))
    assert document.text == (
        "# Lift\n\nname: Lift 3\nopen: true\n\n## limits\n\nwind: 62\n\n## towers\n\n| id | height |\n| --- | --- |\n| 1 | 42.5 |\n| 2 |  |\n\n"
        "## tags\n\n- a\n-\n  - deep:\n    - 1\n    - 2"
    )


@pytest.mark.parametrize(
    ("content", "reason"), [("{", "not JSON"), ("[" * 100_000, "nested too deep"), ("[" * 90 + "]" * 90, "deeper than")]
)
def test_broken_and_bottomless_json_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        read(tmp_path, "a.json", content)


def test_questions_in_json_are_refused_as_documents(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"holds questions, not documents \(record 1"):
        read(tmp_path, "q.json", '[{"question": "Who?", "answers": ["Ann"]}]')


FIELDS = Fields(id="key", title="label", text=("question", "answer"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("faq.jsonl", '{"key": "k1", "label": "Wind", "question": "When?", "answer": "At 62 km/h.", "year": "1951"}'),
        ("faq.json", '[{"key": "k1", "label": "Wind", "question": "When?", "answer": "At 62 km/h.", "year": "1951"}]'),
        ("faq.csv", "key,label,question,answer,year\nk1,Wind,When?,At 62 km/h.,1951\n"),
    ],
)
def test_named_fields_make_the_document_and_the_others_its_metadata(tmp_path: Path, name: str, content: str) -> None:
    (document,) = read(tmp_path, name, content, FIELDS)
    assert (document.source, document.title, document.text) == (f"{name}#k1", "Wind", "When?\n\nAt 62 km/h.")
    assert document.metadata == {"year": "1951"}


def test_where_a_file_has_none_of_the_named_fields_the_usual_ones_count(tmp_path: Path) -> None:
    (document,) = read(tmp_path, "a.jsonl", '{"id": 5, "title": "T", "text": "Body."}', FIELDS)
    assert (document.source, document.title, document.text) == ("a.jsonl#5", "T", "Body.")


def test_rows_of_parquet_are_documents(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs ragtune[parquet]")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"id": ["x", "y"], "text": ["One.", "Two."], "year": [1951, None], "day": pa.array([0, 1], pa.date32())})
    pq.write_table(table, tmp_path / "a.parquet")
    one, two = read(tmp_path, "a.parquet", (tmp_path / "a.parquet").read_bytes())
    assert (one.source, one.text, dict(one.metadata)) == ("a.parquet#x", "One.", {"year": 1951, "day": "1970-01-01"})
    assert two.metadata["year"] is None
    with pytest.raises(ReadError, match="cannot be read as Parquet"):
        read(tmp_path, "b.parquet", b"PAR1 nothing PAR1")


def test_xml_gives_sections_tables_and_lines(tmp_path: Path) -> None:
    (document,) = read(
        tmp_path,
        "lift.xml",
        '<?xml version="1.0" encoding="iso-8859-1"?><lift xml:lang="de" n="3"><title>Lift 3</title><speed unit="m/s">5</speed>'
        "<section><title>Towers</title><para>Each is <b>tested</b> yearly.</para></section>"
        '<list><tower id="1"><height>42</height></tower><tower id="2"><height>40</height></tower></list></lift>'.encode("iso-8859-1"),
    )
    assert document.text == (
        "# Lift 3\n\nlang de, n 3\n\nspeed: 5, unit m/s\n\n## Towers\n\nEach is tested yearly.\n\n"
        "## list\n\n| id | height |\n| --- | --- |\n| 1 | 42 |\n| 2 | 40 |"
    )
    assert (document.title, document.metadata) == ("Lift 3", {"language": "de"})


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'
FILE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (LAUGHS, "declares XML entities"),
        (FILE, "declares XML entities"),
        ("<a><b></a>", "not well-formed"),
        ("<a>" * 150 + "</a>" * 150, "deeper"),
    ],
)
def test_hostile_and_broken_xml_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        read(tmp_path, "a.xml", content)


def test_a_notebook_keeps_its_text_code_and_short_output(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Wind\n", "\n", "We measure."]},
        {
            "cell_type": "code",
            "source": "print('```')",
            "outputs": [
                {"output_type": "stream", "text": ["```\n"]},
                {"output_type": "execute_result", "data": {"text/plain": "62", "image/png": "AAAA"}},
                {"output_type": "stream", "text": "x" * 5000},
                {"output_type": "error", "traceback": ["no"]},
            ],
        },
    ]
    notebook = {"cells": cells, "metadata": {"kernelspec": {"language": "python"}, "authors": [{"name": "Ann"}]}, "nbformat": 4}
    (document,) = read(tmp_path, "a.ipynb", json.dumps(notebook))
    assert document.text == "# Wind\n\nWe measure.\n\n````python\nprint('```')\n````\n\n````\n```\n````\n\n```\n62\n```"
    assert (document.title, document.metadata) == ("Wind", {"code_language": "python", "author": "Ann"})
    with pytest.raises(ReadError, match="no notebook of version 4"):
        read(tmp_path, "b.ipynb", "{}")


def test_source_code_is_a_fenced_block_and_a_long_file_is_cut_between_lines(tmp_path: Path) -> None:
    code = "\n".join(f"def step_{i}():\n    return {i}  # `tick`\n" for i in range(300))
    (document,) = read(tmp_path, "lift_control.py", code)
    assert document.title == "lift_control.py"
    assert document.text.startswith("# lift_control.py\n\n```python\ndef step_0():")
    assert document.text.endswith("return 299  # `tick`\n```")
    chunks = chunk_document(document, lambda texts: [len(text.split()) for text in texts], size=60)
    assert len(chunks) > 10
    assert all(chunk.text == document.text[chunk.start : chunk.end] for chunk in chunks)
    assert all(line in document.text.splitlines() for chunk in chunks for line in chunk.text.strip().splitlines()[1:-1])
