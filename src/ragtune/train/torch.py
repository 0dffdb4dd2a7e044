"""LoRA tuning on PyTorch: one plain loop, on a CPU or a GPU, that a kill cannot hurt.

The loss of a step is the negative log-likelihood of its completions, summed over tokens and normalised by the answers of the step.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from ragtune.dtype import best_dtype
from ragtune.errors import TrainError
from ragtune.protocols import CHECKPOINT
from ragtune.train.batches import Batch, TokenSequence, split_batches, split_steps
from ragtune.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from ragtune.train.load import Loaded, Method, answering, load_base, recompute_layers
from ragtune.train.lora import add_lora
from ragtune.train.loss import batch_loss
from ragtune.train.metrics import Metrics
from ragtune.train.predict import KEPT_SCORES_BYTES, How, PeakMemory, predict
from ragtune.train.rehearsal import EVERY, TOKENS, rehearsal_texts, straying, text_sequence
from ragtune.train.schedule import VALIDATIONS, is_averaged, is_mark, learning_rate
from ragtune.types import ContextGroup, TrainForecast, TrainResult

EpochGroups: TypeAlias = Callable[[int], Sequence[ContextGroup]]
OnStep: TypeAlias = Callable[[dict[str, float]], None]
Watch: TypeAlias = Callable[[Any, Any], float]

CHECKPOINT_EVERY_S = 30.0
"""Seconds between checkpoints: what a kill costs at most."""
_PATIENCE = 20
"""Steps, or a twentieth of a run if that is more, that a loss may be far above its start before the run is stopped."""
_FORWARD = 0.4
"""Time of a validated token, as a share of a trained one's."""
_TIMED, _TIMED_EVERY = 4, 50
"""Steps that are timed before a run, at most; one of so many."""


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
        gradient_checkpointing: keep of each layer its input alone for the backward pass, and compute the rest twice; ``auto`` does where
            memory would not suffice otherwise.
        average_checkpoints: give the mean of the weights at so many steps, a twentieth of the run apart, the last among them.
        validations: how often the validation loss is measured, the end included.
        rehearsal: weight of staying near the base on text of its own (:mod:`ragtune.train.rehearsal`); 0 leaves it out.
        template: Jinja text of a chat template; ``None`` is the model's own.
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
        gradient_checkpointing: bool | Literal["auto"] = "auto",
        average_checkpoints: int = 0,
        validations: int = VALIDATIONS,
        rehearsal: float = 0.0,
        template: str | None = None,
    ) -> None:
        if method == "full" and (dropout or rslora or targets):
            raise TrainError("train.dropout, train.rslora and train.targets are of adapters, and train.method = full has none: unset them")
        self._base = str(model)
        self._method, self._recompute, self._average = method, gradient_checkpointing, average_checkpoints
        self._adapters: dict[str, Any] = {"rank": rank, "alpha": alpha, "dropout": dropout, "seed": seed, "rslora": rslora,
                                          "dora": method == "dora", "targets": tuple(targets)}  # fmt: skip
        self._dropout, self._seed = dropout, seed
        self._peak, self._warmup, self._weight_decay, self._max_grad_norm = learning_rate, warmup, weight_decay, max_grad_norm
        self._epochs, self._answers_per_step, self._max_steps = epochs, answers_per_step, max_steps
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype: torch.dtype = best_dtype(self._device) if dtype == "auto" else getattr(torch, dtype)
        # Updates of a whole model are too small for bfloat16, which would round them away.
        self._computed = torch.float32 if method == "full" else self._dtype
        self._tokens_per_batch = tokens_per_batch or (2048 if self._device.type == "cpu" else 16384)
        self._how = How(
            method,
            rank,
            dropout > 0,
            tuple(targets),
            self._dtype,
            self._device,
            gradient_checkpointing is True,
            self._tokens_per_batch,
            average_checkpoints > 0,
        )
        self._validations = validations
        self._rehearsal = rehearsal
        self._template = template

    def train(
        self,
        epoch_groups: EpochGroups,
        validation: Sequence[ContextGroup],
        output: Path,
        on_step: OnStep,
        watch: Watch | None = None,
    ) -> TrainResult:
        """Train to the end of the budget, going on from a checkpoint in ``output``.

        Writes ``adapter/`` (of a whole model ``model/``), ``metrics.jsonl`` and ``tensorboard/`` there; the checkpoint stays.

        Args:
            epoch_groups: the groups of an epoch, counted from 0, in the order they are trained; the same at each call.
            validation: groups whose loss is measured.
            output: the model's folder.
            on_step: given each line of metrics.jsonl, with ``steps`` and ``eta_s``.
            watch: has the model answer questions whenever the loss is measured, and gives their mean F1.

        Raises:
            TrainError: there is nothing to train on, a sequence does not fit the model, there is too little memory, or the loss is no
                longer a number or stays far above its start.
            ModelError: the base cannot be loaded.
        """
        plan = self._plan(epoch_groups)
        peak = PeakMemory(self._device)
        expected = self._predict(plan)
        if not expected.fits:
            raise TrainError(expected.refusal)
        loaded = self._load(expected.gradient_checkpointing)
        held_out = [loaded.encode(group) for group in validation]
        for _, step in plan:
            for group in step:
                loaded.encode.check(group)
        output.mkdir(parents=True, exist_ok=True)
        if self._rehearsal:
            loaded.texts = rehearsal_texts(loaded.model, loaded.tokenizer, loaded.layers, output, seed=self._seed)
        progress = load_checkpoint(output, loaded, self._settings(len(plan)))
        if not progress.step and len(plan) >= _TIMED_EVERY:
            progress.predicted_seconds, progress.start = self._try(loaded, plan, expected.tokens, held_out)
        with contextlib.closing(Metrics(output, progress.step)) as metrics:
            self._loop(loaded, plan, held_out, progress, output, metrics, on_step, watch)
        if progress.averaged:
            loaded.take_means()
            progress.validation_loss = self._validate(loaded, held_out) if held_out else None
        progress.peak_memory = max(filter(None, (peak(), progress.peak_memory)), default=None)
        # Of the finished run, so that a kill costs nothing until whoever calls has noted that it is finished.
        save_checkpoint(output, loaded, progress, self._settings(len(plan)))
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
            predicted_seconds=progress.predicted_seconds,
            predicted_memory=expected.peak,
            peak_memory=progress.peak_memory,
        )

    def forecast(self, epoch_groups: EpochGroups, validation: Sequence[ContextGroup]) -> TrainForecast:
        """What :meth:`train` would take: memory from the model's shape, time from a few steps where it fits; nothing is kept.

        Raises:
            TrainError: there is nothing to train on, or a sequence does not fit the model.
            ModelError: the base cannot be loaded.
        """
        plan = self._plan(epoch_groups)
        expected = self._predict(plan)
        if not expected.fits:
            return expected
        loaded = self._load(expected.gradient_checkpointing)
        held_out = [loaded.encode(group) for group in validation]
        return replace(expected, seconds=self._try(loaded, plan, expected.tokens, held_out)[0])

    def answers_per_second(self, groups: Sequence[ContextGroup], seconds: float = 4.0) -> float:
        """Train on groups for about so many seconds, and throw the result away: the rate that a run on the like of them will have."""
        loaded = self._load()
        sequences = [loaded.encode(group) for group in groups]
        self._rehearse_anything(loaded, sequences[0])
        answers, spent = self._time(loaded, sequences, seconds)
        return answers / spent

    def _plan(self, epoch_groups: EpochGroups) -> list[tuple[int, list[ContextGroup]]]:
        steps = [(epoch, step) for epoch in range(self._epochs) for step in split_steps(epoch_groups(epoch), self._answers_per_step)]
        if not steps:
            raise TrainError("there is nothing to train on: no question has evidence that was found in the documents")
        return steps[: self._max_steps]

    def _predict(self, plan: Sequence[tuple[int, list[ContextGroup]]]) -> TrainForecast:
        where_needed = self._recompute == "auto"
        return predict(self._base, [step for _, step in plan], self._how, recompute_where_needed=where_needed, template=self._template)

    def _load(self, recompute: bool | None = None) -> Loaded:
        model, tokenizer = load_base(self._base, self._device, self._computed, self._template)
        if self._how.recompute if recompute is None else recompute:
            recompute_layers(model)
        layers = {} if self._method == "full" else add_lora(model, **self._adapters)
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
        watch: Watch | None,
    ) -> None:
        # Time is spent on contexts more than on answers, so that is what the time left is counted in.
        groups_left = list(itertools.accumulate((len(step) for _, step in reversed(plan)), initial=0))[::-1]
        begun = saved = time.monotonic()
        pause = CHECKPOINT_EVERY_S
        before, groups_before = progress.seconds, groups_left[progress.step]
        for epoch, groups in plan[progress.step :]:
            line = self._step(loaded, [loaded.encode(group) for group in groups], progress, len(plan))
            self._check(progress, len(plan), output)
            if held_out and is_mark(progress.step, len(plan), self._validations):
                progress.validation_loss = line["validation_loss"] = self._validate(loaded, held_out)
                if watch is not None:
                    with answering(loaded.model):
                        line["validation_f1"] = watch(loaded.model, loaded.tokenizer)
            if is_averaged(progress.step, len(plan), self._average):
                progress.averaged += 1
                loaded.average(progress.averaged)
            sitting = time.monotonic() - begun
            progress.seconds = before + sitting
            line |= {"epoch": epoch + 1, "seconds": progress.seconds, "answers_per_s": progress.answers / progress.seconds}
            metrics.write(line)
            left = groups_left[progress.step]
            on_step({**line, "steps": len(plan), "eta_s": sitting * left / (groups_before - left)})
            if progress.sound and time.monotonic() - saved > pause:
                writing = time.monotonic()
                save_checkpoint(output, loaded, progress, self._settings(len(plan)))
                saved = time.monotonic()
                # A whole model's takes a while: not more than a twentieth of the time is spent on it.
                pause = max(CHECKPOINT_EVERY_S, 20 * (saved - writing)) if saved - writing > 1 else CHECKPOINT_EVERY_S

    def _check(self, progress: Progress, steps: int, output: Path) -> None:
        """Stop a run whose loss has long been far above its start."""
        if progress.high < max(_PATIENCE, steps // 20):
            return
        kept = f"; the checkpoint in {output} is from before" if (output / CHECKPOINT).is_file() else ""
        raise TrainError(
            f"training diverged: for {progress.high} steps, up to step {progress.step} of {steps}, the loss (now {progress.loss:.2f}) was "
            f"far above that of the start ({progress.start:.2f}): lower train.learning_rate (now {self._peak:g}), or raise train.warmup "
            f"or train.answers_per_step, and run again{kept}"
        )

    def _batches(self, loaded: Loaded, sequences: Sequence[TokenSequence]) -> Iterator[Batch]:
        config = loaded.model.config.get_text_config()
        kept = config.num_hidden_layers * config.num_attention_heads * self._how.bytes
        fused = self._device.type != "cpu"
        for batch in split_batches(sequences, self._tokens_per_batch, fused=fused, max_scores=KEPT_SCORES_BYTES / kept):
            yield batch.to(self._device, self._computed)

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
        progress.observe(loss)
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

    def _rehearse_anything(self, loaded: Loaded, sequence: TokenSequence) -> None:
        """Where time alone is asked for: any text takes as long as those of the base, which takes a while to write them."""
        if self._rehearsal:
            ids = (*sequence.context, *sequence.branches[0].question, *sequence.branches[0].completion)[:TOKENS]
            loaded.texts = [text_sequence(ids[:1], ids[1:])]

    def _try(
        self, loaded: Loaded, plan: Sequence[tuple[int, list[ContextGroup]]], tokens: int, held_out: Sequence[TokenSequence]
    ) -> tuple[float, float]:
        """Seconds that a run will take and the loss that it starts with, from a few of its steps, whose gradients are thrown away.

        One more before is not timed, for memory is found in it.
        """
        count = max(1, min(_TIMED, len(plan) // _TIMED_EVERY))
        chosen = [[loaded.encode(group) for group in plan[len(plan) * (2 * n + 1) // (2 * count)][1]] for n in range(count)]
        if not loaded.texts:
            self._rehearse_anything(loaded, chosen[0][0])
        self._gradients(loaded, chosen[0], 0)
        begun = time.monotonic()
        tried = [self._gradients(loaded, sequences, step) for step, sequences in enumerate(chosen)]
        spent = time.monotonic() - begun
        loaded.optimizer.zero_grad()
        timed = sum(tokens for _, _, tokens in tried)
        seconds = spent / timed * (tokens + _FORWARD * self._validations * sum(map(len, held_out)))
        return seconds, sum(loss for loss, _, _ in tried) / count

    def _settings(self, steps: int) -> dict[str, Any]:
        """What a checkpoint must have been made with to be gone on from."""
        return {
            "method": self._method,
            "average": self._average,
            **self._adapters,
            "learning_rate": self._peak,
            "warmup": self._warmup,
            "weight_decay": self._weight_decay,
            "max_grad_norm": self._max_grad_norm,
            "rehearsal": self._rehearsal,
            "steps": steps,
        }

    @torch.inference_mode()
    def _validate(self, loaded: Loaded, sequences: Sequence[TokenSequence]) -> float:
        """Mean over answers, as in training, without dropout."""
        loaded.model.eval()
        total = sum(batch_loss(loaded.model, batch).item() for batch in self._batches(loaded, sequences))
        return total / sum(len(sequence.branches) for sequence in sequences)
