"""LoRA tuning on PyTorch, on a CPU or a GPU.

The loss of a step is the negative log-likelihood of its completions, summed over tokens and normalised by the answers of the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from ragtune.dtype import best_dtype
from ragtune.errors import TrainError
from ragtune.train import loop
from ragtune.train.learner import TorchLearner
from ragtune.train.load import Method, load_base, recompute_layers
from ragtune.train.loop import Course, EpochGroups, OnPrepare, OnStep, Watch
from ragtune.train.lora import add_lora
from ragtune.train.predict import How, PeakMemory, predict
from ragtune.train.rehearsal import writing_seconds
from ragtune.train.schedule import validations as usual_validations
from ragtune.types import ContextGroup, TrainForecast, TrainResult


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
        early_stopping: stop once the validation loss was measured so often in a row without being the lowest, and give the weights of the
            lowest; 0 trains to the end.
        validations: how often the validation loss is measured, the end included; ``None`` is three times, ten where it may stop the run.
        rehearsal: weight of staying near the base on text of its own (:mod:`ragtune.train.rehearsal`); 0 leaves it out.
        template: Jinja text of a chat template; ``None`` is the model's own.
    """

    recomputes = True

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
        early_stopping: int = 0,
        validations: int | None = None,
        rehearsal: float = 0.0,
        template: str | None = None,
    ) -> None:
        if method == "full" and (dropout or rslora or targets):
            raise TrainError("train.dropout, train.rslora and train.targets are of adapters, and train.method = full has none: unset them")
        self._base = str(model)
        self._method, self._recompute = method, gradient_checkpointing
        self._adapters: dict[str, Any] = {"rank": rank, "alpha": alpha, "dropout": dropout, "seed": seed, "rslora": rslora,
                                          "dora": method == "dora", "targets": tuple(targets)}  # fmt: skip
        self.course = Course(
            learning_rate,
            warmup,
            max_grad_norm,
            epochs,
            answers_per_step,
            max_steps,
            average_checkpoints,
            early_stopping,
            validations or usual_validations(early_stopping),
            rehearsal,
        )
        self._weight_decay = weight_decay
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype: torch.dtype = best_dtype(self._device) if dtype == "auto" else getattr(torch, dtype)
        self.how = How(
            method,
            rank,
            dropout > 0,
            tuple(targets),
            self._dtype,
            self._device,
            gradient_checkpointing is True,
            tokens_per_batch or (2048 if self._device.type == "cpu" else 16384),
            average_checkpoints + early_stopping > 0,
        )
        self._template = template

    def train(
        self,
        epoch_groups: EpochGroups,
        validation: Sequence[ContextGroup],
        output: Path,
        on_step: OnStep,
        watch: Watch | None = None,
        on_prepare: OnPrepare | None = None,
    ) -> TrainResult:
        """Train to the end of the budget, going on from a checkpoint in ``output``.

        Writes ``adapter/`` (of a whole model ``model/``), ``metrics.jsonl`` and ``tensorboard/`` there; the checkpoint stays.

        Args:
            epoch_groups: the groups of an epoch, counted from 0, in the order they are trained; the same at each call.
            validation: groups whose loss is measured.
            output: the model's folder.
            on_step: given each line of metrics.jsonl, with ``steps`` and ``eta_s``.
            watch: has the model answer questions whenever the loss is measured, and gives their mean F1.
            on_prepare: told what goes on before the first step: its name, and how much of how much is done.

        Raises:
            TrainError: there is nothing to train on, a sequence does not fit the model, there is too little memory, or the loss is no
                longer a number or stays far above its start.
            ModelError: the base cannot be loaded.
        """
        return loop.train(self, epoch_groups, validation, output, on_step, watch, on_prepare)

    def forecast(self, epoch_groups: EpochGroups, validation: Sequence[ContextGroup]) -> TrainForecast:
        """What :meth:`train` would take: memory from the model's shape, time from a few steps where it fits; nothing is kept.

        Raises:
            TrainError: there is nothing to train on, or a sequence does not fit the model.
            ModelError: the base cannot be loaded.
        """
        return loop.forecast(self, epoch_groups, validation)

    def answers_per_second(self, groups: Sequence[ContextGroup], seconds: float = 4.0) -> float:
        """Train on groups for about so many seconds, and throw the result away: the rate that a run on the like of them will have."""
        return loop.answers_per_second(self, groups, seconds)

    def rehearsal_seconds(self) -> float:
        """About how long the base takes to write what a new run rehearses; 0 where none does."""
        if not self.course.rehearsal:
            return 0.0
        return writing_seconds(*load_base(self._base, self._device, self.how.computed, self._template))

    def predict(self, steps: Sequence[Sequence[ContextGroup]]) -> TrainForecast:
        """What a run would take, but for the time; nothing is loaded."""
        return predict(self._base, steps, self.how, recompute_where_needed=self._recompute == "auto", template=self._template)

    def load(self, recompute: bool | None = None) -> TorchLearner:
        """The base with what is trained of it."""
        model, tokenizer = load_base(self._base, self._device, self.how.computed, self._template)
        if self.how.recompute if recompute is None else recompute:
            recompute_layers(model)
        layers = {} if self._method == "full" else add_lora(model, **self._adapters)
        return TorchLearner(
            self._base,
            model,
            tokenizer,
            layers,
            self.how,
            seed=self._adapters["seed"],
            learning_rate=self.course.learning_rate,
            weight_decay=self._weight_decay,
            dropout=self._adapters["dropout"],
            rehearsal=self.course.rehearsal,
        )

    def peak_memory(self) -> PeakMemory:
        """Begin to measure."""
        return PeakMemory(self._device)

    def settings(self, steps: int) -> dict[str, Any]:
        """What a checkpoint must have been made with to be gone on from."""
        return {
            "method": self._method,
            "average": self.course.average_checkpoints,
            "early_stopping": self.course.early_stopping,
            **self._adapters,
            "learning_rate": self.course.learning_rate,
            "warmup": self.course.warmup,
            "weight_decay": self._weight_decay,
            "max_grad_norm": self.course.max_grad_norm,
            "rehearsal": self.course.rehearsal,
            "steps": steps,
        }
