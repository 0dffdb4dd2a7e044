"""A batch that rows join and leave between its steps.

Shapes: ``b`` rows, ``h`` key-value heads, ``s`` cached positions, ``d`` size of a head, ``v`` tokens of the vocabulary.

The keys and values of a row stand at the columns of their positions, so that a row takes any free place of the buffers as it is, whatever
its neighbours' lengths, and nothing is moved but the last row into a place that nobody took. (The batches of :mod:`ragtune.engine.decode`
start together and are right-aligned, which lets the model build its own mask.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from ragtune.engine.choose import Writing, choose
from ragtune.engine.decode import Prefixes, copy_cache, keep_prefix, kept_prefix, logodds, read
from ragtune.prompts import PromptIds

READ_AT_ONCE = 1024
"""Tokens of a longer prompt are read in parts of so many, between which running rows go on."""
_FILLED = 64
"""Prompts are read in lengths of multiples of so many: for each length that a processor meets, PyTorch compiles and keeps a megabyte or
two of kernels, without end."""
_COLUMNS = 256
"""Buffers are as long as a multiple of so many columns: growing copies all of them."""


@dataclass
class Reading:
    """A prompt that is being read.

    Args:
        prompt: all of it.
        cache: what was read so far.
        position: of the next token to read.
        logits_v: of the first token to write, once all is read.
    """

    prompt: PromptIds
    cache: Cache | None
    position: int
    logits_v: Tensor | None = None


@dataclass(eq=False)
class Row:
    """One answer in the batch.

    Args:
        prompt: what is answered.
        writing: what is written.
        position: of the next token.
        logits_v: of the next token.
        probe_logodds: log-odds of the probed token to come first.
    """

    prompt: PromptIds
    writing: Writing
    position: int
    logits_v: Tensor
    probe_logodds: float


class RunningBatch:
    """The rows that are answered now.

    Args:
        model: a causal language model of transformers.
        rows: at most so many.
        probe: the id whose log-odds of coming first each row keeps.
    """

    def __init__(self, model: Any, rows: int, probe: int) -> None:
        self._model = model
        self._probe = probe
        self._layers: list[_PlacedLayer] = []
        self._places: list[Row | None] = [None] * rows
        self._held: list[PromptIds | None] = [None] * rows
        """Whose keys and values stand in each place, its row gone or not."""

    @property
    def rows(self) -> list[Row]:
        """Those that are in it, by place."""
        return [row for row in self._places if row is not None]

    @property
    def free(self) -> int:
        """How many more there is room for."""
        return self._places.count(None)

    def forget(self) -> None:
        """Use nothing again of what was read: the weights change."""
        self._held = [None] * len(self._places)

    def begin(self, prompt: PromptIds, prefixes: Prefixes) -> Reading:
        """Begin to read a prompt, behind what was read of it already; ``prefixes`` are these weights', filled by :meth:`read`."""
        past = self._context(prompt)
        if past is not None:
            return Reading(prompt, past, len(prompt.context))
        known = kept_prefix(prompt, prefixes)
        return Reading(prompt, copy_cache(known), prompt.prefix if known is not None else 0)

    def read(self, reading: Reading, prefixes: Prefixes) -> bool:
        """Read a part of a prompt; whether that was the last. A prefix is read apart from the rest, in as many parts as it needs."""
        prompt = reading.prompt
        end = prompt.prefix if reading.position < prompt.prefix else len(prompt.ids)
        ids = prompt.ids[reading.position : end][:READ_AT_ONCE]
        reading.cache, reading.logits_v = read(self._model, ids, reading.cache, self._length(reading.position, len(ids)))
        reading.position += len(ids)
        if reading.position == prompt.prefix:
            keep_prefix(prompt, prefixes, reading.cache)
            reading.cache = copy_cache(reading.cache)
        return reading.position == len(prompt.ids)

    def _length(self, position: int, count: int) -> int:
        """To how many ids so many at a position are filled up: to a multiple, unless the model has no positions for that."""
        length = _rounded(count, _FILLED)
        return length if position + length <= int(self._model.config.get_text_config().max_position_embeddings) else count

    @torch.inference_mode()
    def join(self, reading: Reading, writing: Writing, room: int) -> Row:
        """Lay a prompt that was read into a free place.

        Args:
            reading: of all of it.
            writing: how its tokens are chosen.
            room: tokens that may be written. Most answers end long before: there is room for the first of them, and more as it is needed.
        """
        prompt, cache, logits_v = reading.prompt, reading.cache, reading.logits_v
        assert cache is not None and logits_v is not None  # noqa: S101, PT018 - for the type checker: all of it is read
        place = self._places.index(None)
        self._make_room(place + 1, len(prompt.ids) + min(room, _COLUMNS), cache.layers)
        for layer, part in zip(self._layers, cache.layers, strict=True):
            layer.put(place, part.keys, part.values)
        self._held[place] = prompt
        row = self._places[place] = Row(prompt, writing, len(prompt.ids), logits_v, logodds(logits_v[None], self._probe)[0])
        return row

    def leave(self, row: Row) -> None:
        """Put a row out; its place is free, and the columns that only it needed are given back."""
        self._places[self._places.index(row)] = None
        # Without a row the contexts are kept: whoever comes next may ask of the same one.
        columns = [row.position for row in self.rows] or [len(held.context) for held in self._held if held is not None]
        self._give_back(max(columns, default=0) + 1)

    def choose(self, rows: Sequence[Row], allowed: Sequence[Tensor | None]) -> list[int]:
        """The next token of some of the rows."""
        return choose(torch.stack([row.logits_v for row in rows]), [row.writing for row in rows], allowed)

    @torch.inference_mode()
    def advance(self) -> None:
        """Feed each row the last token that it wrote."""
        self._close_up()
        rows = self.rows
        positions_b = torch.tensor([row.position for row in rows], device=self._model.device)
        width = max(row.position for row in rows) + 1
        self._make_room(len(rows), width, self._layers)
        for layer in self._layers:
            layer.show(positions_b, width)
        output = self._model(
            input_ids=torch.tensor([[row.writing.ids[-1]] for row in rows], device=self._model.device),
            attention_mask=self._mask(positions_b, width),
            position_ids=positions_b[:, None],
            past_key_values=Cache(layers=self._layers),
            use_cache=True,
            logits_to_keep=1,
        )
        for row, logits_v in zip(rows, output.logits[:, -1], strict=True):
            row.position += 1
            row.logits_v = logits_v

    def _context(self, prompt: PromptIds) -> Cache | None:
        """The reading of an equal context, where a place still holds it."""
        if len(prompt.context) <= prompt.prefix:
            return None
        for place, held in enumerate(self._held):
            if held is not None and held.context == prompt.context:
                cache = DynamicCache()
                cache.layers = [layer.part(place, len(prompt.context)) for layer in self._layers]
                return cache
        return None

    def _make_room(self, rows: int, columns: int, like: Sequence[DynamicLayer]) -> None:
        """Buffers for so many rows of so many columns; what they hold is kept, but for too long contexts that no row needs."""
        if not self.rows:
            self._give_back(columns)
        have, length = self._size()
        if have >= rows and length >= columns:
            return
        rows = have if have >= rows else min(2 * rows, len(self._places))
        self._resize(rows, max(length, _rounded(columns)), like)

    def _give_back(self, columns: int) -> None:
        """Cut buffers off that are more than twice as long as so many columns, so that what is copied is less than what is given back."""
        have, length = self._size()
        needed = _rounded(columns)
        if length > 2 * needed:
            self._held = [held if held is not None and len(held.context) <= needed else None for held in self._held]
            self._resize(have, needed, self._layers)

    def _size(self) -> tuple[int, int]:
        """Rows and columns that every layer has; memory may have run out between two of them."""
        shapes = [layer.all_keys.shape for layer in self._layers]
        return min((shape[0] for shape in shapes), default=0), min((shape[2] for shape in shapes), default=0)

    @torch.inference_mode()
    def _resize(self, rows: int, columns: int, like: Sequence[DynamicLayer]) -> None:
        if not self._layers:
            self._layers = [_PlacedLayer(layer.keys, rows, columns, None) for layer in like]
            return
        for index, layer in enumerate(self._layers):  # one by one, so that all of the old and all of the new are never there together
            self._layers[index] = _PlacedLayer(layer.all_keys, rows, columns, layer)

    def _close_up(self) -> None:
        """No place before the last row's is empty."""
        while None in self._places[: self._last() + 1]:
            gap, last = self._places.index(None), self._last()
            row = self._places[last]
            assert row is not None  # noqa: S101 - for the type checker: it is the last row's place
            for layer in self._layers:
                layer.move(last, gap, row.position)
            self._places[gap], self._places[last] = row, None
            self._held[gap] = row.prompt

    def _last(self) -> int:
        return max((place for place, row in enumerate(self._places) if row is not None), default=-1)

    def _mask(self, positions_b: Tensor, width: int) -> Tensor | dict[str, Tensor]:
        """What each row may see, for each kind of layer: ``[b, 1, 1, s]``."""
        config = self._model.config.get_text_config()
        columns_s = torch.arange(width, device=positions_b.device)
        seen_bs = columns_s <= positions_b[:, None]
        window, chunk = getattr(config, "sliding_window", None), getattr(config, "attention_chunk_size", None)
        kinds = set(getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"])
        masks = {}
        for kind in kinds:
            mask_bs = seen_bs
            if kind == "sliding_attention" and window:
                mask_bs = seen_bs & (columns_s > positions_b[:, None] - window)
            if kind == "chunked_attention" and chunk:
                mask_bs = seen_bs & (columns_s >= positions_b[:, None] // chunk * chunk)
            masks[kind] = self._as_wanted(mask_bs[:, None, None])
        return masks if len(masks) > 1 else masks.popitem()[1]

    def _as_wanted(self, mask: Tensor) -> Tensor:
        """Plain attention adds the mask to its scores; PyTorch's own takes it as it is."""
        if self._model.config.get_text_config()._attn_implementation == "sdpa":
            return mask
        dtype = self._model.dtype
        return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)


def _rounded(count: int, unit: int = _COLUMNS) -> int:
    return -(-count // unit) * unit


class _PlacedLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """Keys and values of one model layer in buffers ``[b, h, s, d]``; each row writes at its own column."""

    def __init__(self, like: Tensor, rows: int, columns: int, before: _PlacedLayer | None) -> None:
        super().__init__()
        self.all_keys = like.new_zeros(rows, like.shape[1], columns, like.shape[3])
        self.all_values = torch.zeros_like(self.all_keys)
        if before is not None:
            have, length = min(before.all_keys.shape[0], rows), min(before.all_keys.shape[2], columns)
            self.all_keys[:have, :, :length] = before.all_keys[:have, :, :length]
            self.all_values[:have, :, :length] = before.all_values[:have, :, :length]
        self.dtype, self.device = like.dtype, like.device
        self.is_initialized = True
        self.keys, self.values = self.all_keys, self.all_values

    def show(self, positions_b: Tensor, width: int) -> None:
        """In the next step each row writes at its position, and sees at most ``width`` columns."""
        self._rows, self._positions = torch.arange(len(positions_b), device=positions_b.device), positions_b
        self.keys, self.values = self.all_keys[: len(positions_b), :, :width], self.all_values[: len(positions_b), :, :width]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write one token of each row, and give what is there."""
        self.keys[self._rows, :, self._positions] = key_states[:, :, 0]
        self.values[self._rows, :, self._positions] = value_states[:, :, 0]
        return self.keys, self.values

    def put(self, place: int, keys_1hsd: Tensor, values_1hsd: Tensor) -> None:
        """Lay a prompt's keys and values into a place."""
        self.all_keys[place, :, : keys_1hsd.shape[2]] = keys_1hsd[0]
        self.all_values[place, :, : values_1hsd.shape[2]] = values_1hsd[0]

    def move(self, place: int, to: int, columns: int) -> None:
        """Copy the first columns of a place to another one."""
        self.all_keys[to, :, :columns] = self.all_keys[place, :, :columns]
        self.all_values[to, :, :columns] = self.all_values[place, :, :columns]

    def part(self, place: int, columns: int) -> DynamicLayer:
        """The first columns of a place as a cache of their own, which shares memory until it grows."""
        layer = DynamicLayer()
        layer.dtype, layer.device, layer.is_initialized = self.dtype, self.device, True
        layer.keys, layer.values = self.all_keys[place : place + 1, :, :columns], self.all_values[place : place + 1, :, :columns]
        return layer
