from __future__ import annotations

import pytest

from ragtune.prepare.language import with_language
from ragtune.types import Document

pytest.importorskip("py3langid", reason="needs ragtune[documents]")

GERMAN = "Die Seilbahn hält bei starkem Wind an, und die Gäste warten in der Bergstation auf die nächste Fahrt ins Tal. " * 3


def test_the_language_of_a_text_is_told_where_its_file_does_not_say() -> None:
    assert with_language(Document("a.md", "A", GERMAN, metadata={"author": "Ann"})).metadata == {"author": "Ann", "language": "de"}
    assert with_language(Document("a.md", "A", "The cable car stops in a strong wind. " * 8)).metadata["language"] == "en"


@pytest.mark.parametrize(
    "document",
    [
        Document("a.md", "A", GERMAN, metadata={"language": "de-CH"}),
        Document("a.md", "A", "Kurz."),
        Document("a.csv#1", "A", "1, 2, 3, 4, 5; " * 40),
        Document("a.py", "A", "def step():\n    return 1\n" * 20, "text/x-source"),
    ],
)
def test_what_is_stated_short_or_no_language_stays_as_it_is(document: Document) -> None:
    assert with_language(document) is document
