"""Which token comes next: of those that a row may write, the likeliest or one that is drawn.

Shapes: ``b`` rows, ``v`` tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

from ragtune.types import Sampling

_COLDEST = 1e-5
"""Logits divided by less may leave the range of their numbers; the likeliest token then has all of the probability anyway."""

Constraint: TypeAlias = Callable[[Sequence[int]], Collection[int] | Tensor | None]
"""Ids written so far to the ids that may come next; ``None`` where all may."""


class Sampler:
    """Draws one answer's tokens.

    Each token of the vocabulary has noise of its own from the seeded generator (Gumbel's trick: the largest sum of a log-probability and
    its noise is a draw), so that the last bits, in which a row differs from batch to batch, hardly ever change what is drawn.

    Args:
        sampling: with a temperature that :func:`sampler` draws with.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._temperature, self._top_p = sampling.temperature, sampling.top_p
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed % 2**63)

    def __call__(self, logits_v: Tensor) -> int:
        """The id drawn; those whose logit is minus infinity never are."""
        scores_v = (logits_v / self._temperature).log_softmax(-1)
        if self._top_p < 1:
            sorted_v, order_v = scores_v.exp().sort(descending=True)
            beyond_v = order_v[1:][(sorted_v.cumsum(-1) - sorted_v)[1:] >= self._top_p]
            scores_v[beyond_v] = float("-inf")
        noise_v = torch.empty(len(scores_v)).exponential_(generator=self._generator).log_()
        return int((scores_v - noise_v.to(scores_v.device)).argmax())


def sampler(sampling: Sampling) -> Sampler | None:
    """What draws an answer's tokens; ``None`` where the likeliest are taken."""
    return Sampler(sampling) if sampling.temperature >= _COLDEST else None


@dataclass
class Writing:
    """One answer while it is written.

    Args:
        constraint: what may come next, or ``None``.
        sampler: draws the tokens; ``None`` takes the likeliest.
    """

    constraint: Constraint | None = None
    sampler: Sampler | None = None
    ids: list[int] = field(default_factory=list)
    logprob: float = 0.0
    """Sum over the tokens chosen, the one that ended the answer too, in nats, of what the model wanted to write, whatever was allowed."""

    def allowed(self, device: torch.device) -> Tensor | None:
        """Ids that may come next; ``None`` where all may."""
        ids = None if self.constraint is None else self.constraint(self.ids)
        if ids is None:
            return None
        if isinstance(ids, Tensor):
            return ids.to(device)
        return _as_tensor(ids, device) if isinstance(ids, frozenset) else torch.tensor(sorted(ids), device=device)


@torch.inference_mode()
def choose(logits_bv: Tensor, rows: Sequence[Writing], allowed: Sequence[Tensor | None]) -> list[int]:
    """The next token of each row; what it was worth is added to the row's ``logprob``."""
    logits_bv = logits_bv.float()
    normalisers: list[float] = logits_bv.logsumexp(-1).tolist()  # of all tokens, the forbidden ones too
    for place, keep in enumerate(allowed):
        if keep is not None:
            kept = logits_bv[place, keep]
            logits_bv[place] = float("-inf")
            logits_bv[place, keep] = kept
    best = logits_bv.max(-1)
    tokens, values = best.indices.tolist(), best.values.tolist()
    for place, row in enumerate(rows):
        if row.sampler is not None:
            tokens[place] = row.sampler(logits_bv[place])
            values[place] = float(logits_bv[place, tokens[place]])
        row.logprob += values[place] - normalisers[place]
    return tokens


@lru_cache(maxsize=64)
def _as_tensor(ids: frozenset[int], device: torch.device) -> Tensor:
    """The few sets that constraints keep for good hold most of the vocabulary."""
    return torch.tensor(sorted(ids), device=device)
