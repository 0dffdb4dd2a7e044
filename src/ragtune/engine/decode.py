"""Decoding of a batch: prompts are read one by one, answers are written together.

Shapes: ``b`` rows of the batch, ``h`` key-value heads, ``s`` cached positions, ``d`` size of a head.

A prompt of a few hundred tokens fills a processor by itself, so reading prompts one by one wastes nothing on padding, and what is read of a
prompt does not depend on its neighbours. Writing a token is bound by reading the weights, which all rows of a batch share. Between the two
the keys and values are put side by side, right-aligned, in buffers that have room for the whole answer.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from ragtune.engine.choose import Writing, choose
from ragtune.prompts import PromptIds

KEPT_PREFIXES = 4
"""Instructions, with and without worked examples: as many as an evaluation alternates between."""

Prefixes: TypeAlias = dict[tuple[int, ...], Cache]
"""What was read of prompts' common beginnings, for one set of weights."""


@dataclass(frozen=True, slots=True)
class Step:
    """One token of one row; ``token`` is ``None`` where the row ended by itself."""

    row: int
    token: int | None


class Decoding:
    """The state of one batch between its steps.

    Args:
        model: a causal language model of transformers.
        prompts: one for each row; rows with equal contexts share the reading of it.
        stop: ids that end an answer.
        max_new_tokens: at most so many tokens are written in a row.
        probe: the id whose log-odds of coming first are kept in ``probe_logodds``.
        prefixes: what these weights have read of common beginnings; filled here.
        writings: what is to be written in each row; free and greedy by itself.
    """

    def __init__(
        self,
        model: Any,
        prompts: Sequence[PromptIds],
        *,
        stop: Collection[int],
        max_new_tokens: int,
        probe: int,
        prefixes: Prefixes | None = None,
        writings: Sequence[Writing] | None = None,
    ) -> None:
        self._model = model
        self._stop = frozenset(stop)
        self._limit = max_new_tokens
        self.writings = writings or [Writing() for _ in prompts]
        self._rows = list(range(len(prompts)))
        self._cache, self._lengths, logits = _read_prompts(model, prompts, max_new_tokens, {} if prefixes is None else prefixes)
        width = int(self._lengths.max())
        columns = torch.arange(width + max_new_tokens, device=logits.device)
        self._mask = columns[None, :] >= (width - self._lengths)[:, None]
        self._logits = logits
        self._probe = probe
        self.probe_logodds = logodds(logits, probe)

    @property
    def done(self) -> bool:
        """Whether every row has ended."""
        return not self._rows

    def step(self) -> list[Step]:
        """Write one token in each row that goes on."""
        rows = [self.writings[row] for row in self._rows]
        tokens = choose(self._logits, rows, [row.allowed(self._logits.device) for row in rows])
        steps = []
        going = []
        for place, (row, token) in enumerate(zip(self._rows, tokens, strict=True)):
            if token in self._stop:
                steps.append(Step(row, None))
                continue
            self.writings[row].ids.append(token)
            steps.append(Step(row, token))
            if len(self.writings[row].ids) < self._limit:
                going.append(place)
        self._keep(going)
        if self._rows:
            self._advance()
        return steps

    @torch.inference_mode()
    def _advance(self) -> None:
        used = self._cache.get_seq_length()
        tokens = torch.tensor([[self.writings[row].ids[-1]] for row in self._rows], device=self._mask.device)
        output = self._model(
            input_ids=tokens,
            attention_mask=self._mask[:, : used + 1],
            position_ids=self._lengths[:, None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._lengths = self._lengths + 1
        self._logits = output.logits[:, -1]

    @torch.inference_mode()
    def _keep(self, going: Sequence[int]) -> None:
        """Drop the rows that ended: the last row takes a dropped one's place, so that one row is copied and not all."""
        count = len(self._rows)
        order = list(range(count))
        for place in sorted(set(order) - set(going), reverse=True):
            count -= 1
            if place != count:
                order[place] = order[count]
                for tensor in self._tensors():
                    tensor[place] = tensor[count]
        if count == len(self._rows):
            return
        self._rows = [self._rows[place] for place in order[:count]]
        self._mask, self._lengths = self._mask[:count], self._lengths[:count]
        for layer in self._cache.layers:
            layer.narrow(count)

    def _tensors(self) -> list[Tensor]:
        buffers = [buffer for layer in self._cache.layers for buffer in (layer.all_keys, layer.all_values)]
        return [*buffers, self._mask, self._lengths]


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """Keys and values of one model layer in buffers ``[b, h, s, d]`` with room for what will be written: growing copies nothing."""

    def __init__(self, like: Tensor, rows: int, used: int, room: int) -> None:
        super().__init__()
        self.all_keys = like.new_zeros(rows, like.shape[1], used + room, like.shape[3])
        self.all_values = torch.zeros_like(self.all_keys)
        self.dtype, self.device = like.dtype, like.device
        self.is_initialized = True
        self._show(used)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append along ``s`` and give all of it."""
        used, more = self.keys.shape[2], key_states.shape[2]
        self.all_keys[:, :, used : used + more] = key_states
        self.all_values[:, :, used : used + more] = value_states
        self._show(used + more)
        return self.keys, self.values

    def put(self, row: int, keys_1hsd: Tensor, values_1hsd: Tensor) -> None:
        """Lay a prompt's keys and values into a row, right-aligned."""
        used, length = self.keys.shape[2], keys_1hsd.shape[2]
        self.all_keys[row, :, used - length : used] = keys_1hsd[0]
        self.all_values[row, :, used - length : used] = values_1hsd[0]

    def narrow(self, rows: int) -> None:
        """Forget all rows but the first ``rows``."""
        self.all_keys, self.all_values = self.all_keys[:rows], self.all_values[:rows]
        self._show(self.keys.shape[2])

    def _show(self, used: int) -> None:
        self.keys, self.values = self.all_keys[:, :, :used], self.all_values[:, :, :used]


@torch.inference_mode()
def _read_prompts(model: Any, prompts: Sequence[PromptIds], room: int, prefixes: Prefixes) -> tuple[Cache, Tensor, Tensor]:
    """The batch's cache, the rows' lengths ``[b]`` and the logits ``[b, vocabulary]`` of their first tokens."""
    lengths = [len(prompt.ids) for prompt in prompts]
    layers: list[_RoomyLayer] = []
    logits: list[Tensor] = [torch.empty(0)] * len(prompts)
    for rows in _by_context(prompts):
        first = prompts[rows[0]]
        past = read_prefix(model, first, prefixes)
        start = first.prefix
        if len(rows) > 1 and len(first.context) > start:
            past, start = read(model, first.context[start:], copy_cache(past))[0], len(first.context)
        for row in rows:
            # A copy of a cache shares its tensors, and reading on replaces them in the copy only.
            whole, logits[row] = read(model, prompts[row].ids[start:], copy_cache(past))
            if not layers:
                layers = [_RoomyLayer(layer.keys, len(prompts), max(lengths), room) for layer in whole.layers]
            for layer, part in zip(layers, whole.layers, strict=True):
                layer.put(row, part.keys, part.values)
    stacked = torch.stack(logits)
    return Cache(layers=layers), torch.tensor(lengths, device=stacked.device), stacked


def read_prefix(model: Any, prompt: PromptIds, prefixes: Prefixes) -> Cache | None:
    """What many prompts begin with is read once and kept. Always apart, so that what is read does not depend on neighbours."""
    if not prompt.prefix:
        return None
    known = kept_prefix(prompt, prefixes)
    if known is None:
        known = read(model, prompt.context[: prompt.prefix], None)[0]
        keep_prefix(prompt, prefixes, known)
    return known


def kept_prefix(prompt: PromptIds, prefixes: Prefixes) -> Cache | None:
    """What is known of a prompt's prefix, which is now the last to be forgotten."""
    ids = prompt.context[: prompt.prefix]
    if ids not in prefixes:
        return None
    prefixes[ids] = prefixes.pop(ids)
    return prefixes[ids]


def keep_prefix(prompt: PromptIds, prefixes: Prefixes, cache: Cache) -> None:
    """Know a prompt's prefix from now on; the one that was not asked for for longest is forgotten where there are too many."""
    prefixes[prompt.context[: prompt.prefix]] = cache
    if len(prefixes) > KEPT_PREFIXES:
        del prefixes[next(iter(prefixes))]


def _by_context(prompts: Sequence[PromptIds]) -> list[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, prompt in enumerate(prompts):
        groups.setdefault(prompt.context, []).append(row)
    return list(groups.values())


@torch.inference_mode()
def read(model: Any, ids: Sequence[int], past: Cache | None, length: int = 0) -> tuple[Cache, Tensor]:
    """Feed ids after what ``past`` holds; gives the longer cache and the logits ``[vocabulary]`` of what comes next.

    Args:
        model: a causal language model of transformers.
        ids: at least one.
        past: of what stands before them.
        length: fill them up to so many meanwhile, with what no id before sees, and what is forgotten.
    """
    cache = past if past is not None else DynamicCache()
    filled = [*ids, *[ids[-1]] * (length - len(ids))]
    last = torch.tensor([len(ids) - 1], device=model.device)
    output = model(input_ids=torch.tensor([filled], device=model.device), past_key_values=cache, use_cache=True, logits_to_keep=last)
    if more := len(filled) - len(ids):
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :-more], layer.values[:, :, :-more]
    return cache, output.logits[0, -1]


def copy_cache(cache: Cache | None) -> Cache | None:
    """A cache that may grow without the other one growing; tensors are shared."""
    if cache is None:
        return None
    copied = DynamicCache()
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    return copied


def logodds(logits_bv: Tensor, token: int) -> list[float]:
    """``log p - log(1 - p)`` of a token, which is its logit less the log-sum-exp of the others: exact where p is near 1, too."""
    scores = logits_bv.float().clone()
    own = scores[:, token].clone()
    scores[:, token] = float("-inf")
    odds: list[float] = (own - scores.logsumexp(-1)).tolist()
    return odds
