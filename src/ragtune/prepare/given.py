"""Metadata that the project gives documents by their names, for files that have no place for any: tags of who may see them, above all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from ragtune.types import JSON

Rules = Mapping[str, Mapping[str, JSON]]
"""Pattern of names, as ``hr/*`` (``*`` passes folders too), to metadata; of several that fit, a later one's values count."""


def given_metadata(source: str, file: str, rules: Rules) -> dict[str, JSON]:
    """What a document is given.

    Args:
        source: of the document.
        file: that it came from; a rule that fits a file fits everything in it.
        rules: of the project.
    """
    found: dict[str, JSON] = {}
    for pattern, metadata in rules.items():
        if _fits(source, file, pattern):
            found |= metadata
    return found


def unused_rules(documents: Iterable[tuple[str, str]], rules: Rules) -> list[str]:
    """Patterns that fit none of the documents, given as source and file: most likely they are misspelt."""
    left = dict.fromkeys(rules)
    for source, file in documents:
        for pattern in [pattern for pattern in left if _fits(source, file, pattern)]:
            del left[pattern]
    return list(left)


def _fits(source: str, file: str, pattern: str) -> bool:
    return fnmatchcase(source, pattern) or fnmatchcase(file, pattern)
