"""What a training run will take, before it begins: memory from the model's shape and its largest batches, and what would make it fit.

What the backward pass keeps was read off the layers of Llama's kind and of :mod:`ragtune.train.lora`; other transformers differ a little.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch

from ragtune.train.load import Method, load_shape, longest_text
from ragtune.train.loss import ROWS
from ragtune.train.rows import cut_padded, separate, width
from ragtune.train.sequences import Encoder, TokenSequence, cut, scores, text_bytes
from ragtune.train.targets import find_targets
from ragtune.types import ContextGroup, TrainForecast

KEPT_SCORES_BYTES = 3 * 2**30
"""Attention probabilities kept for the backward pass, at most; beyond, they are computed twice."""
_LIBRARIES = 250 * 2**20
"""Bytes of code and workspaces that a CPU process takes on its way: kernels, the optimizer, TensorBoard."""
_WORKSPACE = 32 * 2**20
"""Bytes that PyTorch gives cuBLAS to work in on a GPU of Hopper's kind; less on older ones."""
_HEAP = 0.17
"""What a CPU's heap holds beside the activations, as a share of them: free pieces that are too small (benchmarks/README.md)."""
_LOGIT_ROWS = ROWS * 4 * 3
"""Bytes for each word of the vocabulary while the loss is computed, see :mod:`ragtune.train.loss`."""
_GRAPH = 1.45
"""What TensorFlow holds beside what a backward pass needs: SmolLM2-135M took 8.2 GB for passes of 2,048 tokens in float32."""
_LARGEST, _SPREAD = 8, 48
"""Steps that are encoded to find the largest batch, and the number of tokens: all would take as long as a part of the run."""
_SHOWN = 3
_SHORTER = "half of retrieve.k or of prepare.chunk_size"
_MARGIN = 0.9
"""A run of which so much would fit is let go on."""


@dataclass(frozen=True, slots=True)
class How:
    """The settings that memory depends on; see :class:`~ragtune.train.torch.TorchTrainer`.

    ``padded`` is Keras' way: branches are rows of their own with padding, whose attention scores are kept, and layers may have windows.
    """

    method: Method
    rank: int
    dropout: bool
    targets: tuple[str, ...]
    dtype: torch.dtype
    device: torch.device
    recompute: bool
    tokens_per_batch: int
    keeps_weights: bool
    padded: bool = False

    @property
    def computed(self) -> torch.dtype:
        """The format of the forward pass: updates of a whole model are too small for bfloat16, which would round them away."""
        return torch.float32 if self.method == "full" else self.dtype

    @property
    def bytes(self) -> int:
        """Of a number in the forward pass."""
        return self.computed.itemsize


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model. ``adapted`` has the inputs and outputs of each layer that gets an adapter."""

    parameters: int
    layers: int
    hidden: int
    heads: int
    queries: int
    keys: int
    inner: int
    vocabulary: int
    adapted: tuple[tuple[int, int], ...]

    def trained(self, how: How) -> int:
        """Parameters that are trained."""
        if how.method == "full":
            return self.parameters
        return sum(how.rank * (i + o) + (o if how.method == "dora" else 0) for i, o in self.adapted)


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do: a plan's largest steps, and its size. ``tokens`` is an estimate."""

    largest: tuple[tuple[TokenSequence, ...], ...]
    contexts: int
    answers: int
    tokens: int


def predict(
    base: str,
    steps: Sequence[Sequence[ContextGroup]],
    how: How,
    *,
    recompute_where_needed: bool,
    template: str | None = None,
    available: float | None = None,
) -> TrainForecast:
    """What a run would take, but for the time; nothing is loaded.

    Args:
        base: folder or id of the model.
        steps: groups of each.
        how: it is trained.
        recompute_where_needed: layers are computed twice where memory would not suffice otherwise.
        template: of chats; ``None`` is the model's own.
        available: bytes on the device, where PyTorch cannot be asked.

    Raises:
        TrainError: a sequence does not fit the model, or it has no layers of the targets' names.
        ModelError: it cannot be loaded.
    """
    model, tokenizer = load_shape(base, template, windows=how.padded)
    shape = shape_of(model, how.targets)
    work = survey(steps, Encoder(tokenizer, longest_text(model.config.get_text_config(), windows=how.padded)))
    available = available_memory(how.device) if available is None else available
    memory = predict_memory(shape, work.largest, how)
    if recompute_where_needed and _total(memory) > available:
        how = replace(how, recompute=True)
        memory = predict_memory(shape, work.largest, how)
    made = TrainForecast(
        steps=len(steps),
        contexts=work.contexts,
        answers=work.answers,
        tokens=work.tokens,
        batch_tokens=max(_size(batch, how) for step in work.largest for batch in _passes(step, how)),
        parameters=shape.parameters,
        trained=shape.trained(how),
        gradient_checkpointing=how.recompute,
        memory=memory,
        peak=_total(memory),
        memory_available=available,
        fits=_MARGIN * _total(memory) <= available,
        device=str(how.device),
        dtype=str(how.dtype).removeprefix("torch."),
    )
    return made if made.fits else replace(made, remedies=find_remedies(shape, work.largest, how, available))


def shape_of(model: Any, targets: Sequence[str]) -> Shape:
    """The sizes of a model, with or without weights.

    Raises:
        TrainError: it has no layers of the targets' names.
    """
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return Shape(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=int(config.num_hidden_layers),
        hidden=int(config.hidden_size),
        heads=heads,
        queries=heads * size,
        keys=size * int(getattr(config, "num_key_value_heads", None) or heads),
        inner=int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size),
        vocabulary=int(config.vocab_size),
        adapted=tuple((layer.in_features, layer.out_features) for layer, _ in find_targets(model, targets).values()),
    )


def survey(steps: Sequence[Sequence[ContextGroup]], encode: Encoder) -> Work:
    """Look at a plan's steps; only the largest, and some beside them, are encoded."""
    sizes = [[shown + sum(asked) for shown, asked in map(text_bytes, groups)] for groups in steps]
    places = range(len(steps))
    chosen = {
        *sorted(places, key=lambda place: sum(sizes[place]))[-_LARGEST:],
        *sorted(places, key=lambda place: max(sizes[place]))[-_LARGEST:],
    }
    beside = list(places)[:: -(-len(steps) // _SPREAD)]
    encoded = {place: tuple(encode(group) for group in steps[place]) for place in {*chosen, *beside}}
    # Not of the largest steps, which have more text for each of the prompt's own tokens.
    tokens, size = sum(len(each) for place in beside for each in encoded[place]), sum(sum(sizes[place]) for place in beside)
    return Work(
        tuple(encoded[place] for place in sorted(chosen)),
        sum(map(len, steps)),
        sum(len(group.branches) for groups in steps for group in groups),
        round(tokens * sum(map(sum, sizes)) / size),
    )


def predict_memory(shape: Shape, steps: Sequence[Sequence[TokenSequence]], how: How) -> dict[str, float]:
    """Bytes at the peak, by what takes them: in the process on a CPU, on the device elsewhere."""
    trained, whole = shape.trained(how), how.method == "full"
    fixed = {
        "process": _process_memory() + _LIBRARIES if how.device.type == "cpu" else _WORKSPACE,
        "weights": shape.parameters * how.bytes,
        # Float32 with its gradient and two moments; adapters are there in the base's format too.
        "trained": trained * (12 + 4 * how.keeps_weights) if whole else trained * (16 + 4 * how.keeps_weights + how.bytes),
    }
    batches = [_batch_memory(shape, batch, how) for step in steps for batch in _passes(step, how)]
    return fixed | max(batches, key=_total)


def _passes(step: Sequence[TokenSequence], how: How) -> Iterator[list[TokenSequence]]:
    return cut_padded(separate(step), how.tokens_per_batch) if how.padded else cut(step, how.tokens_per_batch)


def _size(batch: Sequence[TokenSequence], how: How) -> int:
    """Tokens that go through the model."""
    return len(batch) * width(batch[0]) if how.padded else sum(map(len, batch))


def _total(memory: dict[str, float]) -> float:
    return sum(memory.values())


def _padded_memory(shape: Shape, batch: Sequence[TokenSequence], how: How) -> dict[str, float]:
    """As the layers of keras-hub's Llama and of :mod:`ragtune.train.keras.lora` keep it."""
    b, tokens, long = how.bytes, _size(batch, how), width(batch[0])
    # Of one token in one layer: two norms in float32, queries, keys and values as heads, and the gate; probabilities are float32.
    token: float = 16 * shape.hidden + b * (2 * shape.hidden + 4 * shape.queries + shape.keys + 4 * shape.inner)
    token += b * how.rank * len(shape.adapted) / shape.layers
    token += sum(i for i, _ in shape.adapted) / shape.layers * (b + 1) if how.dropout else 0
    kept = shape.heads * tokens * long * (4 if b == 4 else 4 + b)
    passing = tokens * (4 * b * shape.inner + 16 * shape.hidden)
    completions = sum(len(branch.completion) for each in batch for branch in each.branches)
    activations = _GRAPH * (shape.layers * (tokens * token + kept) + passing)
    return {"activations": activations, "logits": shape.vocabulary * 4.0 * 3 * completions}


def _batch_memory(shape: Shape, batch: Sequence[TokenSequence], how: How) -> dict[str, float]:
    if how.padded:
        return _padded_memory(shape, batch, how)
    b, tokens = how.bytes, _size(batch, how)
    completions = sum(len(branch.completion) for each in batch for branch in each.branches)
    # Of one token in one layer: two norms in float32, the inputs of four groups of linear layers, queries, keys and values, and the gate.
    token: float = 8 * shape.hidden + b * (2 * shape.hidden + 2 * shape.queries + 2 * shape.keys + 4 * shape.inner)
    adapted = len(shape.adapted) / shape.layers
    if how.method == "full":
        token += b * 2 * shape.hidden
    else:
        token += b * how.rank * adapted
        token += sum(i for i, _ in shape.adapted) / shape.layers * (b + 1) if how.dropout else 0
        token += sum(o for _, o in shape.adapted) / shape.layers * b if how.method == "dora" else 0
    kept = shape.heads * scores(batch) * b
    if how.device.type != "cpu" or kept * shape.layers > KEPT_SCORES_BYTES:
        # PyTorch's kernels keep what they gave; where heads share keys and values, on a GPU those of each head, as they were repeated.
        kept = tokens * (b * shape.queries * (3 if shape.keys < shape.queries else 1) + 4 * shape.heads)
    layer = tokens * token + kept
    passing = tokens * (4 * b * shape.inner + 16 * shape.hidden)
    activations = passing + (shape.layers * tokens * shape.hidden * b + layer if how.recompute else shape.layers * layer)
    heap = {"heap": _HEAP * activations} if how.device.type == "cpu" else {}
    return {"activations": activations, **heap, "logits": shape.vocabulary * (2 * b * completions + _LOGIT_ROWS)}


def find_remedies(shape: Shape, steps: Sequence[Sequence[TokenSequence]], how: How, available: float) -> dict[str, float]:
    """Settings under which a run that does not fit would, the mildest first, with the bytes that it would take."""
    alone = replace(how, tokens_per_batch=1)
    longest = max(_size(batch, alone) for step in steps for batch in _passes(step, alone))
    shorter = [[TokenSequence(each.context[: len(each.context) // 2], each.branches) for each in step] for step in steps]
    twice = () if how.recompute or how.padded else ("train.gradient_checkpointing = true",)
    single = (f"train.tokens_per_batch = {longest}",) if longest < how.tokens_per_batch else ()
    methods: list[tuple[tuple[str, ...], Method]] = [((), how.method)]
    if how.method == "full":
        methods.append((("train.method = lora",), "lora"))
    tried: dict[str, float] = {}
    for words, method in methods:
        for more, cut_short in ((), False), (twice, False), (single, False), (twice + single, False), (twice + single + (_SHORTER,), True):
            changed = replace(
                how,
                method=method,
                recompute=how.recompute or bool({*twice} & {*more}),
                tokens_per_batch=longest if {*single} & {*more} else how.tokens_per_batch,
            )
            tried[" and ".join(words + more)] = _total(predict_memory(shape, shorter if cut_short else steps, changed))
    return dict([(label, peak) for label, peak in tried.items() if label and peak <= available][:_SHOWN])


def available_memory(device: torch.device) -> float:
    """Bytes that this process may have on a device, with what it has already."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
    own = _process_memory()
    free = float(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # a container's limit, of cgroup v2; without one the file says max, or is not there
        group = Path("/sys/fs/cgroup")
        anonymous = next(line for line in (group / "memory.stat").read_text(encoding="ascii").splitlines() if line.startswith("anon "))
        free = min(free, float((group / "memory.max").read_text(encoding="ascii")) - float(anonymous.split()[1]))
    return free + own


def _process_memory() -> float:
    """Bytes that this process has; those that were freed before, as where rates were measured, are given back and not counted."""
    with contextlib.suppress(AttributeError, OSError):  # of the GNU C library alone
        ctypes.CDLL(None).malloc_trim(0)
    return float(psutil.Process().memory_info().rss)


class PeakMemory:
    """The most memory that was in use since this was made; ``None`` where more was before, and that cannot be forgotten."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0.0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak, and nothing else (proc(5))
        except OSError:
            self._before = _high_water()

    def __call__(self) -> float | None:
        """Bytes."""
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device))
        peak = _high_water()
        return peak if peak > self._before else None


def _high_water() -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024.0 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
