"""LoRA tuning on PyTorch: one plain loop, on a CPU or a GPU, that a kill cannot hurt.

The loss of a step is the negative log-likelihood of its completions, summed over tokens and normalised by the answers of the step.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from ragtune.dtype import best_dtype
from ragtune.errors import TrainError
from ragtune.train.batches import Batch, TokenSequence, split_batches, split_steps
from ragtune.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from ragtune.train.load import Loaded, Method, load_base, recompute_layers
from ragtune.train.lora import add_lora
from ragtune.train.loss import batch_loss
from ragtune.train.metrics import Metrics
from ragtune.train.rehearsal import EVERY, TOKENS, rehearsal_texts, straying, text_sequence
from ragtune.types import ContextGroup, TrainResult

EpochGroups: TypeAlias = Callable[[int], Sequence[ContextGroup]]
OnStep: TypeAlias = Callable[[dict[str, float]], None]

CHECKPOINT_EVERY_S = 30.0
"""Seconds between checkpoints: what a kill costs at most."""
_KEPT_SCORES_BYTES = 3 * 2**30
"""Attention probabilities kept for the backward pass, at most; beyond, they are computed twice."""


class TorchTrainer:
    """Fulfils the trainer's contract.

    Args:
        model: folder or Hugging Face id of the base.
        method: adapters as LoRA or DoRA, or the whole model.
        rank: r of the adapters.
        alpha: LoRA scale: the update is multiplied by alpha / rank.
        rslora: by alpha / √rank instead.
        targets: which layers have adapters, see :func:`~ragtune.train.targets.find_targets`.
        dropout: on the adapters' input.
        learning_rate: peak of the cosine schedule, which ends at zero.
        warmup: share of the steps in which the rate rises.
        weight_decay: AdamW's, on the adapters.
        max_grad_norm: longer gradients are shortened to it.
        epochs: passes over the training questions.
        answers_per_step: answers that make one update, at least.
        max_steps: end after so many updates; the schedule ends there too.
        seed: of the initial weights and of dropout.
        dtype: of the frozen base; ``auto`` takes bfloat16 where the hardware multiplies it faster. What is trained is always float32;
            a whole model is written in this format.
        device: of torch; ``None`` takes a GPU where there is one.
        tokens_per_batch: tokens in one pass; ``None`` takes 2,048 on a CPU and 16,384 elsewhere.
        gradient_checkpointing: keep of each layer its input alone for the backward pass, and compute the rest twice.
        validations: how often the validation loss is measured, the end included.
        rehearsal: weight of staying near the base on text of its own (:mod:`ragtune.train.rehearsal`); 0 leaves it out.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        method: Method = "lora",
        rank: int = 16,
        alpha: float = 32.0,
        rslora: bool = False,
        targets: Sequence[str] = (),
        dropout: float = 0.0,
        learning_rate: float = 5e-4,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
        epochs: int = 4,
        answers_per_step: int = 8,
        max_steps: int | None = None,
        seed: int = 0,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        device: str | None = None,
        tokens_per_batch: int | None = None,
        gradient_checkpointing: bool = False,
        validations: int = 3,
        rehearsal: float = 0.0,
    ) -> None:
        if method == "full" and (dropout or rslora or targets):
            raise TrainError("train.dropout, train.rslora and train.targets are of adapters, and train.method = full has none: unset them")
        self._base = str(model)
        self._method, self._recompute = method, gradient_checkpointing
        self._adapters: dict[str, Any] = {"rank": rank, "alpha": alpha, "dropout": dropout, "seed": seed, "rslora": rslora,
                                          "dora": method == "dora", "targets": tuple(targets)}  # fmt: skip
        self._dropout, self._seed = dropout, seed
        self._peak, self._warmup, self._weight_decay, self._max_grad_norm = learning_rate, warmup, weight_decay, max_grad_norm
        self._epochs, self._answers_per_step, self._max_steps = epochs, answers_per_step, max_steps
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype: torch.dtype = best_dtype(self._device) if dtype == "auto" else getattr(torch, dtype)
        self._tokens_per_batch = tokens_per_batch or (2048 if self._device.type == "cpu" else 16384)
        self._validations = validations
        self._rehearsal = rehearsal

    def train(self, epoch_groups: EpochGroups, validation: Sequence[ContextGroup], output: Path, on_step: OnStep) -> TrainResult:
        """Train to the end of the budget, going on from a checkpoint in ``output``.

        Writes ``adapter/`` (of a whole model ``model/``), ``metrics.jsonl`` and ``tensorboard/`` there; the checkpoint stays.

        Args:
            epoch_groups: the groups of an epoch, counted from 0, in the order they are trained; the same at each call.
            validation: groups whose loss is measured.
            output: the model's folder.
            on_step: given each line of metrics.jsonl, with ``steps`` and ``eta_s``.

        Raises:
            TrainError: there is nothing to train on, a sequence does not fit the model, or the loss is no longer a number.
            ModelError: the base cannot be loaded.
        """
        plan = self._plan(epoch_groups)
        loaded = self._load()
        held_out = [loaded.encode(group) for group in validation]
        for _, step in plan:
            for group in step:
                loaded.encode.check(group)
        output.mkdir(parents=True, exist_ok=True)
        if self._rehearsal:
            loaded.texts = rehearsal_texts(loaded.model, loaded.tokenizer, loaded.layers, output, seed=self._seed)
        progress = load_checkpoint(output, loaded.trained, loaded.optimizer, self._settings(len(plan)))
        with contextlib.closing(Metrics(output, progress.step)) as metrics:
            self._loop(loaded, plan, held_out, progress, output, metrics, on_step)
        # Of the finished run, so that a kill costs nothing until whoever calls has noted that it is finished.
        save_checkpoint(output, loaded.trained, loaded.optimizer, progress, self._settings(len(plan)))
        loaded.save(output, self._base, self._dtype)
        return TrainResult(
            steps=len(plan),
            answers=progress.answers,
            tokens=progress.tokens,
            seconds=progress.seconds,
            train_loss=progress.loss,
            validation_loss=progress.validation_loss,
            device=str(self._device),
            dtype=str(self._dtype).removeprefix("torch."),
        )

    def answers_per_second(self, groups: Sequence[ContextGroup], seconds: float = 4.0) -> float:
        """Train on groups for about so many seconds, and throw the result away: the rate that a run on the like of them will have."""
        loaded = self._load()
        sequences = [loaded.encode(group) for group in groups]
        if self._rehearsal:  # any text takes as long as those that the base would write, which takes a while
            ids = (*sequences[0].context, *sequences[0].branches[0].question, *sequences[0].branches[0].completion)[:TOKENS]
            loaded.texts = [text_sequence(ids[:1], ids[1:])]
        answers, spent = self._time(loaded, sequences, seconds)
        return answers / spent

    def _plan(self, epoch_groups: EpochGroups) -> list[tuple[int, list[ContextGroup]]]:
        steps = [(epoch, step) for epoch in range(self._epochs) for step in split_steps(epoch_groups(epoch), self._answers_per_step)]
        if not steps:
            raise TrainError("there is nothing to train on: no question has evidence that was found in the documents")
        return steps[: self._max_steps]

    def _load(self) -> Loaded:
        whole = self._method == "full"
        # Updates of a whole model are too small for bfloat16, which would round them away.
        model, tokenizer = load_base(self._base, self._device, torch.float32 if whole else self._dtype)
        if self._recompute:
            recompute_layers(model)
        layers = {} if whole else add_lora(model, **self._adapters)
        return Loaded(model, tokenizer, layers, self._peak, self._weight_decay)

    def _loop(
        self,
        loaded: Loaded,
        plan: Sequence[tuple[int, list[ContextGroup]]],
        held_out: Sequence[TokenSequence],
        progress: Progress,
        output: Path,
        metrics: Metrics,
        on_step: OnStep,
    ) -> None:
        # Time is spent on contexts more than on answers, so that is what the time left is counted in.
        groups_left = list(itertools.accumulate((len(step) for _, step in reversed(plan)), initial=0))[::-1]
        begun = saved = time.monotonic()
        before, groups_before = progress.seconds, groups_left[progress.step]
        for epoch, groups in plan[progress.step :]:
            line = self._step(loaded, [loaded.encode(group) for group in groups], progress, len(plan))
            if held_out and self._validates(progress.step, len(plan)):
                progress.validation_loss = line["validation_loss"] = self._validate(loaded, held_out)
            sitting = time.monotonic() - begun
            progress.seconds = before + sitting
            line |= {"epoch": epoch + 1, "seconds": progress.seconds, "answers_per_s": progress.answers / progress.seconds}
            metrics.write(line)
            left = groups_left[progress.step]
            on_step({**line, "steps": len(plan), "eta_s": sitting * left / (groups_before - left)})
            if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                save_checkpoint(output, loaded.trained, loaded.optimizer, progress, self._settings(len(plan)))
                saved = time.monotonic()

    def _batches(self, loaded: Loaded, sequences: Sequence[TokenSequence]) -> Iterator[Batch]:
        config = loaded.model.config.get_text_config()
        kept = config.num_hidden_layers * config.num_attention_heads * self._dtype.itemsize
        fused = self._device.type != "cpu"
        for batch in split_batches(sequences, self._tokens_per_batch, fused=fused, max_scores=_KEPT_SCORES_BYTES / kept):
            yield batch.to(self._device, self._dtype)

    def _step(self, loaded: Loaded, sequences: Sequence[TokenSequence], progress: Progress, steps: int) -> dict[str, float]:
        """One update."""
        rate = learning_rate(progress.step, steps, self._peak, self._warmup)
        loss, answers, tokens = self._gradients(loaded, sequences, progress.step)
        norm = float(nn.utils.clip_grad_norm_(loaded.parameters, self._max_grad_norm))
        progress.step += 1
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainError(
                f"training diverged at step {progress.step} of {steps} (loss {loss}, gradient norm {norm}): lower train.learning_rate "
                f"(now {self._peak:g}) and run again"
            )
        loaded.optimizer.param_groups[0]["lr"] = rate
        loaded.optimizer.step()
        loaded.optimizer.zero_grad()
        progress.answers += answers
        progress.tokens += tokens
        # A running mean: one step's few answers say little.
        progress.loss = loss if progress.step == 1 else 0.95 * progress.loss + 0.05 * loss
        return {
            "step": progress.step,
            "loss": loss,
            "learning_rate": rate,
            "gradient_norm": norm,
            "answers": progress.answers,
            "tokens": progress.tokens,
        }

    def _gradients(self, loaded: Loaded, sequences: Sequence[TokenSequence], step: int) -> tuple[float, int, int]:
        """Gradients of a step's loss; the loss, the answers and the tokens."""
        answers = sum(len(sequence.branches) for sequence in sequences)
        loss, tokens = 0.0, 0
        for layer in loaded.layers.values():
            layer.train()
        with torch.random.fork_rng(enabled=self._dropout > 0):
            if self._dropout:
                # The place alone decides what is dropped, so that a resumed run drops the same.
                torch.manual_seed(self._seed * 1_000_003 + step)
            for batch in self._batches(loaded, sequences):
                part = batch_loss(loaded.model, batch) / answers
                part.backward()  # type: ignore[no-untyped-call]
                loss += part.item()
                tokens += batch.tokens
            if loaded.texts and step % EVERY == 0:
                text = loaded.texts[step // EVERY % len(loaded.texts)]
                for batch in self._batches(loaded, [text]):
                    strayed = straying(loaded.model, loaded.layers, batch)
                    (self._rehearsal * EVERY * strayed).backward()  # type: ignore[no-untyped-call]
        return loss, answers, tokens

    def _time(self, loaded: Loaded, sequences: Sequence[TokenSequence], seconds: float) -> tuple[int, float]:
        """Answers trained in the seconds that it took; the first pass, in which memory is found, is not counted."""
        answers = 0
        begun = None
        while True:
            for start in range(0, len(sequences), 4):
                _, more, _ = self._gradients(loaded, sequences[start : start + 4], start // 4)
                now = time.monotonic()
                if begun is None:
                    begun = now
                    continue
                answers += more
                if now - begun > seconds:
                    return answers, now - begun

    def _settings(self, steps: int) -> dict[str, Any]:
        """What a checkpoint must have been made with to be gone on from."""
        return {
            "method": self._method,
            **self._adapters,
            "learning_rate": self._peak,
            "warmup": self._warmup,
            "weight_decay": self._weight_decay,
            "max_grad_norm": self._max_grad_norm,
            "rehearsal": self._rehearsal,
            "steps": steps,
        }

    def _validates(self, step: int, steps: int) -> bool:
        return step == steps or step * self._validations // steps > (step - 1) * self._validations // steps

    @torch.inference_mode()
    def _validate(self, loaded: Loaded, sequences: Sequence[TokenSequence]) -> float:
        """Mean over answers, as in training, without dropout."""
        loaded.model.eval()
        total = sum(batch_loss(loaded.model, batch).item() for batch in self._batches(loaded, sequences))
        return total / sum(len(sequence.branches) for sequence in sequences)


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up, then a cosine to zero; ``step`` counts from 0."""
    rising = max(1, round(steps * warmup))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
