"""The loss of a packed batch: the output head, the dearest layer of a small model, runs at completion positions only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ragtune.train.batches import Batch

ROWS = 64
"""Logits taken to float32 at a time: 64 rows of a vocabulary of 50,000 stay in a processor's cache."""


def batch_loss(model: Any, batch: Batch) -> Tensor:
    """Sum over the batch's answers of each answer's negative log-likelihood, in nats per ``ANSWER_TOKENS`` completion tokens."""
    return _WeightedNLL.apply(completion_logits(model, batch), batch.targets_c, batch.weights_c)  # type: ignore[no-untyped-call,no-any-return]


def completion_logits(model: Any, batch: Batch) -> Tensor:
    """``[c, vocabulary]``: what the model says at each place where a completion token is predicted."""
    output = model(
        input_ids=batch.ids_1t,
        position_ids=batch.positions_1t,
        use_cache=False,
        logits_to_keep=batch.at_c,
        ragtune_blocks=batch.blocks,
    )
    logits_cv: Tensor = output.logits[0]
    return logits_cv


class _WeightedNLL(torch.autograd.Function):
    """``Σ weight · -log softmax(logits)[target]``; the gradient is made with the value, while a row's logits are at hand."""

    @staticmethod
    def forward(ctx: Any, logits_cv: Tensor, targets_c: Tensor, weights_c: Tensor) -> Tensor:
        needed = ctx.needs_input_grad[0]
        grad_cv = torch.empty_like(logits_cv) if needed else None
        total = torch.zeros((), device=logits_cv.device)
        for start in range(0, len(targets_c), ROWS):
            rows = slice(start, start + ROWS)
            log_p = torch.log_softmax(logits_cv[rows].float(), -1)
            targets, weights = targets_c[rows, None], weights_c[rows, None]
            total -= (log_p.gather(1, targets) * weights).sum()
            if grad_cv is not None:
                p = log_p.exp_()
                p.scatter_add_(1, targets, torch.full_like(weights, -1.0))
                grad_cv[rows] = p.mul_(weights)
        ctx.save_for_backward(grad_cv)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (grad_cv,) = ctx.saved_tensors
        return grad_cv.mul_(grad.to(grad_cv.dtype)), None, None
