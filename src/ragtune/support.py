"""Which sentence shown holds an answer that quotes nothing, or quotes what does not hold it? So that it can be checked as quickly.

A sentence is found by words and not by the model: it says where the answer's words stand, and no more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ragtune.highlights import find_highlights, is_unspaced
from ragtune.prompts import ParsedAnswer
from ragtune.quotes import check_quote, fold, quote_in
from ragtune.sentences import split_sentences
from ragtune.types import Passage, Quote

_ALL = 10_000
_WORD = re.compile(r"(?:(?<![\w)\]])-(?=\d))?\w+(?:(?<=\d)[.,:]\d\w*)*(?:[+#]+(?!\w))?")
"""With the sign, the point and the commas of a number, and with what tells C++ and C# from C."""
_BARE = frozenset({"yes", "no", "true", "false", "none", "both", "neither"})
"""What answers a question and need not stand in the sentence that it follows from."""


def cited_by(question: str, answer: str, parsed: ParsedAnswer, passages: Sequence[Passage]) -> tuple[Quote, ...]:
    """What an answer cites: its quotes, checked, and the sentence that has its words where no passage with a quote of it has them.

    Args:
        question: as asked, with what was said before.
        answer: as it is given.
        parsed: what the model wrote, taken apart.
        passages: those that the model was shown, in order.
    """
    quotes = tuple(check_quote(quote, passages) for quote in parsed.quotes)
    own = {quote.passage for quote in quotes if quote.valid}
    words = _words(answer)
    if parsed.abstained or any(each.id in own and _holds(_words(f"{each.prefix}\n{each.text}"), words) for each in passages):
        return quotes
    support = find_support(question, answer, passages)
    return quotes if support is None else (*quotes, support)


def find_support(question: str, answer: str, passages: Sequence[Passage]) -> Quote | None:
    """The sentence, table row or piece of code that has the answer's words in their order, and matches the question best.

    Args:
        question: as asked, with what was said before.
        answer: the final answer alone.
        passages: those that the model was shown, in order.

    Returns:
        A valid quote that is marked as found; ``None`` where no passage has the words, and where the answer is a bare yes or no.
    """
    words = _words(answer)
    if not words or " ".join(words) in _BARE:
        return None
    for sentence in find_highlights(f"{question} {answer}", passages, _ALL):
        if _holds(_words(sentence.text), words):
            quote = quote_in(passages[sentence.passage], sentence.text, sentence.start)
            if quote is not None:
                return replace(quote, found=True)
    if len(split_sentences(answer)) > 1 and (own := check_quote(answer, passages)).valid:
        return replace(own, found=True)
    return None


def _words(text: str) -> list[str]:
    """Folded, in lower case."""
    return _WORD.findall(fold(text).casefold())


def _holds(sentence: list[str], words: list[str]) -> bool:
    """Other words that begin or end alike are others, but where a script has no spaces between words."""
    if any(map(is_unspaced, words)):
        return "".join(words) in "".join(sentence)
    return f" {' '.join(words)} " in f" {' '.join(sentence)} "
