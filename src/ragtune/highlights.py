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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ragtune.sentences import bare, split_sentences
from ragtune.types import Passage

COUNT = 3
"""Sentences shown (docs/decisions/0004-highlights.md)."""
MAX_WORDS = 40
_K1, _B = 1.2, 0.75
_HEADING = 0.5
"""What a question's word is worth where only the headings above a sentence have it."""
_PER_RANK = 0.1
"""Share of the best score that each rank of the passage costs."""
_STEM = 5
"""Letters of a word that are compared: inflections differ at the end."""
_TERM = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_RULE = re.compile(r"[\s|:+=-]*")
_TABLE_HEAD = re.compile(r"^\s*\|.*\|\s*$")


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    terms: Counter[str]
    above: frozenset[str]


def find_highlights(question: str, passages: Sequence[Passage], count: int = COUNT) -> tuple[str, ...]:
    """The sentences and table rows that match best, best first, each a span of a passage on one line.

    Args:
        question: as asked.
        passages: those shown, in the order of their ranks.
        count: at most so many.
    """
    sentences: dict[str, tuple[_Sentence, int]] = {}
    for rank, passage in enumerate(passages):
        for sentence in _sentences(passage.prefix, passage.text):
            sentences.setdefault(sentence.text, (sentence, rank))
    candidates = list(sentences.values())
    scores = _bm25(Counter(terms(question)), [sentence for sentence, _ in candidates])
    best = max(scores, default=0.0) or 1.0
    order = sorted(range(len(candidates)), key=lambda at: (_PER_RANK * candidates[at][1] - scores[at] / best, at))
    return tuple(candidates[at][0].text for at in order[:count])


def terms(text: str) -> list[str]:
    """The beginnings of a text's words; of scripts without spaces, every two neighbouring characters."""
    found: list[str] = []
    for word in _TERM.findall(text.lower()):
        if _UNSPACED.search(word):
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
    found = []
    document = frozenset(terms(prefix))
    above = document
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.strip() or _RULE.fullmatch(line):
            continue
        if line.lstrip().startswith("#"):
            above = document | frozenset(terms(line))
        elif _TABLE_HEAD.match(line) and number + 1 < len(lines) and "-" in lines[number + 1] and _RULE.fullmatch(lines[number + 1]):
            above |= frozenset(terms(line))
        else:
            for sentence in split_sentences(line):
                shown = bare(sentence)
                words = shown.split()
                for at in range(0, len(words), MAX_WORDS):
                    piece = " ".join(words[at : at + MAX_WORDS])
                    found.append(_Sentence(piece, Counter(terms(piece)), above))
    return tuple(found)
