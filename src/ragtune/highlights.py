"""Which sentences of the passages match a question best? They are shown beside the question, to every arm alike.

A small model that must copy the sentence with the answer has to know, at the first word of its quote, where that sentence stands: at the
place where it begins, nothing of its content has been read yet. Ranking sentences by words is what retrieval is good at, so it is done
for the model: BM25 (Robertson and Zaragoza, 2009) over the sentences of the shown passages, where the words of the headings above a
sentence count half, less a little for each passage that retrieval ranked before. A pure function of question and passages, so training,
evaluation and serving show the same, and the model learns how far to trust it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ragtune.sentences import bare, split_sentences
from ragtune.structure import find_blocks
from ragtune.types import Passage

COUNT = 3
"""Sentences shown (docs/decisions/0004-highlights.md)."""
MAX_WORDS = 40
MAX_CHARACTERS = 320
_K1, _B = 1.2, 0.75
_HEADING = 0.5
"""What a question's word is worth where only the headings above a sentence have it."""
_PER_RANK = 0.1
"""Share of the best score that each rank of the passage costs."""
_STEM = 5
"""Letters of a word that are compared: inflections differ at the end."""
_TERM = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_RULE = re.compile(r"[\s|:+=-]*")
_WRAP, _WIDEST = 50, 120
"""Lengths of lines between which a text may be wrapped by hand; whoever breaks lines before means something by it."""
_ITEM = re.compile(r"^\s*(?:[-*+•·>|]|\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{2,4})[.)]|[\w-]+(?: [\w-]+){0,2}:)\s")
"""What begins a line that is no continuation: an item, a quotation, a row, or a name with its value."""
_ROW = re.compile(r"^\s*\|.*\|\s*$")


@dataclass(frozen=True, slots=True)
class Highlight:
    """A sentence or table row.

    Args:
        text: a span of a passage, on one line.
        above: what it stands under: the nearest heading, else the document, and the head of its table; may be empty.
        passage: which one, counted from 0.
        start: code points of the passage's text before the paragraph or table that it stands in.
    """

    text: str
    above: str
    passage: int = 0
    start: int = 0

    def __str__(self) -> str:
        return f"{self.above}: {self.text}" if self.above else self.text


@dataclass(frozen=True, slots=True)
class _Sentence:
    highlight: Highlight
    terms: Counter[str]
    above: frozenset[str]


def find_highlights(question: str, passages: Sequence[Passage], count: int = COUNT) -> tuple[Highlight, ...]:
    """The sentences and table rows that match best, best first; equal ones once.

    Args:
        question: as asked.
        passages: those shown, in the order of their ranks.
        count: at most so many.
    """
    candidates = [(sentence, rank) for rank, passage in enumerate(passages) for sentence in _sentences(passage.prefix, passage.text)]
    scores = _bm25(Counter(terms(question)), [sentence for sentence, _ in candidates])
    best = max(scores, default=0.0) or 1.0
    order = sorted(range(len(candidates)), key=lambda at: (_PER_RANK * candidates[at][1] - scores[at] / best, at))
    distinct: dict[str, Highlight] = {}
    for at in order:
        sentence, rank = candidates[at]
        if len(distinct) < count and sentence.highlight.text not in distinct:
            distinct[sentence.highlight.text] = replace(sentence.highlight, passage=rank)
    return tuple(distinct.values())


def coverage(question: str, passages: Sequence[Passage]) -> float:
    """Share of the question's words, by their letters, that the one sentence has which has most of them, its headings included.

    Longer words count more, as those that every question has are short in most languages (docs/decisions/0013-confidence.md).
    """
    letters = {term: len(term) for term in terms(question)}
    own = [
        sum(count for term, count in letters.items() if term in sentence.terms or term in sentence.above)
        for passage in passages
        for sentence in _sentences(passage.prefix, passage.text)
    ]
    return max(own, default=0) / (sum(letters.values()) or 1)


def is_unspaced(word: str) -> bool:
    """Whether a word is of a script without spaces between words, as Chinese, Japanese and Thai."""
    return _UNSPACED.search(word) is not None


def terms(text: str) -> list[str]:
    """The beginnings of a text's words; of scripts without spaces, every two neighbouring characters."""
    found: list[str] = []
    for word in _TERM.findall(text.lower()):
        if is_unspaced(word):
            found += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
        else:
            found.append(word[:_STEM])
    return found


def _bm25(question: Counter[str], sentences: Sequence[_Sentence]) -> list[float]:
    count = len(sentences)
    frequency = Counter(term for sentence in sentences for term in sentence.terms.keys() & question.keys())
    mean = sum(sentence.terms.total() for sentence in sentences) / count if count else 1.0
    weight = {term: math.log(1 + (count - frequency[term] + 0.5) / (frequency[term] + 0.5)) for term in question}
    scores = []
    for sentence in sentences:
        saturation = _K1 * (1 - _B + _B * sentence.terms.total() / (mean or 1.0))
        score = 0.0
        for term, value in weight.items():
            times = sentence.terms[term]
            if times:
                score += value * times * (_K1 + 1) / (times + saturation)
            elif term in sentence.above:
                score += value * _HEADING
        scores.append(score)
    return scores


@lru_cache(maxsize=4096)
def _sentences(prefix: str, text: str) -> tuple[_Sentence, ...]:
    path, *table = prefix.splitlines() or [""]
    top = [part.strip() for part in path.split(" > ") if part.strip()]
    head = " ".join(bare(line) for line in table if _ROW.match(line) and not _RULE.fullmatch(line))
    headings: list[tuple[int, str]] = []  # those in the text, outermost first, with their levels
    found: list[_Sentence] = []
    for block in find_blocks(text):
        if block.kind == "heading":
            headings = [each for each in headings if each[0] < block.level] + [(block.level, block.words)]
            head = ""
            continue
        if block.kind == "table":
            head = bare(text[block.start : block.end].partition("\n")[0])
        names = [*top, *(name for _, name in headings)]
        start = block.start if block.kind != "table" else min(block.rows, default=block.end)
        lines = text[start : block.end].splitlines()
        for line in _unwrapped(lines) if block.kind == "text" else lines:
            if line.strip() and not _RULE.fullmatch(line):
                found += _of_line(line, names, head if _ROW.match(line) else "", start)
    return tuple(found)


def _unwrapped(lines: Sequence[str]) -> Iterator[str]:
    """Lines, those put together that are one paragraph, broken where the next word would not have fitted any more."""
    width = max((len(line) for line in lines if len(line.split()) > 1), default=0)  # an address may be longer, and cannot be wrapped
    paragraph: list[str] = []
    for line in lines:
        if paragraph and not (_WRAP <= width <= _WIDEST and _goes_on(paragraph[-1], line, width)):
            yield "\n".join(paragraph)
            paragraph = []
        paragraph.append(line)
    if paragraph:
        yield "\n".join(paragraph)


def _goes_on(line: str, following: str, width: int) -> bool:
    if len(line) < _WRAP or _ITEM.match(following) or not following.strip():
        return False
    return len(line.rstrip()) + 1 + len(following.split(maxsplit=1)[0]) > width


def _of_line(line: str, names: Sequence[str], head: str, start: int) -> Iterator[_Sentence]:
    shown = "".join(names[-1:]) + (f" ({head})" if head else "")
    above = frozenset(terms(" ".join([*names, head])))
    for sentence in split_sentences(line):
        for piece in _pieces(bare(sentence)):
            yield _Sentence(Highlight(piece, shown, start=start), Counter(terms(piece)), above)


def _pieces(text: str) -> Iterator[str]:
    """A sentence, or what is too long for one cut between words; a text without spaces is cut anywhere."""
    piece: list[str] = []
    for word in text.split():
        if piece and (len(piece) == MAX_WORDS or sum(map(len, piece)) + len(piece) + len(word) > MAX_CHARACTERS):
            yield " ".join(piece)
            piece = []
        while len(word) > MAX_CHARACTERS:
            yield word[:MAX_CHARACTERS]
            word = word[MAX_CHARACTERS:]
        piece.append(word)
    if piece:
        yield " ".join(piece)
