"""Word documents: mammoth to HTML, then the same Markdown as web pages get."""

from __future__ import annotations

import io
import warnings

import mammoth
from bs4 import BeautifulSoup

from ragtune.errors import ReadError
from ragtune.prepare.read.equations import write_out_equations
from ragtune.prepare.read.html import to_markdown
from ragtune.prepare.read.package import open_package
from ragtune.prepare.sources import Source
from ragtune.structure import first_heading
from ragtune.types import Document

_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"


def read(source: Source) -> list[Document]:
    """The whole file as one document."""
    data = source.read_bytes()
    metadata = open_package(data, source.name, "word/document.xml", "a Word document").properties
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            html = mammoth.convert_to_html(
                io.BytesIO(write_out_equations(data)), style_map=_STYLES, convert_image=mammoth.images.img_element(_no_image)
            )
        text = to_markdown(BeautifulSoup(html.value, "lxml"))
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # what mammoth raises on damaged files is anything from KeyError to ExpatError
        raise ReadError(f"{source.name} is damaged: {type(error).__name__}: {error}") from error
    title = metadata.get("title")
    return [Document(source.name, first_heading(text) or (title if isinstance(title, str) else ""), text, _MEDIA_TYPE, metadata)]


def _no_image(_image: object) -> dict[str, str]:
    """Images are not embedded as data: only their alternative text is kept."""
    return {"src": ""}
