r"""Cut a document into chunks along its structure: sections, then blocks, then sentences, with exact offsets.

A chunk is a stretch of the document's own text; what it needs to be understood alone (title, headings, a table's header) is its prefix.
What is embedded is ``prefix + "\n" + text``.
"""

from __future__ import annotations

import bisect
import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import semchunk

from ragtune.structure import Block, find_blocks
from ragtune.types import Chunk, Document

CountTokens = Callable[[Sequence[str]], list[int]]


PREFIX_TOKENS = 32
HEADER_TOKENS = 40
"""Room for title and headings, and for a repeated table header: with 160 for the text, within the 256 that MiniLM sees."""

_TOP_LEVEL = 2  # a chunk crosses headings of this level only between tiny sections
_DEEPER = 3  # spaces: less may be a paragraph's first line
_LONGEST_LINE = 1000  # characters
_LONGEST_TOKEN = 20  # characters; a text longer than this for each token allowed is not worth counting


@dataclass(slots=True)
class _Section:
    """A heading with what stands under it, or several such, up to the next; another is merged into it in place."""

    blocks: list[Block]
    tokens: list[int]
    paths: tuple[tuple[tuple[int, str], ...], ...]  # of each section with text in it: (level, words) from the outermost heading in
    has_text: bool

    @property
    def size(self) -> int:
        return sum(self.tokens)

    @property
    def first(self) -> tuple[tuple[int, str], ...]:
        return self.paths[0]


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is not cut further; ``header`` is of the table that it is a later row of, and what it ``leads`` to stands right behind it."""

    start: int
    end: int
    tokens: int
    leads: bool = False
    header: str = ""


def chunk_document(document: Document, count_tokens: CountTokens, size: int = 160, overlap: int = 0) -> list[Chunk]:
    """Cut a document into chunks.

    Headings start sections. Tiny neighbours under one parent are put together; long sections are cut between blocks, and blocks that are
    too long between rows, lines or sentences. Every character that is no white space is in at least one chunk.

    Args:
        document: cleaned; offsets point into its text.
        count_tokens: tokens of each text, without special ones.
        size: most tokens of a chunk, its prefix not counted (which has at most :data:`PREFIX_TOKENS` + :data:`HEADER_TOKENS`).
        overlap: tokens that a chunk repeats of the one before it in the same section.

    Returns:
        In the order of the text.
    """
    text = document.text
    blocks = find_blocks(text)
    if not blocks:
        return []
    ends = [block.start for block in blocks[1:]] + [len(text)]
    tokens = _count(text, [(block.start, end) for block, end in zip(blocks, ends, strict=True)], count_tokens)
    prefixes: dict[tuple[str, ...], str] = {}
    seen: Counter[str] = Counter()
    chunks: list[Chunk] = []
    for section in _merge(_sections(blocks, tokens), size):
        headings = tuple(words for _, words in _common(section.paths))
        for start, end, header in _cut(text, section, count_tokens, size, overlap):
            piece = text[start:end]
            first, last = (bisect.bisect_left(section.blocks, at, key=lambda block: block.start) for at in (start, end))
            own = {block.words for block in section.blocks[first:last] if block.kind == "heading" and block.end <= end}
            path = _path(document.title, headings, own)
            if path not in prefixes:
                prefixes[path] = _shorten(path, count_tokens)
            prefix = prefixes[path] + ("\n" + header if header else "")
            occurrence = seen[piece]
            seen[piece] += 1
            digest = hashlib.blake2b(f"{document.source}\0{piece}\0{occurrence}".encode(), digest_size=8).hexdigest()
            chunks.append(Chunk(digest, document.source, start, end, piece, document.title, headings, prefix.strip()))
    return chunks


def _count(text: str, spans: Sequence[tuple[int, int]], count_tokens: CountTokens) -> list[int]:
    return count_tokens([text[start:end] for start, end in spans])


def _sections(blocks: Sequence[Block], tokens: Sequence[int]) -> list[_Section]:
    sections: list[_Section] = []
    path: tuple[tuple[int, str], ...] = ()
    first = 0
    for i, block in enumerate([*blocks, None]):
        if block is not None and (block.kind != "heading" or i == 0):
            continue
        if blocks[first].kind == "heading":
            head = blocks[first]
            path = (*(above for above in path if above[0] < head.level), (head.level, head.words))
        if i > first:
            has_text = i - first > 1 or blocks[first].kind != "heading"
            sections.append(_Section(list(blocks[first:i]), list(tokens[first:i]), (path,), has_text))
        first = i
    return sections


def _merge(sections: Sequence[_Section], size: int) -> list[_Section]:
    merged: list[_Section] = []
    for section in sections:
        if merged and _belongs(merged[-1], section, size):
            last = merged[-1]
            last.paths = (last.paths if last.has_text else ()) + (section.paths if section.has_text or not last.has_text else ())
            last.has_text = last.has_text or section.has_text
            last.blocks += section.blocks
            last.tokens += section.tokens
        else:
            merged.append(section)
    return merged


def _belongs(last: _Section, section: _Section, size: int) -> bool:
    """Whether a section goes into the same chunk as what stands before it."""
    path = section.first
    if not last.has_text and path and path[-1][0] >= last.paths[-1][-1][0]:
        return True  # a heading alone goes with what follows under it or beside it
    if last.size + section.size > size:
        return False
    top = [tuple(heading for heading in p if heading[0] <= _TOP_LEVEL) for p in (last.first, path)]
    if top[0] == top[1] and path[-1][0] > _TOP_LEVEL:
        return True
    tiny = size // 4
    related = path[:-1] in (last.first[:-1], last.first)
    return related and (last.size < tiny or section.size < tiny)


def _common(paths: Sequence[tuple[tuple[int, str], ...]]) -> tuple[tuple[int, str], ...]:
    common = paths[0]
    for path in paths[1:]:
        same = next((i for i, (a, b) in enumerate(zip(common, path, strict=False)) if a != b), min(len(common), len(path)))
        common = common[:same]
    return common


def _cut(text: str, section: _Section, count_tokens: CountTokens, size: int, overlap: int) -> Iterator[tuple[int, int, str]]:
    """Spans of a section's chunks, without white space at their ends, each with the table header to repeat before it."""
    limit = max(size - overlap, 1)
    if section.size <= size:
        limit = size
        packed = [(section.blocks[0].start, section.blocks[-1].end, "")]
    else:
        packed = _pack(_lead(text, list(_pieces(text, section, count_tokens, limit)), limit), limit)
    fitted: list[tuple[int, int, str]] = []
    for (start, end, header), tokens in zip(packed, _count(text, [span[:2] for span in packed], count_tokens), strict=True):
        if tokens <= limit:
            fitted.append((start, end, header))
        else:  # the parts' tokens do not add up to the whole's in every tokenizer
            fitted += [(piece.start, piece.end, header) for piece in _sentences(text, start, end, count_tokens, limit)]
    before = -1
    for start, end, header in fitted:
        stripped = _strip(text, start, end)
        if stripped is None:
            continue
        start, end = stripped
        begin = _overlap(text, before, start, count_tokens, overlap) if overlap and before >= 0 and not header else start
        before = start
        yield begin, end, header


def _pieces(text: str, section: _Section, count_tokens: CountTokens, limit: int) -> Iterator[_Piece]:
    used = 0  # by headings that the next piece must leave room for
    for block, tokens in zip(section.blocks, section.tokens, strict=True):
        room = max(limit - used, limit // 2, 1)
        if block.kind == "heading" and tokens <= limit // 3:
            used += tokens
            yield _Piece(block.start, block.end, tokens, leads=True)
            continue
        used = 0
        if tokens <= room:
            yield _Piece(block.start, block.end, tokens)
        elif block.kind == "table" and block.rows:
            yield from _rows(text, block, count_tokens, room)
        else:
            yield from _sentences(text, block.start, block.end, count_tokens, room)


def _rows(text: str, block: Block, count_tokens: CountTokens, room: int) -> Iterator[_Piece]:
    """A table row by row; the header stays with the first row and is repeated before later ones."""
    header = _fit(text[block.start : block.rows[0]].split("\n", 1)[0].strip(), count_tokens, HEADER_TOKENS)
    starts = [block.start, *block.rows[1:]]
    spans = list(zip(starts, [*starts[1:], block.end], strict=True))
    for i, ((start, end), tokens) in enumerate(zip(spans, _count(text, spans, count_tokens), strict=True)):
        repeated = header if i else ""
        if tokens <= room:
            yield _Piece(start, end, tokens, header=repeated)
        else:
            for j, piece in enumerate(_sentences(text, start, end, count_tokens, room)):
                yield _Piece(piece.start, piece.end, piece.tokens, header=repeated or (header if j else ""))


def _sentences(text: str, start: int, end: int, count_tokens: CountTokens, room: int) -> list[_Piece]:
    """Parts of at most ``room`` tokens and about equal size, cut at the best places: lines, sentences, clauses, words, characters."""
    part = text[start:end]

    def count(candidate: str) -> int:
        longest = room * _LONGEST_TOKEN
        return room + 1 if len(candidate) > longest else count_tokens([candidate])[0]

    total = count_tokens([part])[0]
    even = min(room, math.ceil(1.2 * total / math.ceil(total / room)))
    offsets = semchunk.chunk(part, even, count, memoize=False, offsets=True)[1]
    spans = [(start + a, start + b) for a, b in offsets if part[a:b].strip()]
    return [_Piece(a, b, tokens) for (a, b), tokens in zip(spans, _count(text, spans, count_tokens), strict=True)]


def _lead(text: str, pieces: Sequence[_Piece], limit: int) -> list[_Piece]:
    """Pieces of which each short one leads to the next where that is indented further: a term to its definition, an item to its text."""
    indents = [*(_indent(text, piece.start) for piece in pieces), 0]
    return [
        replace(piece, leads=piece.leads or (piece.tokens <= limit // 3 and indents[i] + _DEEPER <= indents[i + 1]))
        for i, piece in enumerate(pieces)
    ]


def _indent(text: str, at: int) -> int:
    """Spaces before the line in which something stands; none of a line so long that it is no outline's."""
    start = text.rfind("\n", max(at - _LONGEST_LINE, 0), at) + 1
    if start == 0 < at - _LONGEST_LINE:
        return 0
    line = text[start : start + _LONGEST_LINE]
    return len(line) - len(line.lstrip(" "))


def _pack(pieces: Sequence[_Piece], limit: int) -> list[tuple[int, int, str]]:
    """Put pieces together up to the limit, evenly, so that no small rest is left over.

    No chunk ends in what leads to the next if it can be helped.
    """
    total = sum(piece.tokens for piece in pieces)
    target = total / math.ceil(total / limit)
    packs: list[list[_Piece]] = [[]]
    tokens = 0
    for piece in pieces:
        full = tokens + piece.tokens > limit or (tokens >= target and not packs[-1][-1].leads)
        if packs[-1] and full:
            last = packs[-1]
            keep = len(last)
            while keep > 1 and last[keep - 1].leads:
                keep -= 1
            moved = last[keep:] if not last[keep - 1].leads else []
            packs[-1] = last[: len(last) - len(moved)]
            packs.append(list(moved))
            tokens = sum(earlier.tokens for earlier in moved)
        packs[-1].append(piece)
        tokens += piece.tokens
    return [(pack[0].start, pack[-1].end, pack[0].header) for pack in packs]


def _strip(text: str, start: int, end: int) -> tuple[int, int] | None:
    part = text[start:end]
    left = len(part) - len(part.lstrip())
    return (start + left, start + len(part.rstrip())) if part.strip() else None


def _overlap(text: str, before: int, start: int, count_tokens: CountTokens, overlap: int) -> int:
    """Where to begin so that at most ``overlap`` tokens of the chunk from ``before`` on are repeated: at a sentence if one starts there."""
    words = [before + match.start() for match in re.finditer(r"\S+", text[before:start])]
    words = words[-overlap:]
    fitting = [at for at, n in zip(words, _count(text, [(at, start) for at in words], count_tokens), strict=True) if n <= overlap]
    sentences = [at for at in fitting if re.search(r"(?:[.!?]['\"”’)]*\s+|\n\s*)\Z", text[before:at])]
    return min(sentences or fitting, default=start)


def _path(title: str, headings: Sequence[str], own: set[str]) -> tuple[str, ...]:
    """Title and headings that the chunk does not show itself; the title is always there, once."""
    rest = headings[1:] if headings and headings[0].casefold() == title.casefold() else headings
    return (title, *(words for words in rest if words not in own))


def _shorten(path: tuple[str, ...], count_tokens: CountTokens) -> str:
    """The path in one line; where it is too long the headings in the middle go first."""
    parts = [part for part in path if part]
    while len(parts) > 2 and count_tokens([" > ".join(parts)])[0] > PREFIX_TOKENS:
        del parts[1]
    return _fit(" > ".join(parts), count_tokens, PREFIX_TOKENS)


def _fit(line: str, count_tokens: CountTokens, most: int) -> str:
    """The longest start of a line, in whole words if there are several, that has at most so many tokens."""
    if count_tokens([line])[0] <= most:
        return line
    cuts = [match.end() for match in re.finditer(r"\S+", line[: most * _LONGEST_TOKEN])]
    fitting = [cut for cut, n in zip(cuts, count_tokens([line[:cut] for cut in cuts]), strict=True) if n <= most]
    return line[: max(fitting, default=0)]
