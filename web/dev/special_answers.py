"""Answers and a document that try what a page must bear: Markdown of every kind, and everything hostile that we know."""

from __future__ import annotations

RICH = """The cabins of the **Arvel Link** travel in four groups. In short:

| Group | Cabins | Suit |
|---|---:|---|
| 1 | 3 | Bells |
| 2 | 3 | Acorns |

1. They slow down *together*.
2. They leave every quarter of an hour.

The ride takes $t = \\frac{1620}{6.0 \\cdot 60} \\approx 4.5$ minutes at full speed, or

$$\\bar v = \\frac{1}{T}\\int_0^T v(t)\\,\\mathrm{d}t$$

```python
def ride(length: float, speed: float) -> float:
    \"\"\"Seconds at full speed.\"\"\"
    return length / speed
```

```mermaid
flowchart LR
  Arvel --> Link{Staff?} -->|cameras| Top
```
"""

HOSTILE = """<script>window.hacked = 1</script><img src=x onerror="window.hacked=2">
![tracker](https://evil.example/pixel.png)
[a link](javascript:window.hacked=3) and [another](data:text/html,<script>window.hacked=4</script>) and [fine](https://example.org/)
<svg onload="window.hacked=5"><animate onbegin="window.hacked=6" attributeName=x dur=1s></svg>
<iframe src="https://evil.example/"></iframe><style>@import url(https://evil.example/a.css);</style>
<a href="https://evil.example/" onclick="window.hacked=7">raw</a><form action="https://evil.example/"><button>send</button></form>

$\\href{javascript:window.hacked=8}{x} \\includegraphics{https://evil.example/p.png} \\htmlData{a=b}{y}$

```mermaid
%%{init: {"securityLevel": "loose", "themeCSS": "* { background: url(https://evil.example/css.png) }"}}%%
flowchart LR
  A["<img src=https://evil.example/m.png onerror=window.hacked=9>"] --> B
  click A "javascript:window.hacked=10"
  click B href "https://evil.example/"
```

```mermaid
flowchart LR
  C --> D
  style D fill:url(https://evil.example/f.svg)
```

```html
<script>window.hacked = 11</script>
```

<div id="app"></div><base href="https://evil.example/"><meta http-equiv="refresh" content="0;url=https://evil.example/">
"""

HOSTILE_DOCUMENT = f"""# Hostile <script>window.hacked = 12</script> document

The zyxwv lantern is kept behind <b>the third</b> door. 🏮 {HOSTILE}

The zyxwv ledger says: "</mark></script><img src=https://evil.example/q.png onerror=window.hacked=13>".
"""


def answer_for(question: str) -> tuple[str, list[str]] | None:
    """The text and the unsupported quotes for a question that asks for something special."""
    asked = question.lower()
    if "everything that markdown has" in asked:
        return RICH, []
    if "hostile" in asked:
        return HOSTILE, ["</del><img src=https://evil.example/u.png onerror=window.hacked=14>"]
    if "slowly" in asked:
        return "word " * 400, []
    return None
