"""What a written question must pass to be used. Each filter says what is wrong, or ``None``; which ones fell is counted by the caller."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ragtune.dataset.matching import normalise
from ragtune.dataset.oracles import touches
from ragtune.dataset.sampling import Kind
from ragtune.dataset.synthesise import EXAMPLE_NAME, Draft
from ragtune.prompts import ParsedAnswer
from ragtune.quotes import check_quote
from ragtune.types import Evidence, Passage

Filter = Literal["form", "stands_alone", "quote", "answer", "retrieved", "closed_book", "agrees", "duplicate"]
FILTERS: dict[Filter, str] = {
    "form": "the teacher did not write a question in the form that was asked for",
    "stands_alone": "the question speaks of a passage that its reader does not see",
    "quote": "a quote is not a span of its passage",
    "answer": "the answer does not follow from the quotes",
    "retrieved": "the serving retriever does not find the evidence",
    "closed_book": "the teacher knows the answer without the passage",
    "agrees": "asked again, the teacher answers otherwise, or answers what the documents should not",
    "duplicate": "nearly the same as another question",
}
"""In the order in which they are applied: those that cost no call first."""

Score = Callable[[str, Sequence[str]], float]
"""How well an answer agrees with references, in [0, 1]: F1 of their words."""
Similarity = Callable[[str, str], float]
"""Cosine of two questions' vectors."""

AGREE = 0.5
"""F1 from which a second answer agrees with the first, which may be longer or shorter."""
SAME, ALIKE_WORDS, ALIKE_VECTORS = 0.6, 0.8, 0.92
"""F1 from which the answers of two questions are the same (more than one word of two), and then the Jaccard similarity of words (as the
dataset's audit has it) or the cosine from which the questions are."""
DEPTH = 10
"""Ranks in which evidence must be found, and that are shown where the answer must not be: deeper than is served, so that a question that
retrieval only just misses is kept to be learnt from, and one that does not say what it is about is not."""

_LEANS = re.compile(
    r"\b(?:the|this|that|these|above|given|each|both|which|first|second) (?:\w+ )?(?:passages?|texts?|excerpts?|quotes?|paragraphs?)\b"
    r"|\b(?:passage|quote) \d"
    r"|\b(?:according to|mentioned in|described in|stated in|based on) (?:the|this) (?:document|article|section|table)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_LONGEST_QUESTION, _LONGEST_ANSWER = 60, 25
_SHORTEST_QUOTE = 3
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMERALS = {word: float(value) for value, word in enumerate(_SMALL.split())}
_NUMERALS |= {word: 20.0 + 10 * value for value, word in enumerate(_TENS.split())}


@dataclass(frozen=True, slots=True)
class Known:
    """A question that is there already, with its answers."""

    question: str
    answers: tuple[str, ...]


def malformed(draft: Draft, passages: Sequence[Passage]) -> str | None:
    """Whether something is missing, too long (lengths are in words), off the subject, or taken from the prompt's example."""
    if "?" not in draft.question:
        return "there is no question"
    if EXAMPLE_NAME in draft.question and not any(EXAMPLE_NAME in passage.text for passage in passages):
        return "it repeats the example of the prompt"
    if len(draft.question.split()) > _LONGEST_QUESTION:
        return f"the question has {len(draft.question.split())} words"
    if draft.kind == "unanswerable":
        shown = " ".join(f"{passage.prefix} {passage.text}" for passage in passages)
        return None if _content(draft.question) & _content(shown) else "no word of it is in the passage"
    if not normalise(draft.answer):
        return "there is no answer"
    if len(draft.answer.split()) > _LONGEST_ANSWER:
        return f"the answer has {len(draft.answer.split())} words"
    return None


def leans_on_passage(question: str) -> str | None:
    """Whether a question speaks of its passage, as in "according to the text"."""
    found = _LEANS.search(question)
    return f"it says “{found[0]}”" if found else None


def find_evidence(draft: Draft, passages: Sequence[Passage]) -> tuple[Evidence, ...] | str:
    """The spans that the quotes are, one in each passage, as they stand in the documents; else what is wrong with them."""
    evidence: dict[str, Evidence] = {}
    for text in draft.quotes:
        if len(text.split()) < _SHORTEST_QUOTE:
            return f"the quote “{text}” is too short to be evidence"
        quote = check_quote(text, passages)
        if quote.passage is None or quote.document is None or quote.start is None or quote.end is None:
            return f"“{_short(text)}” stands in no passage"
        passage = next(each for each in passages if each.id == quote.passage)
        (span,) = passage.spans
        words = passage.text[quote.start - span.start : quote.end - span.start]
        evidence[quote.passage] = Evidence(quote.document, quote.start, quote.end, words)
    if len(evidence) < len(passages):
        return "a passage is not quoted"
    return tuple(evidence.values())


def does_not_follow(draft: Draft, passages: Sequence[Passage]) -> str | None:
    """Whether the answer is neither in the quotes, nor a number made of theirs, nor yes or no.

    Every word of it must stand in a quote or in the heading above; of a number it is enough that it is one of the quotes', or the sum or
    difference of two.
    """
    quoted = " ".join([*draft.quotes, *(passage.prefix for passage in passages)])
    answer = normalise(draft.answer)
    if answer in ("yes", "no") or set(answer.split()) <= set(normalise(quoted).split()):
        return None
    wanted, there = _numbers(draft.answer), _numbers(quoted)
    made = there | {round(abs(a + sign * b), 6) for a in there for b in there for sign in (1, -1)}
    if wanted and wanted <= made:
        return None
    return f"“{_short(draft.answer)}” is not in “{_short(' … '.join(draft.quotes))}”"


def not_retrieved(evidence: Sequence[Evidence], found: Sequence[Passage]) -> str | None:
    """Whether a piece of the evidence is in none of the passages that retrieval found."""
    missing = [each for each in evidence if not any(touches(passage, each) for passage in found)]
    return f"“{_short(missing[0].text)}” is not among the first {len(found)}" if missing else None


def known_by_heart(answer: ParsedAnswer, references: Sequence[str], score: Score) -> str | None:
    """Whether an answer that was given without passages is right."""
    right = not answer.abstained and score(answer.answer, references) >= AGREE
    return f"it answers “{_short(answer.answer)}” from memory" if right else None


def disagrees(answer: ParsedAnswer, references: Sequence[str], score: Score) -> str | None:
    """Whether an answer from the passages alone is another than the first; with no references, whether it is one at all."""
    if not references:
        return None if answer.abstained else f"“{_short(answer.answer)}” is given as an answer"
    if not answer.abstained and score(answer.answer, references) >= AGREE:
        return None
    return f"“{_short(answer.answer)}” instead of “{_short(references[0])}”"


def duplicate_of(new: Known, others: Iterable[Known], score: Score, similarity: Similarity) -> str | None:
    """Whether a question is there already: in the same words, or in much the same words or sense with the same answer.

    Questions that differ in one word and in their answer ("Who built the mill?", "Who built the well?") are two.
    """
    words = set(_WORD.findall(new.question.casefold()))
    for other in others:
        theirs = set(_WORD.findall(other.question.casefold()))
        if words != theirs:
            if not _same_answer(new, other, score):
                continue
            alike = len(words & theirs) / max(1, len(words | theirs))
            if alike < ALIKE_WORDS and similarity(new.question, other.question) < ALIKE_VECTORS:
                continue
        return f"like “{_short(other.question)}”"
    return None


def true_kind(draft: Draft) -> Kind:
    """The kind that a question turned out to be: a number without a numeral, or a paraphrase in the quote's own words, is a fact."""
    if draft.kind == "numeric" and not _numbers(draft.answer):
        return "fact"
    if draft.kind == "paraphrase":
        own = _content(draft.question)
        shared = own & _content(" ".join(draft.quotes))
        return "fact" if own and len(shared) > len(own) / 2 else draft.kind
    return draft.kind


def _content(text: str) -> set[str]:
    """The words of a text that say something, about."""
    return {word for word in _WORD.findall(text.casefold()) if len(word) > 3}


def _same_answer(new: Known, other: Known, score: Score) -> bool:
    if not new.answers or not other.answers:
        return new.answers == other.answers
    return score(new.answers[0], other.answers) >= SAME


def _numbers(text: str) -> set[float]:
    """The numbers in a text, in digits or as single words; 7:40 is one, and so is 1,200."""
    digits = {float(match.replace(",", "").replace(":", "").rstrip(".")) for match in _NUMBER.findall(text) if match.count(".") < 2}
    return digits | {_NUMERALS[word] for word in _WORD.findall(text.casefold()) if word in _NUMERALS}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}…"
