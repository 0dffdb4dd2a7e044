"""Documents that say the same as another: by hash, and nearly by MinHash (Broder 1997) with the exact Jaccard similarity to confirm."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ragtune.types import Document

_SHINGLE = 5
_NEAR = 0.9  # where only equal texts are dropped, those that are nearly the same are still kept on one side of a split
_FEWEST_SHINGLES = 40  # a shorter text passes any threshold by an accident of wording
_PERMUTATIONS = 128
_BANDS = 32  # of 4 rows: a pair of similarity .8 is missed with probability 4e-8, so that the exact check decides
_ROWS = frozenset({"text/csv", "text/tab-separated-values", "application/jsonl"})  # rows of a table look alike and are not the same

_REASON = re.compile(r"(?s)nearly the same text as (?P<near>.*) \(\d+% alike\)|same text as (?P<same>.*)")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A document to leave out.

    Args:
        source: of the document that is dropped.
        kept: source of the one that stays.
        similarity: Jaccard similarity of their shingles; 1 where the texts are equal.
    """

    source: str
    kept: str
    similarity: float

    @property
    def reason(self) -> str:
        """In words."""
        return f"same text as {self.kept}" if self.similarity == 1 else f"nearly the same text as {self.kept} ({self.similarity:.0%} alike)"


def kept_source(reason: str) -> str:
    """The source of the document that was kept, from the reason of the one that was dropped."""
    match = _REASON.fullmatch(reason)
    if match is None:
        raise ValueError(f"{reason!r} is no reason of a duplicate")
    return match["near"] or match["same"]


def find_duplicates(documents: Sequence[Document], threshold: float = 0.9) -> list[Duplicate]:
    """Find the documents to leave out so that no text is there twice.

    Of equal texts the one whose source sorts first stays, whatever the order of reading. Rows, records and very short texts are compared
    for equality only.

    Args:
        documents: of distinct sources.
        threshold: Jaccard similarity, in (0, 1], of 5-word shingles from which a text is nearly the same; 1 finds equal texts only.

    Returns:
        In the order of ``source``.
    """
    found: list[Duplicate] = []
    first: dict[bytes, str] = {}
    distinct: list[Document] = []
    for document in sorted(documents, key=lambda document: document.source):
        digest = hashlib.blake2b(document.text.encode()).digest()
        kept = first.setdefault(digest, document.source)
        if kept == document.source:
            distinct.append(document)
        else:
            found.append(Duplicate(document.source, kept, 1.0))
    if threshold < 1:
        found += _near(distinct, threshold)
    return sorted(found, key=lambda duplicate: duplicate.source)


def near_pairs(documents: Sequence[Document], threshold: float = 0.9) -> list[tuple[str, str]]:
    """Pairs of documents that say nearly the same, rows and records among them: what must not be parted though both stay.

    Very short texts are in none. Of documents that many pairs join, only as many are given as it takes to join them.

    Args:
        documents: of distinct sources, those that are left out not among them.
        threshold: from which similarity, as :func:`find_duplicates` was told; with less than 1 it left no two that are nearly the same,
            but rows and records.
    """
    if threshold < 1 and not any(document.media_type in _ROWS for document in documents):
        return []
    limit = threshold if threshold < 1 else _NEAR
    lsh = _lsh(limit)
    compared: list[tuple[str, frozenset[str]]] = []
    cluster: list[int] = []

    def root(at: int) -> int:
        while cluster[at] != at:
            cluster[at] = cluster[cluster[at]]
            at = cluster[at]
        return at

    pairs = []
    for document, shingles, sketch in _sketched(sorted(documents, key=lambda document: document.source)):
        at = len(compared)
        cluster.append(at)
        for other in sorted(lsh.query(sketch)):
            if root(other) != root(at) and _jaccard(shingles, compared[other][1]) >= limit:
                pairs.append((compared[other][0], document.source))
                cluster[root(other)] = root(at)
        lsh.insert(at, sketch)
        compared.append((document.source, shingles))
    return pairs


def _near(documents: Sequence[Document], threshold: float) -> list[Duplicate]:
    """Each document is compared with those kept before it only, so a chain of small edits does not collapse into one."""
    lsh = _lsh(threshold)
    kept: list[tuple[str, frozenset[str]]] = []
    found: list[Duplicate] = []
    for document, shingles, sketch in _sketched(document for document in documents if document.media_type not in _ROWS):
        similar = [(_jaccard(shingles, kept[key][1]), -key) for key in lsh.query(sketch)]
        best, key = max(similar, default=(0.0, 0))
        if best >= threshold:
            found.append(Duplicate(document.source, kept[-key][0], best))
        else:
            lsh.insert(len(kept), sketch)
            kept.append((document.source, shingles))
    return found


def _lsh(threshold: float) -> Any:
    import rensa  # here, as it reserves 1 GiB of address space, which would count against the limit of the child processes that read

    return rensa.RMinHashLSH(threshold, _PERMUTATIONS, _BANDS)


def _sketched(documents: Iterable[Document]) -> Iterator[tuple[Document, frozenset[str], Any]]:
    """Each document that is long enough to be compared, with its shingles and their MinHash."""
    import rensa  # here, as in _lsh

    for document in documents:
        shingles = _shingles(document.text)
        if len(shingles) >= _FEWEST_SHINGLES:
            sketch = rensa.RMinHash(_PERMUTATIONS, 0)
            sketch.update(sorted(shingles))
            yield document, shingles, sketch


def _shingles(text: str) -> frozenset[str]:
    words = text.casefold().split()
    return frozenset(" ".join(words[i : i + _SHINGLE]) for i in range(len(words) - _SHINGLE + 1))


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    common = len(a & b)
    return common / (len(a) + len(b) - common)
