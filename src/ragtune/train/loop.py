"""One plain loop that a kill cannot hurt, whatever computes its steps: plan, schedule, checkpoints, validation, and when to stop.

What computes is a :class:`Learner`; :mod:`ragtune.train.torch` and :mod:`ragtune.train.keras.trainer` make one each.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from ragtune.errors import TrainError
from ragtune.fitting import ran_out
from ragtune.protocols import CHECKPOINT
from ragtune.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from ragtune.train.metrics import Metrics
from ragtune.train.schedule import is_averaged, is_mark, learning_rate
from ragtune.train.sequences import Encoder, TokenSequence, split_steps
from ragtune.types import ContextGroup, TrainForecast, TrainResult

EpochGroups: TypeAlias = Callable[[int], Sequence[ContextGroup]]
OnStep: TypeAlias = Callable[[dict[str, float]], None]
Watch: TypeAlias = Callable[[Any, Any], float]
OnPrepare: TypeAlias = Callable[[str, int, int], None]
"""Told what goes on before the first step, ``rehearsal`` or ``timing``, and how much of how much is done."""
Plan: TypeAlias = Sequence[tuple[int, list[ContextGroup]]]
"""Of each step the epoch, counted from 0, and the groups."""

CHECKPOINT_EVERY_S = 30.0
"""Seconds between checkpoints: what a kill costs at most."""
_PATIENCE = 20
"""Steps, or a twentieth of a run if that is more, that a loss may be far above its start before the run is stopped."""
_FORWARD = 0.4
"""Time of a validated token, as a share of a trained one's."""
_TIMED, _TIMED_EVERY = 4, 50
"""Steps that are timed before a run, at most; one of so many."""


@dataclass(frozen=True, slots=True)
class Course:
    """The settings of a run that nothing is computed with but the loop; see :class:`~ragtune.train.torch.TorchTrainer`."""

    learning_rate: float
    warmup: float
    max_grad_norm: float
    epochs: int
    answers_per_step: int
    max_steps: int | None
    average_checkpoints: int
    early_stopping: int
    validations: int
    rehearsal: float


class Learner(Protocol):
    """A loaded model that is being trained.

    Attributes:
        encode: groups to token ids.
        framework: whose tensors safetensors is to read and write.
    """

    encode: Encoder
    framework: Literal["pt", "np"]

    def feed(self, steps: Iterable[Sequence[TokenSequence]]) -> Iterator[Any]:
        """Each step's sequences as :meth:`gradients` takes them."""

    def gradients(self, fed: Any, step: int) -> tuple[float, int, int]:
        """Add the gradients of a step's loss; the loss, the answers and the tokens. Steps are counted from 0."""

    def clip(self, longest: float) -> float:
        """Shorten the gradient to a norm, and give the norm that it had."""

    def update(self, rate: float) -> None:
        """Take the gradient into the weights, and start another."""

    def forget(self) -> None:
        """Throw the gradient away."""

    def validate(self, sequences: Sequence[TokenSequence]) -> float:
        """Mean loss over answers, as in training, without dropout."""

    def answer(self, watch: Watch) -> float:
        """Have the model, as it is, and its tokenizer watched while it answers."""

    def rehearse(self, folder: Path, tell: Callable[[int, int], None]) -> None:
        """Prepare what is rehearsed, and tell how much of how much is done; it is kept in the run's folder."""

    def rehearse_anything(self, sequence: TokenSequence) -> None:
        """Where time alone is asked for: any text takes as long as those of the base, which takes a while to write them."""

    def average(self, count: int) -> None:
        """Take the weights as they are into their mean, as the ``count``-th."""

    def take_means(self) -> None:
        """Put the mean in the weights' place."""

    def tensors(self, averaged: bool) -> dict[str, Any]:
        """What a checkpoint holds: weights and optimizer moments, and the means where there are any."""

    def restore(self, read: Callable[[str], Any], averaged: bool) -> None:
        """Take a checkpoint's tensors, which are read by name."""

    def save(self, folder: Path) -> None:
        """Write what was trained."""


class Backend(Protocol):
    """What makes a learner.

    Attributes:
        course: settings of the loop.
        recomputes: whether it can compute layers twice, to keep less.
    """

    course: Course
    recomputes: bool

    def predict(self, steps: Sequence[Sequence[ContextGroup]]) -> TrainForecast:
        """What a run would take, but for the time; nothing is loaded."""

    def load(self, recompute: bool | None = None) -> Learner:
        """The base with fresh adapters; ``recompute`` overrides whether layers are computed twice."""

    def peak_memory(self) -> Callable[[], float | None]:
        """Begin to measure; what this gives tells the most bytes since."""

    def settings(self, steps: int) -> dict[str, Any]:
        """What a checkpoint must have been made with to be gone on from."""


def train(
    backend: Backend,
    epoch_groups: EpochGroups,
    validation: Sequence[ContextGroup],
    output: Path,
    on_step: OnStep,
    watch: Watch | None = None,
    on_prepare: OnPrepare | None = None,
) -> TrainResult:
    """Train to the end of the budget, going on from a checkpoint in ``output``; see :meth:`ragtune.train.torch.TorchTrainer.train`."""
    course = backend.course
    if course.early_stopping and not validation:
        raise TrainError("train.early_stopping needs validation questions, and the dataset has none: add questions, or set it to 0")
    if course.early_stopping and course.average_checkpoints:
        raise TrainError("train.early_stopping gives the weights of the lowest loss, and train.average_checkpoints a mean: set one to 0")
    plan = _plan(epoch_groups, course)
    peak = backend.peak_memory()
    expected = backend.predict([step for _, step in plan])
    if not expected.fits:
        raise TrainError(expected.refusal)
    with _told_of_memory(backend, expected, output):
        return _train(backend, plan, expected, validation, output, on_step, watch, on_prepare or _silent, peak)


def _train(
    backend: Backend,
    plan: Plan,
    expected: TrainForecast,
    validation: Sequence[ContextGroup],
    output: Path,
    on_step: OnStep,
    watch: Watch | None,
    on_prepare: OnPrepare,
    peak: Callable[[], float | None],
) -> TrainResult:
    course = backend.course
    learner = backend.load(expected.gradient_checkpointing)
    held_out = [learner.encode(group) for group in validation]
    for _, step in plan:
        for group in step:
            learner.encode.check(group)
    output.mkdir(parents=True, exist_ok=True)
    if course.rehearsal:
        learner.rehearse(output, functools.partial(on_prepare, "rehearsal"))
    settings = backend.settings(len(plan))
    progress = load_checkpoint(output, learner, settings)
    if not progress.step and len(plan) >= _PATIENCE:  # a shorter one is over before it could be stopped
        progress.predicted_seconds, progress.start = _try(learner, course, plan, expected.tokens, held_out, on_prepare)
    with contextlib.closing(Metrics(output, progress.step)) as metrics:
        _Run(learner, course, plan, held_out, progress, output, settings).go(metrics, on_step, watch)
    if progress.averaged:
        learner.take_means()
        if course.early_stopping:
            progress.validation_loss = progress.lowest
        else:
            progress.validation_loss = learner.validate(held_out) if held_out else None
    progress.peak_memory = max(filter(None, (peak(), progress.peak_memory)), default=None)
    # Of the finished run, so that a kill costs nothing until whoever calls has noted that it is finished.
    save_checkpoint(output, learner, progress, settings)
    learner.save(output)
    return TrainResult(
        steps=progress.step,
        answers=progress.answers,
        tokens=progress.tokens,
        seconds=progress.seconds,
        train_loss=progress.loss,
        validation_loss=progress.validation_loss,
        device=expected.device,
        dtype=expected.dtype,
        predicted_seconds=progress.predicted_seconds,
        predicted_memory=expected.peak,
        peak_memory=progress.peak_memory,
        best_step=progress.best_step,
    )


@contextlib.contextmanager
def _told_of_memory(backend: Backend, expected: TrainForecast, output: Path | None = None) -> Iterator[None]:
    """Where memory runs out that was there before, say what to do."""
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        kept = ", and it goes on from its checkpoint" if output is not None and (output / CHECKPOINT).is_file() else ""
        if backend.recomputes and not expected.gradient_checkpointing:
            more = f"end what else uses it, or set train.gradient_checkpointing = true, and run again{kept}"
        else:
            more = f"end what else uses it, and run again{kept}; or lower train.tokens_per_batch, which begins another run"
        raise TrainError(
            f"memory on {expected.device} ran out, of which {expected.peak / 1e9:.1f} GB were thought to suffice: {more}"
        ) from error


def forecast(backend: Backend, epoch_groups: EpochGroups, validation: Sequence[ContextGroup]) -> TrainForecast:
    """What :func:`train` would take: memory from the model's shape, time from a few steps where it fits; nothing is kept."""
    plan = _plan(epoch_groups, backend.course)
    expected = backend.predict([step for _, step in plan])
    if not expected.fits:
        return expected
    with _told_of_memory(backend, expected):
        learner = backend.load(expected.gradient_checkpointing)
        held_out = [learner.encode(group) for group in validation]
        if backend.course.rehearsal:
            learner.rehearse_anything(learner.encode(plan[0][1][0]))
        return replace(expected, seconds=_try(learner, backend.course, plan, expected.tokens, held_out)[0])


def answers_per_second(backend: Backend, groups: Sequence[ContextGroup], seconds: float) -> float:
    """Train on groups for about so many seconds, and throw the result away: the rate that a run on the like of them will have."""
    learner = backend.load()
    sequences = [learner.encode(group) for group in groups]
    if backend.course.rehearsal:
        learner.rehearse_anything(sequences[0])
    answers, begun = 0, None
    parts = [sequences[start : start + 4] for start in range(0, len(sequences), 4)]
    for number, fed in enumerate(learner.feed(itertools.cycle(parts))):
        _, more, _ = learner.gradients(fed, number % len(parts))
        now = time.monotonic()
        if begun is None:
            begun = now  # the first pass, in which memory is found, is not counted
            continue
        answers += more
        if now - begun > seconds:
            return answers / (now - begun)
    raise AssertionError("an endless feed ended")


def _plan(epoch_groups: EpochGroups, course: Course) -> Plan:
    steps = [(epoch, step) for epoch in range(course.epochs) for step in split_steps(epoch_groups(epoch), course.answers_per_step)]
    if not steps:
        raise TrainError("there is nothing to train on: no question has evidence that was found in the documents")
    return steps[: course.max_steps]


def _silent(what: str, done: int, total: int) -> None:
    """Nobody wants to know."""


def _try(
    learner: Learner, course: Course, plan: Plan, tokens: int, held_out: Sequence[TokenSequence], on_prepare: OnPrepare = _silent
) -> tuple[float, float]:
    """Seconds that a run will take and the loss that it starts with, from a few of its steps, whose gradients are thrown away.

    One more before is not timed, for memory is found in it.
    """
    count = max(1, min(_TIMED, len(plan) // _TIMED_EVERY))
    chosen = [[learner.encode(group) for group in plan[len(plan) * (2 * n + 1) // (2 * count)][1]] for n in range(count)]
    first, *timed = learner.feed([chosen[0], *chosen])
    on_prepare("timing", 0, count + 1)
    learner.gradients(first, 0)
    begun = time.monotonic()
    tried = []
    for step, fed in enumerate(timed):
        on_prepare("timing", step + 1, count + 1)
        tried.append(learner.gradients(fed, step))
    spent = time.monotonic() - begun
    on_prepare("timing", count + 1, count + 1)
    learner.forget()
    seen = sum(tokens for _, _, tokens in tried)
    seconds = spent / seen * (tokens + _FORWARD * course.validations * sum(map(len, held_out)))
    return seconds, sum(loss for loss, _, _ in tried) / count


@dataclass(frozen=True, slots=True)
class _Run:
    """One sitting of a run."""

    learner: Learner
    course: Course
    plan: Plan
    held_out: Sequence[TokenSequence]
    progress: Progress
    output: Path
    settings: Mapping[str, Any]

    def go(self, metrics: Metrics, on_step: OnStep, watch: Watch | None) -> None:
        """Go from where it stands to the end."""
        progress, plan = self.progress, self.plan
        # Time is spent on contexts more than on answers, so that is what the time left is counted in.
        groups_left = list(itertools.accumulate((len(step) for _, step in reversed(plan)), initial=0))[::-1]
        begun = saved = time.monotonic()
        pause = CHECKPOINT_EVERY_S
        before, groups_before = progress.seconds, groups_left[progress.step]
        left_to_do = plan[progress.step :]
        fed_steps = self.learner.feed([self.learner.encode(group) for group in groups] for _, groups in left_to_do)
        for (epoch, _), fed in zip(left_to_do, fed_steps, strict=True):
            if self.course.early_stopping and progress.waited >= self.course.early_stopping:
                break
            line = self._step(fed)
            self._check()
            self._look(line, watch)
            sitting = time.monotonic() - begun
            progress.seconds = before + sitting
            line |= {"epoch": epoch + 1, "seconds": progress.seconds, "answers_per_s": progress.answers / progress.seconds}
            metrics.write(line)
            left = groups_left[progress.step]
            on_step({**line, "steps": len(plan), "eta_s": sitting * left / (groups_before - left)})
            if progress.sound and time.monotonic() - saved > pause:
                writing = time.monotonic()
                save_checkpoint(self.output, self.learner, progress, self.settings)
                saved = time.monotonic()
                # A whole model's takes a while: not more than a twentieth of the time is spent on it.
                pause = max(CHECKPOINT_EVERY_S, 20 * (saved - writing)) if saved - writing > 1 else CHECKPOINT_EVERY_S

    def _step(self, fed: Any) -> dict[str, float]:
        """One update."""
        progress, course, steps = self.progress, self.course, len(self.plan)
        rate = learning_rate(progress.step, steps, course.learning_rate, course.warmup)
        loss, answers, tokens = self.learner.gradients(fed, progress.step)
        norm = self.learner.clip(course.max_grad_norm)
        progress.step += 1
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainError(
                f"training diverged at step {progress.step} of {steps} (loss {loss}, gradient norm {norm}): lower train.learning_rate "
                f"(now {course.learning_rate:g}) and run again"
            )
        self.learner.update(rate)
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

    def _check(self) -> None:
        """Stop a run whose loss has long been far above its start."""
        progress, steps = self.progress, len(self.plan)
        if progress.high < max(_PATIENCE, steps // 20):
            return
        kept = f"; the checkpoint in {self.output} is from before" if (self.output / CHECKPOINT).is_file() else ""
        raise TrainError(
            f"training diverged: for {progress.high} steps, up to step {progress.step} of {steps}, the loss (now {progress.loss:.2f}) was "
            f"far above that of the start ({progress.start:.2f}): lower train.learning_rate (now {self.course.learning_rate:g}), or raise "
            f"train.warmup or train.answers_per_step, and run again{kept}"
        )

    def _look(self, line: dict[str, float], watch: Watch | None) -> None:
        """Measure and average where it is time for it."""
        progress, course, steps = self.progress, self.course, len(self.plan)
        if self.held_out and is_mark(progress.step, steps, course.validations):
            progress.validation_loss = line["validation_loss"] = self.learner.validate(self.held_out)
            if watch is not None:
                line["validation_f1"] = self.learner.answer(watch)
            if course.early_stopping:
                self._keep_best(progress.validation_loss)
        if is_averaged(progress.step, steps, course.average_checkpoints):
            progress.averaged += 1
            self.learner.average(progress.averaged)

    def _keep_best(self, loss: float) -> None:
        progress = self.progress
        progress.waited += 1
        if progress.lowest is None or loss < progress.lowest:
            progress.lowest, progress.best_step, progress.waited = loss, progress.step, 0
            progress.averaged = 1
            self.learner.average(1)
