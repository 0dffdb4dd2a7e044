"""Which language a text is in, where its file does not say."""

from __future__ import annotations

import functools
import threading
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from ragtune.types import JSON, Document

_FEWEST = 200  # characters: of shorter texts, names and numbers decide
_ENOUGH = 3000  # characters
_SURE = 0.95
_loading = threading.Lock()


def with_language(document: Document) -> Document:
    """The document with ``language`` in its metadata (ISO 639-1), where that can be told and it has none yet."""
    if document.metadata.get("language") or len(document.text) < _FEWEST or document.media_type == "text/x-source":
        return document
    with _loading:
        identifier = _identifier()
    if identifier is None:
        return document
    start = max(0, len(document.text) // 2 - _ENOUGH // 2)  # titles and imprints stand at the ends
    language, sure = identifier.classify(document.text[start : start + _ENOUGH])
    if sure < _SURE or language == "zxx":  # what is no language at all
        return document
    return replace(document, metadata={**document.metadata, "language": str(language)})


def refuses_language(language: JSON, wanted: Collection[str]) -> str | None:
    """Why a text is left out for its language, ``None`` where it is wanted or its language is not known.

    Args:
        language: in its metadata, as ``en`` or ``pt-BR``; anything else is not known.
        wanted: ISO 639-1 codes; empty: all.
    """
    code = language.strip().lower().replace("_", "-").partition("-")[0] if isinstance(language, str) else ""
    if not wanted or len(code) != 2 or not code.isalpha() or code in wanted:
        return None
    return f"its language is {code}, which prepare.languages does not have"


def can_tell_languages() -> bool:
    """Whether what tells languages is installed."""
    return _identifier() is not None


@functools.cache
def _identifier() -> Any:
    """Not in the child that reads: py3langid unpacks its model through a temporary file, and readers may not write."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError:
        return None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
