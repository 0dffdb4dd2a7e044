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
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from ragtune.dtype import best_dtype
from ragtune.errors import ModelError, TrainError
from ragtune.prompts import Tokenizer
from ragtune.templates import load_tokenizer
from ragtune.train import attention
from ragtune.train.batches import Batch, Encoder, TokenSequence, split_batches, split_steps
from ragtune.train.checkpoint import Progress, load_checkpoint, named_parameters, save_checkpoint
from ragtune.train.lora import LoRALinear, add_lora, save_adapter
from ragtune.train.loss import batch_loss
from ragtune.train.metrics import Metrics
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
        rank: r of the adapters.
        alpha: LoRA scale: the update is multiplied by alpha / rank.
        dropout: on the adapters' input.
        learning_rate: peak of the cosine schedule, which ends at zero.
        warmup: share of the steps in which the rate rises.
        weight_decay: AdamW's, on the adapters.
        max_grad_norm: longer gradients are shortened to it.
        epochs: passes over the training questions.
        answers_per_step: answers that make one update, at least.
        max_steps: end after so many updates; the schedule ends there too.
        seed: of the initial weights and of dropout.
        dtype: of the frozen base; ``auto`` takes bfloat16 where the hardware multiplies it faster. Adapters are always float32.
        device: of torch; ``None`` takes a GPU where there is one.
        tokens_per_batch: tokens in one pass; ``None`` takes 2,048 on a CPU and 16,384 elsewhere.
        validations: how often the validation loss is measured, the end included.
        template: Jinja text of a chat template; ``None`` is the model's own.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        rank: int = 16,
        alpha: float = 32.0,
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
        validations: int = 3,
        template: str | None = None,
    ) -> None:
        self._template = template
        self._base = str(model)
        self._rank, self._alpha, self._dropout, self._seed = rank, alpha, dropout, seed
        self._peak, self._warmup, self._weight_decay, self._max_grad_norm = learning_rate, warmup, weight_decay, max_grad_norm
        self._epochs, self._answers_per_step, self._max_steps = epochs, answers_per_step, max_steps
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype: torch.dtype = best_dtype(self._device) if dtype == "auto" else getattr(torch, dtype)
        self._tokens_per_batch = tokens_per_batch or (2048 if self._device.type == "cpu" else 16384)
        self._validations = validations

    def train(self, epoch_groups: EpochGroups, validation: Sequence[ContextGroup], output: Path, on_step: OnStep) -> TrainResult:
        """Train to the end of the budget, going on from a checkpoint in ``output``.

        Writes ``adapter/``, ``metrics.jsonl`` and ``tensorboard/`` there; the checkpoint stays.

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
        progress = load_checkpoint(output, loaded.layers, loaded.optimizer, self._settings(len(plan)))
        with contextlib.closing(Metrics(output, progress.step)) as metrics:
            self._loop(loaded, plan, held_out, progress, output, metrics, on_step)
        # Of the finished run, so that a kill costs nothing until whoever calls has noted that it is finished.
        save_checkpoint(output, loaded.layers, loaded.optimizer, progress, self._settings(len(plan)))
        save_adapter(output / "adapter", loaded.layers, self._base)
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
        answers, spent = self._time(loaded, sequences, seconds)
        return answers / spent

    def _plan(self, epoch_groups: EpochGroups) -> list[tuple[int, list[ContextGroup]]]:
        steps = [(epoch, step) for epoch in range(self._epochs) for step in split_steps(epoch_groups(epoch), self._answers_per_step)]
        if not steps:
            raise TrainError("there is nothing to train on: no question has evidence that was found in the documents")
        return steps[: self._max_steps]

    def _load(self) -> _Loaded:
        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            tokenizer = load_tokenizer(self._base, self._template)
            model = AutoModelForCausalLM.from_pretrained(
                self._base, dtype=self._dtype, use_safetensors=True, attn_implementation=attention.NAME
            )
        except (OSError, ValueError, KeyError) as error:
            reason = (str(error).strip().splitlines() or [repr(error)])[0]
            raise ModelError(
                f"the model {self._base} cannot be loaded ({reason}): check model.base, or run 'ragtune models list'"
            ) from error
        finally:
            if bars:
                transformers_logging.enable_progress_bar()
        config = model.config.get_text_config()
        windows = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
        if windows:
            raise ModelError(
                f"model {self._base} has layers that cannot be trained here ({', '.join(sorted(windows))}): choose another model.base"
            )
        # In evaluation mode the base has no dropout of its own; the adapters' is switched on in a step.
        model = model.to(self._device).eval()
        layers = add_lora(model, rank=self._rank, alpha=self._alpha, dropout=self._dropout, seed=self._seed)
        return _Loaded(model, tokenizer, layers, self._peak, self._weight_decay)

    def _loop(
        self,
        loaded: _Loaded,
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
                save_checkpoint(output, loaded.layers, loaded.optimizer, progress, self._settings(len(plan)))
                saved = time.monotonic()

    def _batches(self, loaded: _Loaded, sequences: Sequence[TokenSequence]) -> Iterator[Batch]:
        config = loaded.model.config.get_text_config()
        kept = config.num_hidden_layers * config.num_attention_heads * self._dtype.itemsize
        fused = self._device.type != "cpu"
        for batch in split_batches(sequences, self._tokens_per_batch, fused=fused, max_scores=_KEPT_SCORES_BYTES / kept):
            yield batch.to(self._device, self._dtype)

    def _step(self, loaded: _Loaded, sequences: Sequence[TokenSequence], progress: Progress, steps: int) -> dict[str, float]:
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

    def _gradients(self, loaded: _Loaded, sequences: Sequence[TokenSequence], step: int) -> tuple[float, int, int]:
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
        return loss, answers, tokens

    def _time(self, loaded: _Loaded, sequences: Sequence[TokenSequence], seconds: float) -> tuple[int, float]:
        """Answers trained in the seconds that it took; the first pass, in which memory is found, is not counted."""
        answers = 0
        begun = None
        while True:
            for start in range(0, len(sequences), 4):
                _, more, _ = self._gradients(loaded, sequences[start : start + 4], 0)
                now = time.monotonic()
                if begun is None:
                    begun = now
                    continue
                answers += more
                if now - begun > seconds:
                    return answers, now - begun

    def _settings(self, steps: int) -> dict[str, float]:
        """What a checkpoint must have been made with to be gone on from."""
        return {
            "rank": self._rank,
            "alpha": self._alpha,
            "dropout": self._dropout,
            "seed": self._seed,
            "learning_rate": self._peak,
            "warmup": self._warmup,
            "weight_decay": self._weight_decay,
            "max_grad_norm": self._max_grad_norm,
            "steps": steps,
        }

    def _validates(self, step: int, steps: int) -> bool:
        return step == steps or step * self._validations // steps > (step - 1) * self._validations // steps

    @torch.inference_mode()
    def _validate(self, loaded: _Loaded, sequences: Sequence[TokenSequence]) -> float:
        """Mean over answers, as in training, without dropout."""
        loaded.model.eval()
        total = sum(batch_loss(loaded.model, batch).item() for batch in self._batches(loaded, sequences))
        return total / sum(len(sequence.branches) for sequence in sequences)


class _Loaded:
    """A base with fresh adapters, and what trains them."""

    def __init__(self, model: Any, tokenizer: Tokenizer, layers: dict[str, LoRALinear], peak: float, weight_decay: float) -> None:
        self.model = model
        self.layers = layers
        self.parameters = [parameter for _, parameter in named_parameters(layers)]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=peak, weight_decay=weight_decay, fused=True)
        self.encode = Encoder(tokenizer, int(model.config.get_text_config().max_position_embeddings))


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up, then a cosine to zero; ``step`` counts from 0."""
    rising = max(1, round(steps * warmup))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
