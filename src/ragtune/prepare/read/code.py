"""Source code: one fenced block, with its language."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath

from ragtune.prepare.read import CODE_LANGUAGES, text
from ragtune.prepare.sources import Source
from ragtune.types import Document


def read(source: Source) -> list[Document]:
    """The whole file as one document, called by its file's name."""
    (plain,) = text.read(source)
    language = CODE_LANGUAGES[source.suffix]
    name = PurePosixPath(source.name).name
    body = fenced(plain.text, language)
    return [
        replace(plain, title=name, text=body and f"# {name}\n\n{body}", media_type="text/x-source", metadata={"code_language": language})
    ]


def fenced(code: str, language: str = "") -> str:
    """Code as a Markdown block, its fence longer than any within; nothing for nothing."""
    code = code.lstrip("\ufeff").replace("\r\n", "\n").strip("\n").rstrip()
    if not code:
        return ""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}{language}\n{code}\n{fence}"
