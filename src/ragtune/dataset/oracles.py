"""Which passages hold the evidence, and which words of them an answer quotes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ragtune.dataset.matching import normalise
from ragtune.quotes import find_span
from ragtune.sentences import bare, sentence_around
from ragtune.types import Evidence, Passage

_WORD = re.compile(r"\S+")
_FIELD = re.compile(r"\s*\||[^\s:][^:]{0,40}: ")


def touches(passage: Passage, evidence: Evidence) -> bool:
    """Whether the passage holds any part of the evidence."""
    return any(span.document == evidence.document and span.start < evidence.end and evidence.start < span.end for span in passage.spans)


def find_oracles(evidence: Evidence, passages: Sequence[Passage], rank: Mapping[str, int]) -> tuple[Passage, ...]:
    """The fewest passages that together hold the evidence; of equals, those that retrieval ranks best.

    White space, and what no passage holds at all (a heading that is shown as a prefix), need not be covered.

    Args:
        evidence: one gold span.
        passages: of its document.
        rank: by passage id, where retrieved.

    Returns:
        In the document's order; empty where no passage holds any of it.
    """
    touching = [passage for passage in passages if touches(passage, evidence)]
    covered = {passage.id: _covered(passage, evidence) for passage in touching}
    missing = {at for cover in covered.values() for at in cover}
    chosen = []
    while missing:
        best = max(touching, key=lambda passage: (len(covered[passage.id] & missing), -rank.get(passage.id, len(rank) + 1)))
        chosen.append(best)
        missing -= covered[best.id]
    return tuple(sorted(chosen, key=lambda passage: passage.spans[0].start))


def cut_quote(evidence: Evidence, oracles: Sequence[Passage], answers: Sequence[str], max_words: int) -> str | None:
    """The words that an answer quotes as this evidence: a span of one of its oracle passages, on one line, near the answer.

    Returns:
        ``None`` where no span of a passage can be quoted.
    """
    for passage, piece in _pieces(evidence, oracles, answers):
        line = _line_with_answer(piece, answers)
        # Rows and fields read by themselves; the lines of prose do not.
        fields = line and all(_FIELD.match(each) for each in piece.splitlines() if each.strip())
        for text in (line, piece) if fields else (piece, line):
            quote = _shorten(text, answers, max_words)
            if quote and find_span(quote, passage.text) is not None:
                return quote
    return None


def _covered(passage: Passage, evidence: Evidence) -> frozenset[int]:
    return frozenset(
        at
        for span in passage.spans
        if span.document == evidence.document
        for at in range(max(span.start, evidence.start), min(span.end, evidence.end))
        if not evidence.text[at - evidence.start].isspace()
    )


def _pieces(evidence: Evidence, oracles: Sequence[Passage], answers: Sequence[str]) -> list[tuple[Passage, str]]:
    """The evidence as it stands in each oracle, the piece with the answer first, then the longest."""
    pieces = []
    for passage in oracles:
        for span in passage.spans:
            start, end = max(span.start, evidence.start), min(span.end, evidence.end)
            if span.document == evidence.document and start < end:
                pieces.append((passage, evidence.text[start - evidence.start : end - evidence.start]))
    return sorted(pieces, key=lambda piece: (_find_answer(piece[1], answers) is None, -len(piece[1])))


def _find_answer(text: str, answers: Sequence[str]) -> tuple[int, int] | None:
    """Where an answer stands in the text: letter for letter, else the shortest run of words that equals it normalised."""
    for answer in answers:
        match = re.search(rf"(?<!\w){re.escape(answer.strip())}(?!\w)", text, re.IGNORECASE)
        if match:
            return match.span()
    words = list(_WORD.finditer(text))
    for answer in map(normalise, answers):
        length = len(answer.split())
        for first in range(len(words) - length + 1 if length else 0):
            start, end = words[first].start(), words[first + length - 1].end()
            if normalise(text[start:end]) == answer:
                return start, end
    return None


def _line_with_answer(text: str, answers: Sequence[str]) -> str:
    return next((line for line in text.splitlines() if line.strip() and _find_answer(line, answers)), "")


def _shorten(text: str, answers: Sequence[str], max_words: int) -> str:
    """At most ``max_words`` on one line: all of it, else the answer's sentence, else a window of words about the answer."""
    place = _find_answer(text, answers) or (0, 0)
    if len(text.split()) > max_words:
        first, last = sentence_around(text, *place)
        if first < last:
            text, place = text[first:last], (max(0, place[0] - first), max(0, place[1] - first))
    words = list(_WORD.finditer(text))
    if len(words) > max_words:
        at = sum(word.end() <= place[0] for word in words)
        length = len(text[place[0] : place[1]].split())
        first = min(max(0, at - max(0, max_words - length) // 2), len(words) - max_words)
        text = text[words[first].start() : words[first + max_words - 1].end()]
    return bare(text)
