"""Tune a cross-encoder, and an embedder, to rank: both learn from lists of texts of which one answers a question.

The cross-encoder learns which it is (softmax over the list). The embedder learns the cross-encoder's scores of the whole list (Kullback–
Leibler divergence, as in arXiv 2505.19274), or which it is among all texts of a step (InfoNCE). Both write folders that
sentence-transformers loads, and go on after a kill. What is in a list is for others to decide.

The library's own trainers are not used: they want ``datasets`` and ``accelerate``, and their checkpoints are pickled.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from sentence_transformers import CrossEncoder, SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils import logging as transformers_logging

from ragtune.dtype import best_dtype
from ragtune.errors import ModelError, TrainError
from ragtune.types import RankingList
from ragtune.workspace import write_bytes

Loss = Literal["distill", "infonce"]
Item = TypeVar("Item", str, tuple[str, str])
CHECKPOINT_EVERY_S = 60.0
BUCKET = 16
"""Texts that are read at once; those of one step are sorted by length before, so that little is padding."""
TEMPERATURE = 0.05
"""What cosines are divided by before a softmax, as sentence-transformers does by default (its ``scale`` is 20)."""
WEIGHT_DECAY = 0.01
MAX_GRADIENT = 1.0
WARMUP = 0.1
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Args:
        learning_rate: peak; it falls linearly to zero.
        epochs: times that each list is shown.
        batch: lists a step.
        tokens: of question and text together, or of a text; the rest is cut.
        keep: share of the weights before training in those that are written, in [0, 1) (a model soup: Wortsman et al., arXiv 2109.01903).
        seed: of the new layer and the order.
    """

    learning_rate: float
    epochs: int = 1
    batch: int = 8
    tokens: int = 160
    keep: float = 0.0
    seed: int = 0


@dataclass(slots=True)
class RankerRun:
    """Where a run stands, and in the end what it was: ``loss`` is a running mean, in nats a list; ``seconds`` are of all sittings."""

    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    loss: float = 0.0


OnStep = Callable[[RankerRun, float], None]
"""Told of each step, with the seconds that are left."""


def train_reranker(base: Path | str, lists: Sequence[RankingList], output: Path, recipe: Recipe, on_step: OnStep) -> RankerRun:
    """Make a cross-encoder of an embedder's weights and tune it; a killed run goes on.

    Args:
        base: the embedder's folder or id; a new layer gives the score.
        lists: of any lengths.
        output: folder that is written; one that is there is a finished run's. What an interrupted run left beside it is gone on from.
        recipe: see there; ``keep`` is not for a new layer, and passed over.
        on_step: told how it goes on.

    Raises:
        ModelError: no cross-encoder can be made of it.
        TrainError: training diverged, or a checkpoint is damaged or of other settings.
    """
    torch.manual_seed(recipe.seed)
    model = _load(lambda: CrossEncoder(str(base), num_labels=1, device="cpu", local_files_only=isinstance(base, Path)), base)
    network = model.model

    def loss_of(some: Sequence[RankingList], _: Sequence[int]) -> Tensor:
        pairs = [(each.question, text) for each in some for text in each.texts]

        def score(part: Sequence[tuple[str, str]]) -> Tensor:
            asked, shown = [question for question, _ in part], [text for _, text in part]
            encoded = model.tokenizer(asked, shown, padding=True, truncation=True, max_length=recipe.tokens, return_tensors="pt")
            return cast(Tensor, network(**encoded).logits.float().view(-1))

        scores = _in_buckets(pairs, score)
        return torch.stack([-functional.log_softmax(part, 0)[0] for part in torch.split(scores, [len(each.texts) for each in some])]).mean()

    run = _fit(network, lists, loss_of, output, recipe, on_step)
    _write(lambda folder: model.save_pretrained(str(folder)), output)
    return run


def train_embedder(
    base: Path | str,
    lists: Sequence[RankingList],
    scores: Sequence[Sequence[float]] | None,
    output: Path,
    recipe: Recipe,
    on_step: OnStep,
) -> RankerRun:
    """Tune an embedder; a killed run goes on.

    Args:
        base: folder or id.
        lists: see :class:`RankingList`.
        scores: a cross-encoder's for each text of each list, in logits, to distil; ``None`` takes InfoNCE over the step's texts.
        output: folder that is written; what an interrupted run left beside it is gone on from.
        recipe: see there.
        on_step: told how it goes on.

    Raises:
        ModelError: the embedder cannot be loaded.
        TrainError: training diverged, or a checkpoint is damaged or of other settings.
    """
    model = _load(lambda: SentenceTransformer(str(base), device="cpu", local_files_only=isinstance(base, Path)), base)
    before = {name: value.clone() for name, value in model.state_dict().items()} if recipe.keep else {}
    model.max_seq_length = min(recipe.tokens, window := int(model.max_seq_length or recipe.tokens))

    def embed(texts: Sequence[str], *, query: bool) -> Tensor:
        prompt = (model.prompts.get("query" if query else "document") or "") if model.prompts else ""

        def vectors(part: Sequence[str]) -> Tensor:
            return functional.normalize(model(model.preprocess([prompt + text for text in part]))["sentence_embedding"].float(), dim=-1)

        return _in_buckets(texts, vectors)

    def loss_of(some: Sequence[RankingList], places: Sequence[int]) -> Tensor:
        queries_qd = embed([each.question for each in some], query=True)
        texts_nd = embed([text for each in some for text in each.texts], query=False)
        similar_qn = queries_qd @ texts_nd.T / TEMPERATURE
        ends = torch.tensor([len(each.texts) for each in some]).cumsum(0).tolist()
        starts = [0, *ends[:-1]]
        if scores is None:
            similar_qn = similar_qn.masked_fill(_repeated(some, starts), -torch.inf)
            return functional.cross_entropy(similar_qn, torch.tensor(starts))
        losses = []
        for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
            wanted = functional.log_softmax(torch.tensor(scores[places[row]]), 0)
            losses.append(
                functional.kl_div(functional.log_softmax(similar_qn[row, start:end], 0), wanted, log_target=True, reduction="sum")
            )
        return torch.stack(losses).mean()

    run = _fit(model, lists, loss_of, output, recipe, on_step)
    if recipe.keep:
        mixed = {
            name: value.lerp(before[name], recipe.keep) if value.is_floating_point() else value
            for name, value in model.state_dict().items()
        }
        model.load_state_dict(mixed)
    model.max_seq_length = window
    _write(lambda folder: model.save(str(folder)), output)
    return run


def teacher_scores(folder: Path, lists: Sequence[RankingList]) -> list[list[float]]:
    """A cross-encoder's logits for each text of each list."""
    model = _load(lambda: CrossEncoder(str(folder), device="cpu", local_files_only=True), folder)
    pairs = [(each.question, text) for each in lists for text in each.texts]
    flat = model.predict(pairs, activation_fn=nn.Identity(), show_progress_bar=False, convert_to_tensor=True)
    return [part.float().tolist() for part in torch.split(flat, [len(each.texts) for each in lists])]


def _repeated(some: Sequence[RankingList], starts: Sequence[int]) -> Tensor:
    """Where ``[q, n]`` a text of another list is the one that answers a question, as where two questions are of one chunk: no negative."""
    texts = [text for each in some for text in each.texts]
    return torch.tensor([[text == texts[start] and at != start for at, text in enumerate(texts)] for start in starts])


def _load(make: Callable[[], Any], base: Path | str) -> Any:
    try:
        with _quiet():
            return make()
    except (OSError, ValueError) as error:
        raise ModelError(f"{base} cannot be tuned as a retriever ({error}): set embed.model to a sentence-transformers model") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Neither bars nor warnings that a layer is new and an embedder becomes a cross-encoder, which is meant."""
    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    library = logging.getLogger("sentence_transformers")
    before = library.level
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    library.setLevel(logging.ERROR)
    try:
        yield
    finally:
        library.setLevel(before)
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _in_buckets(items: Sequence[Item], read: Callable[[Sequence[Item]], Tensor]) -> Tensor:
    """What is read of each item, in their order."""
    order = sorted(range(len(items)), key=lambda i: sum(map(len, items[i])) if isinstance(items[i], tuple) else len(items[i]))
    parts = [read([items[i] for i in order[start : start + BUCKET]]) for start in range(0, len(order), BUCKET)]
    return torch.cat(parts)[torch.tensor(order).argsort()]


def _fit(
    network: nn.Module,
    lists: Sequence[RankingList],
    loss_of: Callable[[Sequence[RankingList], Sequence[int]], Tensor],
    output: Path,
    recipe: Recipe,
    on_step: OnStep,
) -> RankerRun:
    steps = recipe.epochs * math.ceil(len(lists) / recipe.batch)
    if not steps:
        raise TrainError("there is nothing to tune a retriever on: no question has evidence and other chunks to tell it from")
    trained = _trainable(network)
    optimizer = torch.optim.AdamW([parameter for _, parameter in trained], lr=recipe.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    settings = {**asdict(recipe), "steps": steps}
    run = _restore(checkpoint_of(output), trained, optimizer, settings)
    run.steps = steps
    network.eval()  # without dropout, which costs a tenth of the time and is little needed in an epoch or two
    begun = saved = time.monotonic()
    first, before = run.step, run.seconds
    while run.step < steps:
        places = _places(len(lists), run.step, recipe)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _share(run.step, steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=best_dtype(torch.device("cpu")) == torch.bfloat16):
            loss = loss_of([lists[place] for place in places], places)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_([parameter for _, parameter in trained], MAX_GRADIENT))
        run.step += 1
        value = loss.item()
        if not math.isfinite(value) or not math.isfinite(norm):
            raise TrainError(f"tuning the retriever diverged at step {run.step} of {steps} (loss {value}): lower retriever.learning_rate")
        optimizer.step()
        optimizer.zero_grad()
        run.loss = value if run.step == 1 else 0.95 * run.loss + 0.05 * value
        sitting = time.monotonic() - begun
        run.seconds = before + sitting
        on_step(run, sitting / (run.step - first) * (steps - run.step))
        if time.monotonic() - saved > CHECKPOINT_EVERY_S:
            _keep(checkpoint_of(output), trained, optimizer, run, settings)
            saved = time.monotonic()
    return run


def _places(count: int, step: int, recipe: Recipe) -> list[int]:
    """Which lists a step shows: each epoch in an order of its own."""
    in_epoch = math.ceil(count / recipe.batch)
    epoch, at = divmod(step, in_epoch)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)).tolist()
    return order[at * recipe.batch : (at + 1) * recipe.batch]


def _share(step: int, steps: int) -> float:
    """Of the peak rate: linear warm-up, then linearly to zero."""
    rising = max(1, round(steps * WARMUP))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising))


def _trainable(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """All but the table of tokens: half of a small model's weights, most of which a few thousand questions never touch."""
    tables = [module.weight for module in network.modules() if isinstance(module, nn.Embedding)]
    largest = max(tables, key=lambda table: table.shape[0], default=None)
    for parameter in network.parameters():
        parameter.requires_grad_(parameter is not largest)
    return [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]


def _keep(
    path: Path, trained: Sequence[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer, run: RankerRun, settings: Mapping[str, Any]
) -> None:
    tensors = {}
    for name, parameter in trained:
        if parameter in optimizer.state:  # a pooler that the model does not use has never had a gradient
            tensors[name] = parameter.detach()
            tensors |= {f"{name}:{part}": optimizer.state[parameter][part] for part in _MOMENTS}
    write_bytes(path, save(tensors, metadata={"run": json.dumps(asdict(run)), "settings": json.dumps(settings)}))


def _restore(
    path: Path, trained: Sequence[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer, settings: Mapping[str, Any]
) -> RankerRun:
    if not path.is_file():
        return RankerRun()
    try:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            metadata = file.metadata()
            if json.loads(metadata["settings"]) != settings:
                raise TrainError(f"{path} was left by a run with other settings: remove {path.parent} to start anew")
            known = set(file.keys())
            for name, parameter in trained:
                if name in known:
                    parameter.copy_(file.get_tensor(name))
                    optimizer.state[parameter] = {part: file.get_tensor(f"{name}:{part}") for part in _MOMENTS}
            return RankerRun(**json.loads(metadata["run"]))
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise TrainError(f"the checkpoint {path} cannot be used ({error}): remove it to start the run anew") from None


def checkpoint_of(output: Path) -> Path:
    """Where a run that writes a folder keeps what it needs to go on."""
    return output.with_name(f"{output.name}.checkpoint.safetensors")


def _write(save_to: Callable[[Path], object], output: Path) -> None:
    """A folder is there whole or not at all; then the checkpoint may go."""
    temporary = output.with_name(f"{output.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        save_to(temporary)
    shutil.rmtree(output, ignore_errors=True)
    temporary.replace(output)
    checkpoint_of(output).unlink(missing_ok=True)
