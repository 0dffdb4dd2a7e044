"""LoRA tuning on PyTorch: one plain loop, on a CPU or a GPU, that a kill cannot hurt.

The loss of a step is the mean over its answers of each answer's mean negative log-likelihood per completion token. The output head, the
dearest layer of a small model, runs at completion positions only.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from ragtune.errors import ModelError, TrainError
from ragtune.prompts import Tokenizer
from ragtune.train.batches import Batch, Encoder, split_batches, split_steps
from ragtune.train.checkpoint import FILE, load_checkpoint, named_parameters, save_checkpoint
from ragtune.train.lora import LoRALinear, add_lora, save_adapter
from ragtune.types import ContextGroup, TrainResult
from ragtune.workspace import write_bytes

CHECKPOINT_EVERY_S = 30.0
VALIDATIONS = 4
_MAX_GRAD_NORM = 1.0

EpochGroups = Callable[[int], Sequence[ContextGroup]]


class TorchTrainer:
    """Fulfils the trainer's contract.

    Args:
        model: folder or Hugging Face id of the base.
        rank: r of the adapters.
        alpha: LoRA scale.
        dropout: on the adapters' input.
        learning_rate: peak of the cosine schedule, which ends at zero.
        warmup: share of the steps in which the rate rises.
        epochs: passes over the training questions.
        answers_per_step: answers that make one update.
        seed: of the initial weights and of dropout.
        dtype: of the frozen base; ``auto`` takes bfloat16 where the hardware multiplies it faster.
        device: of torch; ``None`` takes a GPU where there is one.
        tokens_per_batch: padded tokens in one pass; ``None`` takes 2,048 on a CPU and 16,384 elsewhere.
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
        epochs: int = 4,
        answers_per_step: int = 8,
        seed: int = 0,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        device: str | None = None,
        tokens_per_batch: int | None = None,
    ) -> None:
        self._base = str(model)
        self._rank, self._alpha, self._dropout, self._seed = rank, alpha, dropout, seed
        self._learning_rate, self._warmup, self._epochs, self._answers_per_step = learning_rate, warmup, epochs, answers_per_step
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = best_dtype(self._device) if dtype == "auto" else getattr(torch, dtype)
        self._tokens_per_batch = tokens_per_batch or (2048 if self._device.type == "cpu" else 16384)

    def train(
        self,
        epoch_groups: EpochGroups,
        validation: Sequence[ContextGroup],
        output: Path,
        on_step: Callable[[dict[str, float]], None],
    ) -> TrainResult:
        """Train to the end of the budget, going on from a checkpoint in ``output``; writes ``output/adapter/`` and ``metrics.jsonl``.

        Raises:
            TrainError: there is nothing to train on, a sequence does not fit the model, or the loss is no longer a number.
        """
        steps = [(epoch, step) for epoch in range(self._epochs) for step in split_steps(epoch_groups(epoch), self._answers_per_step)]
        if not steps:
            raise TrainError("there is nothing to train on: no question has evidence that was found in the documents")
        model, tokenizer = self._load()
        layers = add_lora(model, rank=self._rank, alpha=self._alpha, dropout=self._dropout, seed=self._seed)
        parameters = [parameter for _, parameter in named_parameters(layers)]
        optimizer = torch.optim.AdamW(parameters, lr=self._learning_rate, weight_decay=0.0)
        encode = Encoder(tokenizer, int(model.config.get_text_config().max_position_embeddings))
        held_out = [encode(group) for group in validation]
        output.mkdir(parents=True, exist_ok=True)
        state = load_checkpoint(output, layers, optimizer) or {
            "step": 0, "answers": 0, "tokens": 0, "seconds": 0.0, "loss": 0.0, "validation_loss": None,
        }  # fmt: skip
        metrics = Metrics(output, state["step"])
        run = _Run(self, model, layers, optimizer, output, state, metrics)
        validate_at = {math.ceil(len(steps) * part / VALIDATIONS) for part in range(1, VALIDATIONS + 1)}
        begun = time.monotonic() - state["seconds"]
        saved = time.monotonic()
        for number in range(state["step"], len(steps)):
            epoch, groups = steps[number]
            line = run.step(number, len(steps), epoch, list(split_batches([encode(group) for group in groups], self._tokens_per_batch)))
            if number + 1 in validate_at and held_out:
                state["validation_loss"] = line["validation_loss"] = self._validate(model, held_out)
            state["seconds"] = line["seconds"] = time.monotonic() - begun
            line["answers_per_s"] = state["answers"] / state["seconds"]
            line["eta_s"] = (len(steps) - number - 1) * state["seconds"] / (number + 1)
            metrics.write(line)
            on_step(line)
            if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                save_checkpoint(output, layers, optimizer, state)
                saved = time.monotonic()
        save_checkpoint(output, layers, optimizer, state)
        metrics.close()
        save_adapter(output / "adapter", layers, self._base)
        (output / FILE).unlink()
        return TrainResult(
            steps=len(steps),
            answers=state["answers"],
            tokens=state["tokens"],
            seconds=state["seconds"],
            train_loss=state["loss"],
            validation_loss=state["validation_loss"],
            device=str(self._device),
            dtype=str(self._dtype).removeprefix("torch."),
        )

    def answers_per_second(self, groups: Sequence[ContextGroup], seconds: float = 4.0) -> float:
        """Train some steps on groups for about so many seconds, and throw the result away: the rate that a run here will have."""
        model, tokenizer = self._load()
        layers = add_lora(model, rank=self._rank, alpha=self._alpha, dropout=self._dropout, seed=self._seed)
        encode = Encoder(tokenizer, int(model.config.get_text_config().max_position_embeddings))
        batches = list(split_batches([encode(group) for group in groups], self._tokens_per_batch))
        answers = 0
        begun = time.monotonic()
        while True:
            for batch in batches:
                torch.autograd.backward(batch_loss(model, batch.to(self._device)) / batch.answers)
                answers += batch.answers
                if time.monotonic() - begun > seconds:
                    del layers
                    return answers / (time.monotonic() - begun)

    def _load(self) -> tuple[Any, Tokenizer]:
        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._base)
            model = AutoModelForCausalLM.from_pretrained(self._base, dtype=self._dtype, attn_implementation="sdpa")
        except (OSError, ValueError) as error:
            raise ModelError(f"the model {self._base} cannot be loaded ({error}): check model.base, or run 'ragtune models list'") from None
        finally:
            if bars:
                transformers_logging.enable_progress_bar()
        return model.to(self._device).train(), tokenizer

    @torch.inference_mode()
    def _validate(self, model: Any, sequences: Sequence[Any]) -> float:
        model.eval()
        total, answers = 0.0, 0
        for batch in split_batches(sequences, self._tokens_per_batch):
            total += float(batch_loss(model, batch.to(self._device)))
            answers += batch.answers
        model.train()
        return total / answers


class _Run:
    """One training run's moving parts."""

    def __init__(
        self,
        trainer: TorchTrainer,
        model: Any,
        layers: dict[str, LoRALinear],
        optimizer: torch.optim.AdamW,
        output: Path,
        state: dict[str, Any],
        metrics: Metrics,
    ) -> None:
        self._trainer, self._model, self._layers, self._optimizer = trainer, model, layers, optimizer
        self._output, self._state, self._metrics = output, state, metrics

    def step(self, number: int, steps: int, epoch: int, batches: Sequence[Batch]) -> dict[str, float]:
        """One update; the place alone decides the draws of dropout, so that a resumed run repeats them."""
        trainer = self._trainer
        torch.manual_seed((trainer._seed << 32) + number)
        rate = learning_rate(number, steps, trainer._learning_rate, trainer._warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        answers = sum(batch.answers for batch in batches)
        loss = 0.0
        for batch in batches:
            part = batch_loss(self._model, batch.to(trainer._device)) / answers
            torch.autograd.backward(part)
            loss += float(part.detach())
        norm = float(nn.utils.clip_grad_norm_([p for _, p in named_parameters(self._layers)], _MAX_GRAD_NORM))
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainError(
                f"training diverged at step {number + 1} of {steps} (loss {loss}, gradient norm {norm}): lower train.learning_rate "
                f"(now {trainer._learning_rate:g}), and remove {self._output} to start anew"
            )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        tokens = sum(batch.tokens for batch in batches)
        self._state["step"] = number + 1
        self._state["answers"] += answers
        self._state["tokens"] += tokens
        # A running mean: one step's few answers say little.
        self._state["loss"] = loss if number == 0 else 0.95 * self._state["loss"] + 0.05 * loss
        return {
            "step": number + 1, "steps": steps, "epoch": epoch + 1, "loss": loss, "learning_rate": rate, "gradient_norm": norm,
            "answers": self._state["answers"], "tokens": self._state["tokens"],
        }  # fmt: skip


class Metrics:
    """metrics.jsonl and TensorBoard's event file; what a killed run wrote after its last checkpoint is cut off.

    Args:
        output: the model's folder.
        step: of the checkpoint that the run goes on from.
    """

    def __init__(self, output: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = output / "metrics.jsonl"
        kept = []
        if step and self._path.is_file():
            for text in self._path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(text)["step"] <= step:
                        kept.append(text + "\n")
                except (ValueError, KeyError):
                    break  # the line that the kill tore
        write_bytes(self._path, "".join(kept).encode())
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(output / "tensorboard"), purge_step=step + 1 if step else None)  # type: ignore[no-untyped-call]

    def write(self, line: dict[str, float]) -> None:
        """One step's figures."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name in ("loss", "learning_rate", "gradient_norm", "validation_loss"):
            if name in line:
                self._board.add_scalar(name, line[name], line["step"])  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Write what is buffered."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._board.close()  # type: ignore[no-untyped-call]


def batch_loss(model: Any, batch: Batch) -> Tensor:
    """Sum over the batch's answers of each answer's mean negative log-likelihood per completion token, in nats."""
    hidden_btd = model.get_decoder()(
        input_ids=batch.ids_bt, position_ids=batch.positions_bt, attention_mask=batch.mask_b1tt, use_cache=False
    ).last_hidden_state
    logits_cv = model.get_output_embeddings()(hidden_btd.flatten(0, 1)[batch.at_c])
    losses_c = nn.functional.cross_entropy(logits_cv.float(), batch.targets_c, reduction="none")
    lengths_a = torch.bincount(batch.answer_c, minlength=batch.answers)
    return (losses_c / lengths_a[batch.answer_c]).sum()


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up, then a cosine to zero; ``step`` counts from 0."""
    rising = max(1, round(steps * warmup))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it faster than float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    return torch.bfloat16 if "avx512_bf16" in flags or "amx_bf16" in flags else torch.float32
