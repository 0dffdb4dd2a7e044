"""What is in a corpus and what is not, in figures and grouped reasons; the corpus alone is asked, no file is read."""

from __future__ import annotations

import bisect
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ragtune.corpus import Overview
from ragtune.prepare.clean import RULES
from ragtune.types import Reason

FORMATS: Mapping[str, str] = {
    "text/markdown": "Markdown",
    "text/plain": "text",
    "text/html": "HTML",
    "application/xhtml+xml": "HTML",
    "application/pdf": "PDF",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "DOCX",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "PPTX",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "XLSX",
    "application/vnd.ms-excel": "XLS",
    "application/vnd.oasis.opendocument.text": "ODT",
    "application/epub+zip": "EPUB",
    "application/json": "JSON",
    "application/jsonl": "JSON Lines",
    "application/xml": "XML",
    "application/x-ipynb+json": "notebook",
    "application/vnd.apache.parquet": "Parquet",
    "message/rfc822": "mail",
    "text/csv": "CSV",
    "text/tab-separated-values": "TSV",
    "text/x-source": "source code",
}
TOP = "(files at the top)"
UNTOLD = "(not told)"
_MOST_FILES = 5  # that are named for a rule of cleaning
_MOST_BARS = 16
_NUMBER = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True, slots=True)
class Share:
    """Documents in the index that have something in common."""

    label: str
    documents: int
    chunks: int
    characters: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often which length.

    Args:
        edges: one more than ``counts``: bar i is of values from ``edges[i]`` to below ``edges[i + 1]``.
        counts: heights.
        n: values looked at.
        of: values there are; more than ``n`` where every few were looked at only.
        median: of those looked at.
        longest: of those looked at.
    """

    edges: tuple[int, ...]
    counts: tuple[int, ...]
    n: int
    of: int
    median: int
    longest: int


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason, and all that it befell, each with the reason in its own words."""

    reason: str
    count: int
    items: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class RuleCount:
    """What a rule of cleaning did: ``times`` in ``files``, ``most`` of it where; ``on`` is ``None`` where it cannot be switched."""

    rule: str
    on: bool | None
    times: int
    files: int
    most: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What the last ingest made, as it stands in the corpus.

    Args:
        created: when an ingest last changed something, UTC, ISO 8601.
        files: that were read.
        documents: in the index.
        chunks: of them.
        sources: documents by top folder, archive, file of records or site.
        formats: by format.
        languages: by language.
        document_lengths: in characters.
        chunk_lengths: in tokens as they are embedded, prefix included.
        chunk_size: the setting, in tokens without the prefix.
        window: tokens that the embedder reads of a text.
        cut: texts that are embedded without their ends, being longer than the window, or read in part.
        skipped: files that could not be read, or parts of them.
        left_out: files that a filter or the purge list keeps out.
        duplicates: documents that are left out of the index.
        cleaning: by rule.
        settings_changed: settings of [prepare] that were another at the last ingest.
        page: the HTML file.
    """

    created: str
    files: int
    documents: int
    chunks: int
    sources: tuple[Share, ...]
    formats: tuple[Share, ...]
    languages: tuple[Share, ...]
    document_lengths: Histogram
    chunk_lengths: Histogram
    chunk_size: int
    window: int
    cut: tuple[Cause, ...]
    skipped: tuple[Cause, ...]
    left_out: tuple[Cause, ...]
    duplicates: tuple[Cause, ...]
    cleaning: tuple[RuleCount, ...]
    settings_changed: tuple[str, ...] = ()
    page: str = ""


def source_of(source: str, file: str) -> str:
    """Where a document belongs: its site, its top folder or archive, or its file of records."""
    if re.match(r"https?://", source):
        return urlsplit(source).netloc or source
    head, slash, _ = source.partition("/")
    return head if slash else file if source != file else TOP


def shares(documents: Iterable[Overview], label: Mapping[str, str]) -> tuple[Share, ...]:
    """Documents of the index by the label of each source, the largest first."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for each in documents:
        if not each.duplicate:
            found = sums[label[each.source]]
            found[0] += 1
            found[1] += each.chunks
            found[2] += each.characters
    return tuple(Share(name, *values) for name, values in sorted(sums.items(), key=lambda item: (-item[1][0], item[0])))


def lengths_in_characters(values: Sequence[int]) -> Histogram:
    """With bars from 1, 2 and 5 times a power of ten to the next."""
    steps = [factor * 10**power for power in range(10) for factor in (1, 2, 5)]
    first = bisect.bisect_right(steps, min(values, default=1) or 1) - 1
    last = bisect.bisect_right(steps, max(values, default=1) or 1)
    return _histogram([0, *steps[first + 1 : last + 1]] if first == 0 else steps[first : last + 1], values, len(values))


def lengths_in_tokens(values: Sequence[int], of: int, least: int) -> Histogram:
    """With bars of even width, at least up to ``least``."""
    most = max([*values, least]) + 1
    step = next(step for power in range(10) for step in (8 * 10**power, 16 * 10**power, 32 * 10**power) if most / step <= _MOST_BARS)
    return _histogram(list(range(0, most + step, step)), values, of)


def _histogram(edges: Sequence[int], values: Sequence[int], of: int) -> Histogram:
    counts = Counter(min(bisect.bisect_right(edges, value) - 1, len(edges) - 2) for value in values)
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2] if ordered else 0
    return Histogram(tuple(edges), tuple(counts[i] for i in range(len(edges) - 1)), len(values), of, middle, ordered[-1] if ordered else 0)


def causes(reasons: Iterable[Reason], others: Mapping[str, str] | None = None) -> tuple[Cause, ...]:
    """Reasons that differ in names and numbers only together, the most frequent first.

    Args:
        reasons: each with the file in its words.
        others: of a file, another that its reason names: what is kept in its place.
    """
    groups: dict[str, list[Reason]] = defaultdict(list)
    for reason in reasons:
        words = without_name(reason.reason, reason.source, "it")
        if others and others.get(reason.source):
            words = without_name(words, others[reason.source], "another")
        groups[words].append(reason)
    merged: dict[str, list[tuple[str, list[Reason]]]] = defaultdict(list)
    for words, items in groups.items():
        merged[_NUMBER.sub("…", words)].append((words, items))
    found = []
    for words, same in merged.items():
        items = sorted((item for _, some in same for item in some), key=lambda item: item.source)
        found.append(Cause(same[0][0] if len(same) == 1 else words, len(items), tuple(items)))
    return tuple(sorted(found, key=lambda cause: (-cause.count, cause.reason)))


def without_name(words: str, name: str, instead: str) -> str:
    """Words with something else in the place of a name, where that stands alone."""
    parts, at = [], 0
    while (found := words.find(name, at)) >= 0:
        end = found + len(name)
        alone = not (words[found - 1 : found].isalnum() or words[end : end + 1].isalnum())
        parts.append(words[at:found] + (instead if alone else name))
        at = end
    return "".join([*parts, words[at:]])


def cleaning(repairs: Mapping[str, Mapping[str, int]], on: Collection[str]) -> tuple[RuleCount, ...]:
    """What each rule did, the switchable ones first.

    Args:
        repairs: of each file, by rule.
        on: rules that are switched on.
    """
    by_rule: dict[str, dict[str, int]] = defaultdict(dict)
    for file, made in repairs.items():
        for rule, times in made.items():
            if times:
                by_rule[rule][file] = times
    names = [*sorted(RULES), *sorted(by_rule.keys() - RULES)]
    return tuple(
        RuleCount(
            rule,
            rule in on if rule in RULES else None,
            sum(by_rule[rule].values()),
            len(by_rule[rule]),
            tuple(sorted(by_rule[rule].items(), key=lambda item: (-item[1], item[0]))[:_MOST_FILES]),
        )
        for rule in names
    )


def choose_previews(documents: Sequence[Overview], most: int, characters: int, longest: int) -> list[str]:
    """Which documents a page shows: all where there is room, else some of every source and format in turn.

    Args:
        documents: of the corpus.
        most: how many.
        characters: of their texts together.
        longest: characters that are shown of one.
    """
    buckets: dict[tuple[str, str, bool], list[Overview]] = defaultdict(list)
    for each in documents:
        buckets[source_of(each.source, each.file), each.media_type, each.duplicate].append(each)
    chosen: list[str] = []
    left = characters
    for turn in range(max(map(len, buckets.values()), default=0)):
        for bucket in buckets.values():
            if len(chosen) == most:
                return sorted(chosen)
            size = min(bucket[turn].characters, longest) if turn < len(bucket) else left + 1
            if size <= left:
                chosen.append(bucket[turn].source)
                left -= size
    return sorted(chosen)
