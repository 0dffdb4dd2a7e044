"""How far an answer rests on what was quoted: a count of words, and no judgement of what they mean.

The measure is K-Precision (Adlakha et al., "Evaluating Correctness and Faithfulness of Instruction-Following Models for Question
Answering", TACL 2024, https://arxiv.org/abs/2307.16877): the share of the answer's words that stand in the knowledge it was given, which of
the lexical measures there agrees best with people. The knowledge here is what the answer quotes word for word, and all that was shown where
it quotes nothing; quotes that stand nowhere take their share away. A right answer in other words scores low, and a wrong one that is
put together of quoted words scores high: it finds answers that are worth a look.
"""

from __future__ import annotations

import re

from ragtune.traces.records import TraceRecord

LOW = 0.5
"""Below which an answer is worth a look."""
_WORD = re.compile(r"\w+")


def quote_support(record: TraceRecord) -> float | None:
    """The share of the answer's words that are quoted, times the share of its quotes that are real; in [0, 1].

    Args:
        record: of an answer.

    Returns:
        ``None`` where there is no answer, or nothing was shown that it could rest on, as in a plain chat.
    """
    words = _words(record.answer)
    if record.abstained or record.error is not None or not words or not record.passages:
        return None
    quoted = [str(citation["quote"]) for citation in record.citations if not citation.get("found")]
    quotes = len(quoted) + len(record.unsupported)
    known = set(_words(" ".join(quoted or [f"{each.get('headings') or ''} {each.get('text') or ''}" for each in record.passages])))
    real = len(quoted) / quotes if quotes else 1.0
    return round(real * sum(word in known for word in words) / len(words), 4)


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]
