"""Comparing answers with text: what deciding "does this passage hold the answer?" needs."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation + "“”‘’–—…")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_TRIVIAL = frozenset({"yes", "no", "true", "false", "none", "both", "neither", "one", "two", "first", "it", "he", "she", "they"})


def normalise(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces: for finding answers in documents, not for scoring them.

    SQuAD's normalisation (Rajpurkar et al., arXiv 1606.05250), but typographic quotation marks, dashes and ellipses go too: documents are
    typeset, answers are typed.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def is_trivial(answer: str) -> bool:
    """Whether a normalised answer is so short or common that finding it in a passage says nothing."""
    return len(answer) < 2 or answer in _TRIVIAL


def holds_answer(answers: Sequence[str], normalised: str) -> bool:
    """Whether one of the answers stands, in whole words, in a text that :func:`normalise` gave; trivial answers never do."""
    padded = f" {normalised} "
    return any(f" {answer} " in padded for answer in map(normalise, answers) if not is_trivial(answer))
