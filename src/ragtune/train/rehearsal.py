"""Rehearsal against forgetting: while it learns, the model is held to what its base says of text that the base itself made up.

Every second step adds the Kullback-Leibler divergence of the tuned model from its base on a text that the base wrote from nothing but the
opening of a chat (for the texts: Xu et al., Magpie, arXiv 2406.08464; for the loss: Li and Hoiem, Learning without Forgetting, arXiv
1606.09282). So no data is needed, in any language that the base writes, and nothing of it is in what forgetting is measured on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ragtune.prompts import Tokenizer, chat_opening, end_of_turn
from ragtune.protocols import REHEARSED
from ragtune.train.batches import Batch
from ragtune.train.lora import LoRALinear
from ragtune.train.loss import ROWS, batch_loss, completion_logits
from ragtune.train.sequences import ANSWER_TOKENS, BranchIds, TokenSequence
from ragtune.workspace import write_json

EVERY = 2
"""Steps from one rehearsal to the next."""
TEXTS = 48
"""Texts of a run, rehearsed in turn."""
TOKENS = 128
"""Length of a text, the opening included."""
_TIMED = 6
"""Tokens of each text that are written to find how long all take."""


def rehearsal_texts(
    model: Any,
    tokenizer: Tokenizer,
    layers: Mapping[str, LoRALinear],
    folder: Path,
    *,
    seed: int,
    count: int = TEXTS,
    tell: Callable[[int, int], None] | None = None,
) -> list[TokenSequence]:
    """What the base wrote for this run, drawn at temperature 1; kept in the run's folder, so that a resumed run rehearses the same.

    Args:
        model: the base with its adapters, which are left out.
        tokenizer: its own.
        layers: the adapters.
        folder: of the run.
        seed: of the draw.
        count: texts.
        tell: told how many of how many tokens of each text are written.
    """
    path = folder / REHEARSED
    if not path.is_file():
        opening = _opening(tokenizer)
        with _plain(model, layers.values()):
            write_json(path, {"opening": opening, "texts": _write(model, opening, count, seed, tell)})
    return read_texts(folder)


def writing_seconds(model: Any, tokenizer: Tokenizer) -> float:
    """About how long a base takes to write the texts of a run, from the first tokens of each."""
    at: list[float] = []
    with _plain(model, ()):
        # The opening is read with the first of them, which is not timed.
        _write(model, _opening(tokenizer), TEXTS, 0, lambda *_: at.append(time.monotonic()), length=1 + _TIMED)
    return (at[-1] - at[1]) / _TIMED * TOKENS


def read_texts(folder: Path) -> list[TokenSequence]:
    """What lies in a run's folder."""
    kept = json.loads((folder / REHEARSED).read_text(encoding="utf-8"))
    return [text_sequence(kept["opening"], text) for text in kept["texts"]]


def text_sequence(opening: Sequence[int], text: Sequence[int]) -> TokenSequence:
    """A text whose every token after the opening is rehearsed."""
    return TokenSequence(tuple(opening[:-1]), (BranchIds(tuple(opening[-1:]), tuple(text)),))


def anything(sequence: TokenSequence) -> TokenSequence:
    """A text of the same length out of any sequence."""
    ids = (*sequence.context, *sequence.branches[0].question, *sequence.branches[0].completion)[:TOKENS]
    return text_sequence(ids[:1], ids[1:])


def straying(model: Any, layers: Mapping[str, LoRALinear], batch: Batch) -> Tensor:
    """How far a model is from its base on a batch of texts: the mean over their tokens of KL(base ‖ tuned), in nats.

    Where the whole model is trained the base is at hand no more. The texts are its own draws, so their negative log-likelihood differs
    from the divergence by a constant in the mean.
    """
    if not layers:
        return batch_loss(model, batch) * ANSWER_TOKENS / len(batch.targets_c)
    with torch.no_grad(), _without(layers.values()):
        base_cv = completion_logits(model, batch)
    return _Divergence.apply(completion_logits(model, batch), base_cv)  # type: ignore[no-untyped-call,no-any-return]


def _opening(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Where a template writes nothing before the first words, the text goes on after the end of a turn."""
    return tuple(tokenizer.encode(chat_opening(tokenizer) or end_of_turn(tokenizer), add_special_tokens=False))


@torch.inference_mode()
def _write(
    model: Any, opening: Sequence[int], count: int, seed: int, tell: Callable[[int, int], None] | None, length: int | None = None
) -> list[list[int]]:
    """Every text is written to its full length: what the base says after its first turn is another turn."""
    ids = torch.tensor([list(opening)] * count, device=model.device)
    generator = torch.Generator().manual_seed(seed)
    cache = None
    texts: list[list[int]] = [[] for _ in range(count)]
    length = length or max(1, TOKENS - len(opening))
    for written in range(length):
        if tell:
            tell(written, length)
        # The last place as an index: of a slice, PyTorch would copy the head's weights for each text, 2.7 GB of SmolLM2-135M.
        last = torch.tensor([ids.shape[1] - 1], device=model.device)
        output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=last)
        cache = output.past_key_values
        # Drawn on the CPU, so that every device draws alike from equal probabilities.
        drawn = torch.multinomial(torch.softmax(output.logits[:, -1].float().cpu(), -1), 1, generator=generator)
        for text, (token,) in zip(texts, drawn.tolist(), strict=True):
            text.append(token)
        ids = drawn.to(model.device)
    if tell:
        tell(length, length)
    return texts


@contextmanager
def _plain(model: Any, layers: Iterable[LoRALinear]) -> Iterator[None]:
    """The base, with an attention that can go on from a cache."""
    attention = model.config._attn_implementation
    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    try:
        with _without(layers):
            yield
    finally:
        model.set_attn_implementation(attention)


@contextmanager
def _without(layers: Iterable[LoRALinear]) -> Iterator[None]:
    """The base as it was: the adapters are left out for as long as the block lasts."""
    held = list(layers)
    for layer in held:
        layer.active = False
    try:
        yield
    finally:
        for layer in held:
            layer.active = True


class _Divergence(torch.autograd.Function):
    """``mean Σ p (log p - log q)``; the gradient ``q - p`` is made with the value, while a row's logits are at hand."""

    @staticmethod
    def forward(ctx: Any, logits_cv: Tensor, base_cv: Tensor) -> Tensor:
        grad_cv = torch.empty_like(logits_cv)
        total = torch.zeros((), device=logits_cv.device)
        for start in range(0, len(logits_cv), ROWS):
            rows = slice(start, start + ROWS)
            log_q, log_p = (torch.log_softmax(each[rows].float(), -1) for each in (logits_cv, base_cv))
            p = log_p.exp()
            total += (p * (log_p - log_q)).sum()
            grad_cv[rows] = (log_q.exp_() - p) / len(logits_cv)
        ctx.save_for_backward(grad_cv)
        return total / len(logits_cv)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (grad_cv,) = ctx.saved_tensors
        return grad_cv.mul_(grad.to(grad_cv.dtype)), None
