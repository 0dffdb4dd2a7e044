from __future__ import annotations

import os
from pathlib import Path

import pytest

from ragtune.prepare import Source
from ragtune.prepare.read import read_source
from ragtune.types import Document

pytest.importorskip("trafilatura", reason="needs ragtune[documents]")


def read(folder: Path, html: str | bytes) -> Document:
    path = folder / "page.html"
    path.write_bytes(html.encode() if isinstance(html, str) else html)
    (document,) = read_source(Source(path, "page.html"))
    return document


PAGE = """<!doctype html><html lang="en"><head><title>Fares | Ropeway</title><meta name="author" content="Ada">
<style>p {{}}</style><script>alert("x")</script></head><body>
<header><a href="/">Home</a> <a href="/fares">Fares</a></header>
<nav><ul><li><a href="/a">Lines</a></li><li><a href="/b">Huts</a></li></ul></nav>
{main}
<footer>Contact the office</footer></body></html>"""
MAIN = """<h1>Fares and <em>passes</em></h1>
<p>A single ticket costs
   <strong>14 crowns</strong> for <a href="/adults">adults</a>
   and 7 for children.</p>
<h2>Passes</h2>
<ul><li>Week: 60 crowns</li><li>Year: 410 crowns</li></ul>
<table><caption>Prices by line</caption><tr><th>Line</th><th>Up</th><th>Down</th></tr>
<tr><td>Brenna</td><td>14</td><td>9</td></tr><tr><td>Arvel</td><td>8</td><td></td></tr></table>
<pre>code   kept
  as it is</pre>"""
TEXT = """# Fares and passes

A single ticket costs 14 crowns for adults and 7 for children.

## Passes

- Week: 60 crowns
- Year: 410 crowns

Prices by line

| Line | Up | Down |
| --- | --- | --- |
| Brenna | 14 | 9 |
| Arvel | 8 |  |

```
code   kept
  as it is
```"""


@pytest.mark.parametrize("main", [f"<main>{MAIN}</main>", f"<article>{MAIN}</article>", f"<div>{MAIN}</div>"])
def test_the_content_is_kept_and_the_furniture_is_not(tmp_path: Path, main: str) -> None:
    document = read(tmp_path, PAGE.format(main=main))
    assert document.text == TEXT
    assert document.title == "Fares and passes"
    assert document.metadata == {"language": "en", "author": "Ada", "page_title": "Fares | Ropeway"}


def test_a_short_article_does_not_hide_the_rest(tmp_path: Path) -> None:
    document = read(tmp_path, f"<body><div>{'Much to read here. ' * 30}</div><article>Related.</article></body>")
    assert "Much to read" in document.text


def test_a_page_without_a_heading_is_called_by_its_title(tmp_path: Path) -> None:
    assert read(tmp_path, "<html><head><title>Wind\n limits</title></head><body><p>Stop.</p></body></html>").title == "Wind limits"


@pytest.mark.parametrize(
    ("stated", "body", "title"),
    [
        ("Wind policy 0.12", "<h1>Abstract</h1><h2>Scope</h2>", "Wind policy 0.12"),
        ("Wind policy", "<h1>1. Introduction</h1>", "Wind policy"),
        ("", "<h1>Introduction</h1>", "Introduction"),
        ("Home", "<h1>Contents</h1>", "Contents"),
        ("Home", "<h3>Limits of wind</h3>", "Limits of wind"),
        ("The limits (Wind manual)", "<h3>2.1 The limits</h3>", "The limits (Wind manual)"),
        ("Winds | Ropeway 2", "<h2>Winds</h2>", "Winds"),
        ("Winds — Ropeway 2.0 documentation", "<h2>All winds</h2>", "Winds"),
        ("Winds - north and south", "<h2>All winds</h2>", "Winds - north and south"),
        ("Winds of the pass", "<h1>North</h1><h1>South</h1>", "Winds of the pass"),
        ("Ropeway", "<h1>Winds</h1><h2>Abstract</h2>", "Winds"),
    ],
)
def test_a_page_is_called_by_its_title_where_its_first_heading_does_not_name_it(tmp_path: Path, stated: str, body: str, title: str) -> None:
    assert read(tmp_path, f"<html><head><title>{stated}</title></head><body>{body}<p>Stop.</p></body></html>").title == title


def test_a_declared_encoding_is_used(tmp_path: Path) -> None:
    html = '<html><head><meta charset="iso-8859-2"></head><body><p>Zażółć gęślą jaźń</p></body></html>'
    assert read(tmp_path, html.encode("iso-8859-2")).text == "Zażółć gęślą jaźń"


def test_a_list_of_links_stays_unless_it_is_a_menu(tmp_path: Path) -> None:
    links = "".join(f"<li><a href='{i}'>Hut {i}</a></li>" for i in range(12))
    assert "- Hut 11" in read(tmp_path, f"<body><main><h1>Huts</h1><p>All of our huts.</p><ul>{links}</ul></main></body>").text
    page = f"<body><main><h1>Huts</h1><p>All of our huts.</p><ul class='lang-menu'>{links}</ul></main></body>"
    assert read(tmp_path, page).text == "# Huts\n\nAll of our huts."


def test_signs_of_permalinks_are_no_part_of_headings(tmp_path: Path) -> None:
    page = """<main><h1>Winds<a class="headerlink" href="#winds" title="Permalink">¶</a></h1><p>In C# and <a href="#notes">#4</a>.</p>
    <h2>Gusts <span><a class="mark" href="#gusts">#</a></span></h2><p>Stop.</p>
    <dl><dt>halt()<a class="headerlink" href="#halt">¶</a></dt><dd>Stops.</dd></dl><h3><a href="#rime">\U0001f517\ufe0f</a>Rime</h3>
    <h3>Snow<a class="hash-link" href="#snow">\u200b</a></h3><p>Wait, <a href="#map"><img alt="map" src="m.png"></a>.</p></main>"""
    document = read(tmp_path, page)
    assert document.title == "Winds"
    assert document.text == ("# Winds\n\nIn C# and #4.\n\n## Gusts\n\nStop.\n\nhalt()\n:   Stops.\n\n### Rime\n\n### Snow\n\nWait, map.")


def test_code_in_two_languages_is_two_stretches_of_lines(tmp_path: Path) -> None:
    code = "<code>import a;\na({\n});</code><code>const a = 1;\n</code><code>b</code> <code>c</code>"
    assert read(tmp_path, f"<main><pre><input type=checkbox>{code}</pre></main>").text == "```\nimport a;\na({\n});\nconst a = 1;\nb c\n```"


def test_nesting_too_deep_to_walk_still_gives_its_words(tmp_path: Path) -> None:
    assert read(tmp_path, "<div>" * 3000 + "deep text" + "</div>" * 3000).text == "deep text"


def test_a_real_article_keeps_its_text_tables_and_headings() -> None:
    if "RAGTUNE_DATA" not in os.environ:
        pytest.skip("set RAGTUNE_DATA to the folder of sample data")
    path = Path(os.environ["RAGTUNE_DATA"]) / "parser_samples/markitdown/test_wikipedia.html"
    (document,) = read_source(Source(path, path.name))
    assert document.title == "Microsoft"
    assert "| Founded | April 4, 1975" in document.text
    assert "\n## History\n" in document.text
    assert "- Afrikaans\n" not in document.text
