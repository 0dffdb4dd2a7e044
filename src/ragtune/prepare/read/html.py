"""HTML: what a reader of the page reads, as Markdown.

The page's own landmarks tell content from furniture where they are there; where they are not and much of the page is links, trafilatura
tells, provided that it keeps the content.
"""

from __future__ import annotations

import re

import trafilatura
from bs4 import BeautifulSoup, Tag
from markdownify import MarkdownConverter

from ragtune.prepare.read.tables import pipe_table
from ragtune.prepare.read.text import decode
from ragtune.prepare.sources import Source
from ragtune.structure import find_blocks
from ragtune.types import JSON, Document

_CHARSET = re.compile(rb"""<meta[^>]+charset\s*=\s*["']?([\w-]+)|^<\?xml[^>]+encoding=["']([\w-]+)""", re.IGNORECASE)
_NOT_TEXT = (
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "iframe",
    "object",
    "canvas",
    "button",
    "select",
    "input",
    "textarea",
    "head",
)
_FURNITURE = ("nav", "[role=navigation]", "[role=banner]", "[role=search]", "[role=contentinfo]", "[aria-hidden=true]", "[hidden]")
_OUTER = ("header", "footer", "aside", "form")
_MAIN = ("main", "[role=main]", "article")
_MENU = re.compile(r"(?:^|[-_ ])(?:menu|nav|navbar|lang|toc|breadcrumbs?|share|social|sidebar|pagination)(?:$|[-_ ])", re.IGNORECASE)
_PERMALINK = re.compile("[¶§#∞🔗⚓\u200b\ufe0f]+")  # the sign of a link to the place it stands at
# headings that say what part of a page follows, not what the page is about
_GENERIC = re.compile(
    r"""[\W\d]*(?: abstract | contents | table \s of \s contents | introduction | overview | index | home | navigation | menu | summary
    | preface | inhalt | inhaltsverzeichnis | einleitung | einführung | überblick | übersicht | zusammenfassung | startseite
    | vorwort )\W*""",
    re.IGNORECASE | re.VERBOSE,
)
_SITE = re.compile(r"(.+) [-–—|·»] (.+)")
_DEEPEST = 200  # the tree is walked recursively below


def read(source: Source) -> list[Document]:
    """The whole page as one document."""
    title, text, metadata = read_page(source.read_bytes())
    return [Document(source.name, title, text, "text/html", metadata)]


def read_page(data: bytes) -> tuple[str, str, dict[str, JSON]]:
    """A page's title, text and metadata."""
    found = _CHARSET.search(data[:4096])
    html = decode(data, (found[1] or found[2]).decode("ascii") if found else None)
    soup = BeautifulSoup(html, "lxml")
    title, metadata = _describe(soup)
    text = _main_text(soup, html)
    return _title(title, text), text, metadata


def _title(stated: str, text: str) -> str:
    """The first heading where it names the page, else what the page's head states, without the site behind it where that is sure."""
    headings = [block for block in find_blocks(text) if block.kind == "heading" and block.words]
    words = [heading.words for heading in headings]
    if (site := _SITE.fullmatch(stated)) and (site[1] in words or site[2].casefold().endswith("documentation")):
        stated = site[1]
    names_page = words and headings[0].level == 1 == [heading.level for heading in headings].count(1)
    if stated and (not names_page or _GENERIC.fullmatch(words[0])) and not (words and _GENERIC.fullmatch(stated)):
        return stated
    return words[0] if words else stated


def _describe(soup: BeautifulSoup) -> tuple[str, dict[str, JSON]]:
    root = soup.find("html")
    language = root.get("lang") if isinstance(root, Tag) else None
    metadata: dict[str, JSON] = {"language": language} if isinstance(language, str) and language else {}
    for name in ("author", "date", "description"):
        tag = soup.find("meta", attrs={"name": name})
        content = tag.get("content") if isinstance(tag, Tag) else None
        if isinstance(content, str) and content.strip():
            metadata[name] = content.strip()
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    if title:
        metadata["page_title"] = title
    return title, metadata


def _main_text(soup: BeautifulSoup, html: str) -> str:
    body: Tag = soup.body or soup
    for selector in (*_NOT_TEXT, *_FURNITURE):
        for tag in body.select(selector):
            tag.decompose()
    for link in body.select('a[href^="#"]'):
        if _PERMALINK.fullmatch(link.get_text().strip()):
            link.decompose()
    everything = _words(body)
    mains = [tag for selector in _MAIN for tag in body.select(selector)]
    root = max(mains, key=_words, default=body)
    if _words(root) < everything / 2:
        root = body
    for name in _OUTER:
        # a page's header, not the one within its article; and never one that holds most of what there is to read
        for tag in body.select(name):
            if not tag.find_parent(["article", "main"]) and not tag.find("h1") and _words(tag) < everything / 4:
                tag.decompose()
    for tag in root.find_all(["ul", "ol"]):
        if isinstance(tag, Tag) and _is_menu(tag):
            tag.decompose()
    text = to_markdown(root)
    if root is body and _link_share(body) > 0.4:
        extracted = trafilatura.extract(html, output_format="markdown", include_tables=True, include_formatting=True, favor_recall=True)
        plain_words = len(text.split()) * (1 - _link_share(body))
        if extracted and len(extracted.split()) > 0.8 * plain_words:
            return _unwrap(extracted)
    return text


def _words(tag: Tag) -> int:
    return len(tag.get_text(" ").split())


def _link_share(tag: Tag) -> float:
    linked = sum(_words(link) for link in tag.find_all("a") if isinstance(link, Tag))
    return linked / max(_words(tag), 1)


def _is_menu(tag: Tag) -> bool:
    """A list of nothing but links, in something that calls itself a menu: a list of links alone may be what the page is about."""
    if tag.decomposed or _words(tag) == 0 or _link_share(tag) < 0.9:
        return False
    labels = [part for above in [tag, *tag.parents] for key in ("class", "id", "aria-label") for part in _strings(above.get(key))]
    return any(_MENU.search(label) for label in labels)


def _strings(value: object) -> list[str]:
    return [value] if isinstance(value, str) else [str(part) for part in value] if isinstance(value, list) else []


def _unwrap(markdown: str) -> str:
    """Paragraphs that trafilatura leaves broken as they are in the source, on one line each."""
    return re.sub(r"(?<=[^\n|])\n[ \t]+(?=[^\s|#*+-])", " ", markdown)


class _Converter(MarkdownConverter):
    """Links, images and emphasis by their words; tables with a header and one line a row."""

    def convert_table(self, el: Tag, _text: str, **_inside: object) -> str:
        rows = [row for row in el.find_all("tr") if row.find_parent("table") is el]
        cells = [[_cell(cell) for cell in row.find_all(["td", "th"]) if cell.find_parent("tr") is row] for row in rows]
        cells = [row for row in cells if any(row)]
        if not cells:
            return ""
        caption = el.find("caption")
        head = " ".join(caption.get_text(" ").split()) + "\n\n" if isinstance(caption, Tag) else ""
        if max(map(len, cells)) == 1:  # a box for layout
            return f"\n\n{head}" + "\n\n".join(row[0] for row in cells) + "\n\n"
        return f"\n\n{head}{pipe_table(cells)}\n\n"

    def convert_img(self, el: Tag, _text: str, **_inside: object) -> str:
        alt = el.get("alt")
        return alt if isinstance(alt, str) else ""

    def convert_b(self, _el: Tag, text: str, **_inside: object) -> str:
        return text

    convert_strong = convert_em = convert_i = convert_del = convert_s = convert_a = convert_b


def _cell(cell: Tag) -> str:
    separator = " " if cell.find(["p", "li", "br", "div", "tr"]) else ""
    return " ".join(cell.get_text(separator).split())


def to_markdown(root: Tag) -> str:
    """A part of a page as Markdown; what is nested too deep to walk gives its words only."""
    if _depth(root) > _DEEPEST:
        return str(root.get_text("\n", strip=True))
    for string in list(root.find_all(string=True)):
        if not string.find_parent("pre"):  # a line's end in the source is a space on the page
            string.replace_with(re.sub(r"[ \t\r\n\f]+", " ", string))
    for code in root.select("pre > code + code"):  # the same in two languages, of which a script shows one
        before = code.previous_sibling
        if isinstance(before, Tag) and not before.get_text().endswith("\n"):
            code.insert_before("\n")
    converter = _Converter(heading_style="ATX", bullets="-", escape_asterisks=False, escape_underscores=False, escape_misc=False)
    return str(converter.convert_soup(root)).strip()


def _depth(root: Tag) -> int:
    deepest = 0
    level: list[Tag] = [root]
    while level:
        deepest += 1
        level = [child for tag in level for child in tag.children if isinstance(child, Tag)]
    return deepest
