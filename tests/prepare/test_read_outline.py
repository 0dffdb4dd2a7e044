"""Plain text with an outline."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragtune.prepare import Source
from ragtune.prepare.read import read_source
from ragtune.types import Document

pytest.importorskip("charset_normalizer", reason="needs ragtune[documents]")


def read(folder: Path, text: str, name: str = "rope.1.txt") -> Document:
    (folder / name).write_text(text)
    (document,) = read_source(Source(folder / name, name))
    return document


def test_sections_of_a_manual_page_are_headings(tmp_path: Path) -> None:
    text = (
        "ROPE(1)          Manual          ROPE(1)\n\nNAME\n       rope - move a rope\n\nOPTIONS\n   Ways to stop\n       -s, --stop\n"
        "           Stop.\n\n   By hand\n       Pull.\n\nSEE ALSO\n       cabin(1)"
    )
    document = read(tmp_path, text)
    assert document.title == "Rope 1"
    assert document.text == (
        "ROPE(1)          Manual          ROPE(1)\n\n# NAME\n       rope - move a rope\n\n# OPTIONS\n## Ways to stop\n       -s, --stop\n"
        "           Stop.\n\n## By hand\n       Pull.\n\n# SEE ALSO\n       cabin(1)"
    )


def test_numbered_sections_of_an_rfc_are_headings(tmp_path: Path) -> None:
    text = "1.  Ropes\n\n   A rope moves.\n\n   o  It is long\n      and strong.\n\n1.2.  Cabins of 8\n\n   They hang."
    assert read(tmp_path, text).text == text.replace("1.  Ropes", "# 1.  Ropes").replace("1.2.", "## 1.2.")


@pytest.mark.parametrize(
    "text",
    [
        "STOP\nnow.\n\nGO\n\nThen go.",
        "1. Pull the rope\n   until it stops.\n\n2. Wait for this:\n\n   the bell.",
        "A list:\n  - one\n    of two\n\n  - two\n    of two",
        "    indented\n\n        code\n",
        "QTY  ITEM\n  3  Rope\n 12  Hook",
        "192.168.0.1 is the router\n\n    ping it",
        "2024 was a good year for us all\n\n   and so on",
        "Run:\n\n```\n\nSELECT\n    name\nFROM\n    cabins\n```",
    ],
)
def test_text_without_an_outline_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).text == text.rstrip()


def test_a_log_has_no_outline(tmp_path: Path) -> None:
    text = "ERROR\n    at line 5"
    assert read(tmp_path, text, "a.log").text == text
