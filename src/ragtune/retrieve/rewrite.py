"""Searching for other wordings of a question too."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ragtune.errors import ChatError
from ragtune.protocols import Retriever
from ragtune.retrieve.fuse import ordered, reciprocal_rank_fusion
from ragtune.types import Hit

_log = logging.getLogger(__name__)


class MultiQueryRetriever:
    """What another retriever finds for a question and for other wordings of it, by reciprocal rank fusion.

    Args:
        inner: finds for each wording.
        reword: gives the other wordings.
        candidates: how deep each ranking is that is fused.
    """

    def __init__(self, inner: Retriever, reword: Callable[[str], Sequence[str]], candidates: int = 50) -> None:
        self._inner = inner
        self._reword = reword
        self._candidates = candidates

    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """For each question its ``k`` best chunks; of a question that nobody rewords, those that it finds itself."""
        return [self._fused(question, max(k, self._candidates))[:k] for question in questions]

    def _fused(self, question: str, depth: int) -> list[Hit]:
        wordings = list(dict.fromkeys((question, *self._wordings(question))))
        rankings = self._inner.retrieve(wordings, depth)
        chunks = {hit.chunk.row: hit.chunk for hits in rankings for hit in hits}
        # Ranks are what is fused, and ties of scores are broken already.
        scores = reciprocal_rank_fusion([{hit.chunk.row: -float(hit.rank) for hit in hits} for hits in rankings], [1.0] * len(rankings))
        return [Hit(chunks[row], scores[row], rank) for rank, row in enumerate(ordered(scores), start=1)]

    def _wordings(self, question: str) -> Sequence[str]:
        try:
            return self._reword(question)
        except ChatError as error:
            _log.warning("searched for the question as it is, because nobody rewords it: %s", error)
            return ()
