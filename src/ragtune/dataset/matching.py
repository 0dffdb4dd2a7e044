"""Comparing answers with text: what deciding "does this passage hold the answer?" needs."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from ragtune.highlights import is_unspaced

_WITHIN_WORDS = ".,'’‘"
"""Punctuation that words have within them, as U.S., 1,000 and don't; all other parts words."""
_TYPESET = "“”‘’‐‑–—―…、。，；：？！「」『』（）·«»„"
_PUNCTUATION = {ord(each): None if each in _WITHIN_WORDS else " " for each in string.punctuation + _TYPESET}
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_TRIVIAL = frozenset({"yes", "no", "true", "false", "none", "both", "neither", "one", "two", "first", "it", "he", "she", "they"})


def normalise(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces: for finding answers in documents, not for scoring them.

    SQuAD's normalisation (Rajpurkar et al., arXiv 1606.05250), but typographic quotation marks, dashes and ellipses go too, since documents
    are typeset and answers typed, and what parts words still parts them: 1820 stands in 1820–1830, and Paris in Paris/London.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def is_trivial(answer: str) -> bool:
    """Whether a normalised answer is so short or common that finding it in a passage says nothing."""
    return len(answer) < 2 or answer in _TRIVIAL


def holds_answer(answers: Sequence[str], normalised: str) -> bool:
    """Whether one of the answers stands in a text that :func:`normalise` gave, in whole words where its script parts them by spaces.

    Trivial answers never do.
    """
    padded = f" {normalised} "
    return any(
        answer.replace(" ", "") in normalised.replace(" ", "") if is_unspaced(answer) else f" {answer} " in padded
        for answer in map(normalise, answers)
        if not is_trivial(answer)
    )
