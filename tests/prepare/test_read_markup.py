"""reStructuredText, AsciiDoc, Org and LaTeX."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragtune.prepare import Source
from ragtune.prepare.read import read_source
from ragtune.types import Document

pytest.importorskip("charset_normalizer", reason="needs ragtune[documents]")


def read(folder: Path, name: str, content: str) -> Document:
    (folder / name).write_text(content)
    (document,) = read_source(Source(folder / name, name))
    return document


def test_underlined_lines_of_rst_are_headings_by_the_order_of_their_signs(tmp_path: Path) -> None:
    text = """.. _top:

========
 Cabins
========

Installing
~~~~~~~~~~
Stop first::

   # no heading
   halt

-----

By hand
.......

=====  ====
Cabin  Seats
=====  ====

Removing :ref:`huts`
~~~~~~~~~~~~~~~~~~~~

- a
  --
"""
    document = read(tmp_path, "a.rst", text)
    assert document.title == "Cabins"
    assert document.text == (
        ".. _top:\n\n# Cabins\n\n## Installing\nStop first::\n\n    # no heading\n   halt\n\n-----\n\n### By hand\n\n"
        "=====  ====\nCabin  Seats\n=====  ====\n\n## Removing `huts`\n\n- a\n  --"
    )


def test_headings_of_asciidoc_and_the_borders_of_its_blocks(tmp_path: Path) -> None:
    text = """= Cabins
Ada Miller

== Ports ==

[source,bash]
----
# no heading
== nor this
----

[NOTE]
====
Stop first.
====

=== By hand

|===
|a |b
|===
"""
    document = read(tmp_path, "a.adoc", text)
    assert document.title == "Cabins"
    assert document.text == (
        "# Cabins\nAda Miller\n\n## Ports\n\n[source,bash]\n```\n# no heading\n== nor this\n```\n\n[NOTE]\n\nStop first.\n\n\n"
        "### By hand\n\n|===\n|a |b\n|==="
    )


def test_underlined_headings_of_asciidoc_keep_their_levels(tmp_path: Path) -> None:
    text = "rope(1)\n=======\n\nNAME\n----\nrope - a rope\n\n[[opt]]\nOPTIONS\n~~~~~~~\n--all::\n  All.\n----\nx\n"
    underlined = read(tmp_path, "b.asciidoc", text)
    assert underlined.title == "rope(1)"
    assert underlined.text == "# rope(1)\n\n## NAME\nrope - a rope\n\n[[opt]]\n### OPTIONS\n--all::\n  All.\n----\nx"


def test_stars_of_org_are_headings_and_its_comments_none(tmp_path: Path) -> None:
    text = "#+TITLE: Cabins\n# a comment\n* Ports\nSee *this*.\n** By hand\n#+begin_src sh\n# no comment\n* x\n#+END_SRC\n* Huts\n"
    document = read(tmp_path, "a.org", text)
    assert document.title == "Cabins"
    assert document.text == "# Cabins\n## Ports\nSee *this*.\n### By hand\n```sh\n# no comment\n* x\n```\n## Huts"
    assert read(tmp_path, "b.org", "* Ports\n** By hand\n").text == "# Ports\n## By hand"


def test_sections_of_latex_are_headings(tmp_path: Path) -> None:
    text = r"""\documentclass{article}
\title{Cabins}
\begin{document}
\section{Ports}\label{ports}
Text of \section numbers.
\subsection*{By \emph{hand}}
\begin{verbatim}
# \section{no}
\section{no}
\end{verbatim}
\section[Huts]{All huts}
\end{document}
"""
    document = read(tmp_path, "a.tex", text)
    assert document.title == "Cabins"
    assert document.text == (
        "\\documentclass{article}\n# Cabins\n\\begin{document}\n## Ports\n\\label{ports}\nText of \\section numbers.\n"
        "### By \\emph{hand}\n```\n# \\section{no}\n\\section{no}\n```\n## All huts\n\\end{document}"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hut_list.rst", "Ports\n=====\n\nHuts\n====\n"),
        ("hut_list.adoc", "== Ports\n\n== Huts\n"),
        ("hut_list.org", "* Ports\n* Huts\n"),
        ("hut_list.tex", "\\section{Ports}\n\\section{Huts}\n"),
    ],
)
def test_of_several_main_headings_none_is_the_title(tmp_path: Path, name: str, text: str) -> None:
    document = read(tmp_path, name, text)
    assert document.title == "Hut list"
    assert document.text.count("# Ports") == document.text.count("# Huts") == 1


def test_attributes_and_titles_of_asciidoc_blocks_are_no_headings(tmp_path: Path) -> None:
    text = "= Guide\n\n[TIP]\n====\nStop first.\n====\n\n[,sh]\n----\n# no heading\nls\n----\n\n.Run\n----\nb\n----\n\n== Next =="
    document = read(tmp_path, "a.adoc", text)
    assert document.title == "Guide"
    assert [line for line in document.text.splitlines() if line.startswith(("#", "```"))] == [
        "# Guide", "```", "# no heading", "```", "```", "```", "## Next"
    ]  # fmt: skip


def test_fences_with_a_language_in_asciidoc_end_where_they_end(tmp_path: Path) -> None:
    text = "```ruby\na = 1\n```\n\n== Ports\n\n```ruby\nb = 2\n```\n\n== Huts"
    assert read(tmp_path, "a.adoc", text).text == text.replace("== ", "## ")


def test_a_long_run_of_spaces_in_asciidoc_takes_no_time_to_speak_of(tmp_path: Path) -> None:
    line = "= a" + " " * 300_000 + "x"
    assert read(tmp_path, "a.adoc", line).text == f"# a{' ' * 300_000}x"


def test_comments_in_rst_stay_where_they_are_unless_they_would_be_headings(tmp_path: Path) -> None:
    text = "Run::\n\n        # far in\n   # near\n        x = 1  # why\n\nIssue # 5 is open."
    assert read(tmp_path, "a.rst", text).text == text.replace("   # near", "    # near")


def test_latex_loses_no_text_about_its_code(tmp_path: Path) -> None:
    text = (
        "\\section{A}\n\\begin{verbatim}ls -l\\end{verbatim}\n\\section{B}\n"
        "\\begin{lstlisting}[caption={Stop it}]\nhalt\n\\end{lstlisting} After it the bell rings.\n\\section{C}"
    )
    assert read(tmp_path, "a.tex", text).text == (
        "# A\n\\begin{verbatim}ls -l\\end{verbatim}\n# B\n[caption={Stop it}]\n```\nhalt\n```\nAfter it the bell rings.\n# C"
    )
