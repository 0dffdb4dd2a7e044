"""A reranker of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sentence_transformers import CrossEncoder
from transformers.utils import logging as transformers_logging

from ragtune.errors import ModelError
from ragtune.fitting import fitting


class CrossEncoderReranker:
    """Fulfils the reranker's contract.

    Args:
        model: folder or Hugging Face id.
        fingerprint: of its weights.
        batch_size: pairs read at once; fewer where memory does not suffice.
        device: of torch; ``None`` takes the best.

    Raises:
        ModelError: the model cannot be loaded, or gives more than one score for a pair.
    """

    def __init__(self, model: str | Path, *, fingerprint: str, batch_size: int = 32, device: str | None = None) -> None:
        self.name = Path(model).name if isinstance(model, Path) else model
        self.fingerprint = fingerprint
        self._batch_size = batch_size
        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            self._model = CrossEncoder(str(model), device=device, local_files_only=isinstance(model, Path))
        except (OSError, ValueError) as error:
            raise ModelError(f"the reranker {model} cannot be loaded ({error}): check retrieve.reranker") from None
        finally:
            if bars:
                transformers_logging.enable_progress_bar()
        if self._model.num_labels != 1:
            raise ModelError(
                f"retrieve.reranker = {self.name}: it sorts pairs into {self._model.num_labels} classes, and a ranking takes one score: "
                "name a CrossEncoder that was trained to rank"
            )

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """A score for each text, higher for better, after the model's own activation."""
        if not texts:
            return []
        pairs = [(question, text) for text in texts]
        most = min(self._batch_size, len(pairs))
        scores, size = fitting(
            most,
            lambda size: self._model.predict(pairs, batch_size=size, show_progress_bar=False, convert_to_numpy=True),
            f"memory on {self._model.device} does not suffice to rerank one passage: end what else uses it, or unset retrieve.reranker",
        )
        if size < most:
            self._batch_size = size
        # The last digits depend on what a pair was batched with; equal texts must stay equal.
        return [round(float(score), 6) for score in scores]
