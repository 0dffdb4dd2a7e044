"""Markdown's blocks: which lines make them, and in time that grows with the text, whatever the text."""

from __future__ import annotations

import pytest

from ragtune.structure import find_blocks, first_heading

LONG = 1_000_000
"""Characters; what tries each of their beginnings with each of their ends takes an hour."""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("# The mill", "The mill"),
        ("   ### The mill ##  ", "The mill"),
        ("# The mill #2", "The mill #2"),
        ("# The mill # ##", "The mill #"),
        ("# C#", "C#"),
        ("#\tThe  mill\t#", "The mill"),
        ("# [The *mill*](mill.md) and ![its `wheel`](wheel.png)!", "The mill and its wheel!"),
        ("# [1] of [the mill](mill.md), see [2", "[1] of the mill, see [2"),
        ("# [The mill](mill.md", "[The mill](mill.md"),
        ("# ![The mill](data:image/png;base64," + "A" * 9000 + ")", "The mill"),
        ("##", ""),
        ("####### The mill", ""),
        ("#The mill", ""),
    ],
)
def test_the_words_of_a_heading(line: str, words: str) -> None:
    assert first_heading(f"{line}\n\ntext") == words


@pytest.mark.parametrize("rule", ["|---|---|", "--- | :--:", " | - | :-: | ", "-|", "\t|---\t|\t---:\t"])
def test_a_rule_makes_a_table(rule: str) -> None:
    assert [block.kind for block in find_blocks(f"| a | b |\n{rule}\n| 1 | 2 |")] == ["table"]


@pytest.mark.parametrize("rule", ["|", "||", "|---||", "|--- ---|", "|:|", "| a |", "||---|"])
def test_what_is_no_rule_makes_none(rule: str) -> None:
    assert [block.kind for block in find_blocks(f"| a | b |\n{rule}\n| 1 | 2 |")] == ["text"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("# a" + " " * LONG + "b", "heading"),
        ("# a" + " #" * (LONG // 2) + "b", "heading"),
        ("# " + "[" * LONG, "heading"),
        ("# " + "[](" * (LONG // 3), "heading"),
        ("a | b\n|" + " " * LONG + "x", "text"),
        ("a | b\n|-" + " " * LONG + "x", "text"),
    ],
    ids=["spaces", "closing marks", "brackets", "links", "before a rule", "after a rule"],
)
def test_a_hostile_line_takes_no_time(text: str, kind: str) -> None:
    assert [block.kind for block in find_blocks(text)] == [kind]
