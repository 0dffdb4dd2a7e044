"""How good is a short answer beside its references? Exact match and F1 as SQuAD defines them, containment, ROUGE-L, length.

All take the best over the references. Abstaining is scored elsewhere; here an abstention on an answerable question counts 0.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ragtune.prompts import ANSWER_MARK
from ragtune.types import Prediction

_LEAST_LOOP = 20
"""Characters; less that repeats is a number or an exclamation."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

RIGHT_F1 = 0.5
"""F1 from which on an answer counts as right."""


def normalise_answer(text: str) -> str:
    """Lower case, without punctuation, articles and surplus white space.

    SQuAD's official evaluation script 2.0 (Rajpurkar et al., arXiv 1806.03822), to the letter: punctuation goes before the articles, and is
    ASCII's alone, so that figures compare with others'. Typographic quotation marks and dashes stay.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 where the normalised answer equals a normalised reference, else 0."""
    answer = normalise_answer(answer)
    return float(any(answer == normalise_answer(reference) for reference in references))


def f1(answer: str, references: Sequence[str]) -> float:
    """Harmonic mean of the precision and recall of normalised words, best over the references, in [0, 1]."""
    return max((_f1(normalise_answer(answer).split(), normalise_answer(reference).split()) for reference in references), default=0.0)


def containment(answer: str, references: Sequence[str]) -> float:
    """1 where a normalised reference stands in the normalised answer as whole words, else 0: right, however wordy."""
    padded = f" {normalise_answer(answer)} "
    return float(any(f" {reference} " in padded for reference in map(normalise_answer, references) if reference))


def rouge_l(answer: str, references: Sequence[str]) -> float:
    """F-measure of the longest common subsequence of words (Lin, 2004), best over the references, in [0, 1]."""
    return max((float(_rouge().score(reference, answer)["rougeL"].fmeasure) for reference in references), default=0.0)


def length_ratio(answer: str, references: Sequence[str]) -> float | None:
    """Words of the answer for each word of the first reference; ``None`` where that has no word."""
    words = len(references[0].split()) if references else 0
    return len(answer.split()) / words if words else None


def loops(raw: str) -> bool:
    """Whether a text ends in the same characters, white space aside, at least three times over."""
    text = " ".join(raw.split())
    for period in range(1, len(text) // 3 + 1):
        tail = text[-max(3 * period, _LEAST_LOOP) :]
        if len(tail) >= _LEAST_LOOP and tail[period:] == tail[:-period]:
            return True
    return False


def written_answer(raw: str, answer: str, *, finished: bool) -> str:
    """The answer that is scored: ``answer`` as it was taken out of ``raw``, but all from the first answer mark on where it goes round.

    A model that writes the right words again and again until the token limit ends it has not given that answer.
    """
    if finished or not loops(raw):
        return answer
    return " ".join(raw.partition(ANSWER_MARK)[2].split()) or answer


def answer_metrics(prediction: Prediction) -> dict[str, float]:
    """The metrics of one answer; nothing where the documents do not answer the question.

    An abstention scores 0 and has no ``length_ratio``.
    """
    if not prediction.references:
        return {}
    return dict(_metrics(prediction.answer, prediction.references, prediction.abstained))


@lru_cache(maxsize=65536)
def _metrics(answer: str, references: tuple[str, ...], abstained: bool) -> dict[str, float]:
    if abstained:
        return {"f1": 0.0, "exact_match": 0.0, "containment": 0.0, "rouge_l": 0.0}
    metrics = {
        "f1": f1(answer, references),
        "exact_match": exact_match(answer, references),
        "containment": containment(answer, references),
        "rouge_l": rouge_l(answer, references),
    }
    ratio = length_ratio(answer, references)
    return metrics if ratio is None else metrics | {"length_ratio": ratio}


def _f1(answer: list[str], reference: list[str]) -> float:
    if not answer or not reference:
        return float(answer == reference)
    same = sum((Counter(answer) & Counter(reference)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(answer), same / len(reference)
    return 2 * precision * recall / (precision + recall)


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # here, as it takes a second, and a run without new answers needs none

    return RougeScorer(["rougeL"], use_stemmer=False)
