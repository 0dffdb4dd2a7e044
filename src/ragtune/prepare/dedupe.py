"""Documents that say the same as another: by hash, and nearly by MinHash (Broder 1997) with the exact Jaccard similarity to confirm.

Texts are looked at one by one: what is held of each is its hash and a sketch of 256 bytes, which the corpus keeps for the next time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ragtune.types import Document

_SHINGLE = 5
_NEAR = 0.9  # where only equal texts are dropped, those that are nearly the same are still kept on one side of a split
_FEWEST_SHINGLES = 40  # a shorter text passes any threshold by an accident of wording
_PERMUTATIONS = 128
_BANDS = 32  # of 4 rows: a pair of similarity .8 is missed with probability 4e-8, so that the exact check decides
_ROWS = frozenset({"text/csv", "text/tab-separated-values", "application/jsonl"})  # rows of a table look alike and are not the same
_TEXTS_KEPT = 256  # shingles of so many texts are kept while their neighbours are compared


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


@dataclass(frozen=True, slots=True)
class Text:
    """What is compared of a document.

    Args:
        source: of the document.
        media_type: of its file; rows and records are compared for equality only.
        hash: of its text.
        sketch: see :func:`sketch`.
        access: tags of who may see it; none where it is open to all.
        inside: whether it lies in an archive or hangs on a mail.
    """

    source: str
    media_type: str
    hash: str
    sketch: bytes
    access: frozenset[str] = frozenset()
    inside: bool = False


def sketch_version() -> str:
    """Changes when the same text would get another sketch."""
    import rensa  # here, as in sketch

    return f"1.{rensa.RMinHash.ALGORITHM_VERSION}"


def sketch(text: str) -> bytes:
    """Hashes of the bands of a text's MinHash, 8 bytes each: texts that share one may be alike. Empty for a text too short to compare."""
    import rensa  # here, as it reserves 1 GiB of address space, which would count against the limit of the child processes that read

    shingles = _shingles(text)
    if len(shingles) < _FEWEST_SHINGLES:
        return b""
    hashed = rensa.RMinHash(_PERMUTATIONS, 0)
    hashed.update(sorted(shingles))
    rows = np.array(hashed.digest(), dtype="<u4").reshape(_BANDS, -1)
    return b"".join(hashlib.blake2b(band.tobytes(), digest_size=8).digest() for band in rows)


def duplicates_among(texts: Sequence[Text], text_of: Callable[[str], str], threshold: float = 0.9) -> list[Duplicate]:
    """Find the documents to leave out so that no text is there twice.

    Of equal texts one that is a file of its own stays before one inside another file, then the one whose source sorts first, whatever the
    order of reading. Texts that other people may see are no duplicates, or who may not see the one that stays would find neither. Rows,
    records and very short texts are compared for equality only.

    Args:
        texts: of distinct sources.
        text_of: the text of a source; asked for the few that look alike.
        threshold: Jaccard similarity, in (0, 1], of 5-word shingles from which a text is nearly the same; 1 finds equal texts only.

    Returns:
        In the order of ``source``.
    """
    found: list[Duplicate] = []
    first: dict[tuple[frozenset[str], str], str] = {}
    distinct: dict[frozenset[str], list[Text]] = {}
    for text in sorted(texts, key=lambda text: (text.inside, text.source)):
        kept = first.setdefault((text.access, text.hash), text.source)
        if kept == text.source:
            distinct.setdefault(text.access, []).append(text)
        else:
            found.append(Duplicate(text.source, kept, 1.0))
    if threshold < 1:
        for alike in distinct.values():
            found += _near([text for text in alike if text.media_type not in _ROWS], text_of, threshold)
    return sorted(found, key=lambda duplicate: duplicate.source)


def near_pairs(documents: Sequence[Document], threshold: float = 0.9) -> list[tuple[str, str]]:
    """Pairs of documents that say nearly the same, and must not be parted though both stay: rows, records, those of other access tags.

    Of very short texts only equal ones are in one. Of documents that many pairs join, only as many are given as it takes to join them.

    Args:
        documents: of distinct sources, those that are left out not among them.
        threshold: from which similarity, as :func:`duplicates_among` was told; with less than 1 it left no two that are nearly the same,
            but rows, records, and what other people may see.
    """
    if threshold < 1 and not any(document.media_type in _ROWS or "access" in document.metadata for document in documents):
        return []
    limit = threshold if threshold < 1 else _NEAR
    texts, text_of = _compared(documents)
    buckets = _Buckets([text.sketch for text in texts])
    shingles = _remembered(text_of)
    cluster = list(range(len(texts)))

    def root(at: int) -> int:
        while cluster[at] != at:
            cluster[at] = cluster[cluster[at]]
            at = cluster[at]
        return at

    pairs = []
    first: dict[str, int] = {}
    for at, text in enumerate(texts):
        if (same := first.setdefault(text.hash, at)) != at:
            pairs.append((texts[same].source, text.source))
            cluster[root(same)] = root(at)
        for other in buckets.query(at):
            if root(other) != root(at) and _jaccard(shingles(text.source), shingles(texts[other].source)) >= limit:
                pairs.append((texts[other].source, text.source))
                cluster[root(other)] = root(at)
        buckets.insert(at)
    return pairs


def _near(texts: Sequence[Text], text_of: Callable[[str], str], threshold: float) -> list[Duplicate]:
    """Each document is compared with those kept before it only, so a chain of small edits does not collapse into one."""
    buckets = _Buckets([text.sketch for text in texts])
    shingles = _remembered(text_of)
    found: list[Duplicate] = []
    for at, text in enumerate(texts):
        similar = [(_jaccard(shingles(text.source), shingles(texts[other].source)), -other) for other in buckets.query(at)]
        best, other = max(similar, default=(0.0, 0))
        if best >= threshold:
            found.append(Duplicate(text.source, texts[-other].source, best))
        else:
            buckets.insert(at)
    return found


@dataclass(slots=True)
class _Buckets:
    """Which texts before have a band in common with this one; bands that no two texts share take no room.

    Args:
        sketches: of all texts.
    """

    sketches: Sequence[bytes]
    _shared: list[tuple[tuple[int, bytes], ...]] = field(init=False)
    _inserted: dict[tuple[int, bytes], list[int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._shared = [()] * len(self.sketches)
        long = np.flatnonzero([len(each) > 0 for each in self.sketches])
        if not len(long):
            return
        bands_nb = np.frombuffer(b"".join(self.sketches), dtype="<u8").reshape(len(long), _BANDS)
        shared_nb = np.stack([_repeated(band_n) for band_n in bands_nb.T], axis=1)
        for row in np.flatnonzero(shared_nb.any(axis=1)):
            bands = np.flatnonzero(shared_nb[row])
            self._shared[long[row]] = tuple((int(band), bands_nb[row, band].tobytes()) for band in bands)

    def query(self, at: int) -> list[int]:
        """Texts inserted before, rising."""
        return sorted({other for bucket in self._shared[at] for other in self._inserted.get(bucket, ())})

    def insert(self, at: int) -> None:
        """Take a text in."""
        for bucket in self._shared[at]:
            self._inserted.setdefault(bucket, []).append(at)


def _repeated(values_n: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which of the values occur more than once."""
    _, inverse, counts = np.unique(values_n, return_inverse=True, return_counts=True)
    repeated: npt.NDArray[np.bool_] = counts[inverse] > 1
    return repeated


def _compared(documents: Sequence[Document]) -> tuple[list[Text], Callable[[str], str]]:
    by_source = {document.source: document for document in sorted(documents, key=lambda document: document.source)}
    texts = [
        Text(each.source, each.media_type, hashlib.blake2b(each.text.encode()).hexdigest(), sketch(each.text))
        for each in by_source.values()
    ]
    return texts, lambda source: by_source[source].text


def _remembered(text_of: Callable[[str], str]) -> Callable[[str], frozenset[str]]:
    return lru_cache(maxsize=_TEXTS_KEPT)(lambda source: _shingles(text_of(source)))


def _shingles(text: str) -> frozenset[str]:
    words = text.casefold().split()
    return frozenset(" ".join(words[i : i + _SHINGLE]) for i in range(len(words) - _SHINGLE + 1))


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    common = len(a & b)
    return common / (len(a) + len(b) - common)
