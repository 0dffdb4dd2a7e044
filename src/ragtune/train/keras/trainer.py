"""LoRA tuning with Keras on TensorFlow: the run of :mod:`ragtune.train.loop`, on the devices that TensorFlow has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from ragtune.errors import ModelError
from ragtune.train import loop
from ragtune.train.keras.backend import tf
from ragtune.train.keras.base import load_base
from ragtune.train.keras.devices import best_dtype, find_devices, peak_memory, room, strategy_over
from ragtune.train.keras.learner import KerasLearner
from ragtune.train.keras.lora import add_lora
from ragtune.train.keras.twin import Twin
from ragtune.train.loop import Course, EpochGroups, OnPrepare, OnStep, Watch
from ragtune.train.predict import How, predict
from ragtune.train.schedule import validations as usual_validations
from ragtune.types import ContextGroup, TrainForecast, TrainResult


class KerasTrainer:
    """Fulfils the trainer's contract as :class:`~ragtune.train.torch.TorchTrainer` does; what that alone has is no argument here.

    Args:
        model: folder of the base.
        rank: r of the adapters, as PEFT counts it.
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
        dtype: of the frozen base; ``auto`` takes bfloat16 on GPUs that multiply it. What is trained is always float32.
        device: ``cpu``, ``cuda`` or ``cuda:1``; ``None`` takes every GPU that is visible, else the CPU.
        devices: TensorFlow's names of those to train on, instead.
        tokens_per_batch: tokens in one pass with padding, on all devices together; ``None`` takes 1,024 on a CPU and 16,384 on a GPU.
        average_checkpoints: give the mean of the weights at so many steps, a twentieth of the run apart, the last among them.
        early_stopping: stop once the validation loss was measured so often in a row without being the lowest, and give the weights of the
            lowest; 0 trains to the end.
        validations: how often the validation loss is measured, the end included; ``None`` is three times, ten where it may stop the run.
        rehearsal: weight of staying near the base on text of its own (:mod:`ragtune.train.rehearsal`); 0 leaves it out.
        template: Jinja text of a chat template; ``None`` is the model's own.

    Raises:
        TrainError: TensorFlow has no such device.
    """

    recomputes = False

    def __init__(
        self,
        model: str | Path,
        *,
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
        devices: Sequence[str] = (),
        tokens_per_batch: int | None = None,
        average_checkpoints: int = 0,
        early_stopping: int = 0,
        validations: int | None = None,
        rehearsal: float = 0.0,
        template: str | None = None,
    ) -> None:
        self._base = str(model)
        self._adapters: dict[str, Any] = {"rank": rank, "alpha": alpha, "dropout": dropout, "seed": seed, "rslora": rslora,
                                          "targets": tuple(targets)}  # fmt: skip
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
        self._devices = list(devices) or find_devices(device)
        on_host = self._devices[0].startswith("CPU")
        self._dtype: Literal["float32", "bfloat16"] = best_dtype(self._devices) if dtype == "auto" else dtype
        self.how = How(
            "lora",
            rank,
            dropout > 0,
            tuple(targets),
            getattr(torch, self._dtype),
            torch.device("cpu" if on_host else "cuda"),
            False,
            tokens_per_batch or (1024 if on_host else 16384),
            average_checkpoints + early_stopping > 0,
            padded=True,
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

        Writes ``adapter/``, ``metrics.jsonl`` and ``tensorboard/`` there; the checkpoint stays.

        Args:
            epoch_groups: the groups of an epoch, counted from 0, in the order they are trained; the same at each call.
            validation: groups whose loss is measured.
            output: the model's folder.
            on_step: given each line of metrics.jsonl, with ``steps`` and ``eta_s``.
            watch: is given the model in PyTorch whenever the loss is measured, and gives the mean F1 of its answers.
            on_prepare: told what goes on before the first step: its name, and how much of how much is done.

        Raises:
            TrainError: there is nothing to train on, a sequence does not fit the model, there is too little memory, or the loss is no
                longer a number or stays far above its start.
            ModelError: the base cannot be loaded, or Keras would compute another model.
        """
        return loop.train(self, epoch_groups, validation, output, on_step, watch, on_prepare)

    def forecast(self, epoch_groups: EpochGroups, validation: Sequence[ContextGroup]) -> TrainForecast:
        """What :meth:`train` would take: memory from the model's shape, time from a few steps where it fits; nothing is kept.

        Raises:
            TrainError: there is nothing to train on, or a sequence does not fit the model.
            ModelError: the base cannot be loaded, or Keras would compute another model.
        """
        return loop.forecast(self, epoch_groups, validation)

    def answers_per_second(self, groups: Sequence[ContextGroup], seconds: float = 4.0) -> float:
        """Train on groups for about so many seconds, and throw the result away: the rate that a run on the like of them will have."""
        return loop.answers_per_second(self, groups, seconds)

    def rehearsal_seconds(self) -> float:
        """About how long PyTorch takes to write what a new run rehearses; 0 where none does."""
        return Twin(self._base, self._dtype, self._template, self._adapters).writing_seconds() if self.course.rehearsal else 0.0

    def predict(self, steps: Sequence[Sequence[ContextGroup]]) -> TrainForecast:
        """What a run would take, but for the time; nothing is loaded."""
        available = room(self._devices)
        made = predict(self._base, steps, self.how, recompute_where_needed=False, template=self._template, available=available)
        if not made.fits:
            made = replace(made, remedies={**made.remedies, **self._other_backend(steps, available)})
        return made if len(self._devices) == 1 else replace(made, device=", ".join(self._devices).lower())

    def _other_backend(self, steps: Sequence[Sequence[ContextGroup]], available: float | None) -> dict[str, float]:
        """PyTorch as a remedy, with its bytes at the peak, where it has room: it does not pad, and can compute layers twice."""
        with contextlib.suppress(ModelError):  # which it cannot train
            how = replace(self.how, padded=False)
            theirs = predict(self._base, steps, how, recompute_where_needed=True, template=self._template, available=available)
            return {"train.backend = torch": theirs.peak} if theirs.fits else {}
        return {}

    def load(self, recompute: bool | None = None) -> KerasLearner:  # noqa: ARG002 - layers are computed once
        """The base with fresh adapters, on every device."""
        strategy = strategy_over(self._devices)
        base = load_base(self._base, self._dtype, self._template, strategy.scope())
        with strategy.scope():
            layers = add_lora(base, **self._adapters)
        with tf.device(self._devices[0]):
            return KerasLearner(
                base,
                layers,
                self._base,
                Twin(self._base, self._dtype, self._template, self._adapters),
                strategy,
                tokens_per_batch=self.how.tokens_per_batch,
                seed=self._adapters["seed"],
                weight_decay=self._weight_decay,
                dropout=self._adapters["dropout"],
                rehearsal=self.course.rehearsal,
            )

    def peak_memory(self) -> Callable[[], float | None]:
        """Begin to measure."""
        return peak_memory(self._devices)

    def settings(self, steps: int) -> dict[str, Any]:
        """What a checkpoint must have been made with to be gone on from."""
        return {
            "backend": "keras",
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
