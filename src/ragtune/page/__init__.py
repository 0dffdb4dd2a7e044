"""A report as one HTML file that needs no network: its frame, its tables, and how text of unknown origin gets into it."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files

# Nothing is fetched, whatever a document says: the page's own style and script, and no address at all.
_POLICY = "default-src 'none'; style-src 'unsafe-inline';{} base-uri 'none'; form-action 'none'"
_INVISIBLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]")


def render_page(title: str, created: str, main: str, *, style: str = "", script: str = "", data: str = "") -> str:
    """The whole page.

    Args:
        title: what it is about; escaped here.
        created: when, as it is to be shown; escaped here.
        main: HTML of its sections.
        style: CSS, besides what all pages share.
        script: JavaScript; without it none may run.
        data: JSON that the script reads, made safe to stand in a page.
    """
    shared = files("ragtune.page").joinpath("page.css").read_text(encoding="utf-8").strip()
    policy = _POLICY.format(" script-src 'unsafe-inline';" if script else "")
    scripts = (f'<script type="application/json" id="data">{data}</script>' if data else "") + (
        f"<script>{script}</script>" if script else ""
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="color-scheme" content="light dark">'
        f"<title>{safe(title)} · ragtune report</title><style>{shared}{style}</style></head><body>"
        f'<a class="skip" href="#main">Skip to the report</a><header><p class="brand"><b>ragtune</b> report</p><p>{safe(title)}</p>'
        f'<p class="quiet">{safe(created)}</p></header><main id="main">{main}</main>{scripts}</body></html>\n'
    )


def safe(text: str) -> str:
    """Text for a page, escaped, with characters that cannot be seen or turn the order of others round shown as ``U+202E``."""
    return escape(visible(text))


def visible(text: str) -> str:
    """Text with control characters, bidirectional marks and halves of characters written out as ``⟨U+202E⟩``."""
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def section(anchor: str, title: str, about: str, body: str) -> str:
    """A section with its heading and what it is about."""
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title"><h2 id="{anchor}-title">{title}</h2>'
        f'<p class="about">{about}</p>{body}</section>'
    )


def framed(caption: str, inner: str, kind: str) -> str:
    """A table that scrolls by itself where it is too wide, with the keyboard too."""
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table class="{kind}">'
        f'<caption class="hidden">{escape(caption)}</caption>{inner}</table></div>'
    )


def fold(summary: str, body: str) -> str:
    """What is shown when its summary is clicked."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"
