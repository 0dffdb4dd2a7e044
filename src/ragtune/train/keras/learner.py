"""What a step computes on Keras: the loss of its answers, its gradients, and the update, as :mod:`ragtune.train.learner` on PyTorch.

Every graph is traced once, for rows of any number and length: a model of thirty layers takes seconds to trace, and a run of a few minutes
would pay that for every shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragtune.train.keras.adamw import AdamW
from ragtune.train.keras.backend import tf
from ragtune.train.keras.base import Base
from ragtune.train.keras.data import Pass, Step, passes_of, read_steps
from ragtune.train.keras.export import save_adapter
from ragtune.train.keras.lora import KerasLoRA, set_place
from ragtune.train.keras.twin import Twin
from ragtune.train.rehearsal import EVERY, anything
from ragtune.train.sequences import Encoder, TokenSequence

_SIGNATURE = (*(tf.TensorSpec([None, None], each) for each in (tf.int32, tf.int32, tf.float32)), tf.TensorSpec([], tf.float32))
"""Of a pass and the factor of its loss."""


class KerasLearner:
    """A base, its adapters, and what trains them; see :class:`~ragtune.train.loop.Learner`.

    Args:
        base: the frozen model.
        layers: those with adapters.
        name: folder of the model, for the adapter.
        twin: the same model in PyTorch.
        strategy: over the devices that it lies on.
        tokens_per_batch: in one pass, padding included.
        seed: of dropout and of the texts that are rehearsed.
        weight_decay: AdamW's.
        dropout: on the adapters' input.
        rehearsal: weight of the divergence from the base.
    """

    framework: Literal["pt", "np"] = "np"

    def __init__(
        self,
        base: Base,
        layers: dict[str, KerasLoRA],
        name: str,
        twin: Twin,
        strategy: Any,
        *,
        tokens_per_batch: int,
        seed: int,
        weight_decay: float,
        dropout: float,
        rehearsal: float,
    ) -> None:
        self.base, self.layers = base, layers
        self.texts: list[TokenSequence] = []
        self.encode = Encoder(base.tokenizer, base.max_positions)
        self.trained = {f"{name}.{part}": variable for name, layer in layers.items() for part, variable in layer.trained.items()}
        self.means: dict[str, NDArray[Any]] = {}
        self.optimizer = AdamW(self.trained, weight_decay)
        self._name, self._twin, self._strategy, self._tokens_per_batch = name, twin, strategy, tokens_per_batch
        self._seed, self._dropout, self._rehearsal = seed, dropout, rehearsal
        self._loss_of = self._graph(self._loss)
        self._learn = self._graph(self._with_gradient(self._loss))
        self._hold = self._graph(self._with_gradient(self._straying))

    def feed(self, steps: Iterable[Sequence[TokenSequence]]) -> Iterator[Step]:
        """Steps as padded rows, which are made while others are computed."""
        return read_steps(steps, self._tokens_per_batch)

    def gradients(self, fed: Step, step: int) -> tuple[float, int, int]:
        """Add the gradients of a step's loss; the loss, the answers and the tokens."""
        loss = 0.0
        for number, each in enumerate(fed.passes):
            self._at(step, number)
            loss += self._run(self._learn, each, 1 / fed.answers)
        if self.texts and step % EVERY == 0:
            text = self.texts[step // EVERY % len(self.texts)]
            self._at(step, len(fed.passes))
            (single,) = passes_of([text], self._tokens_per_batch)
            self._run(self._hold, single, self._rehearsal * EVERY / len(text.branches[0].completion))
        return loss, fed.answers, fed.tokens

    def clip(self, longest: float) -> float:
        """Shorten the gradient to a norm, and give the norm that it had."""
        return self.optimizer.clip(longest)

    def update(self, rate: float) -> None:
        """Take the gradient into the weights, and start another."""
        self.optimizer.update(rate)

    def forget(self) -> None:
        """Throw the gradient away."""
        self.optimizer.forget()

    def validate(self, sequences: Sequence[TokenSequence]) -> float:
        """Mean over answers, as in training, without dropout."""
        return sum(self._run(self._loss_of, each, 1 / step.answers) for step in self.feed([sequences]) for each in step.passes)

    def answer(self, watch: Callable[[Any, Any], float]) -> float:
        """Have the model's twin watched while it answers: ragtune writes with PyTorch."""
        return self._twin.answer(self._weights(), watch)

    def rehearse(self, folder: Path, tell: Callable[[int, int], None]) -> None:
        """Have the base's twin write what is rehearsed, or read it: the texts are those of the PyTorch trainer."""
        self.texts = self._twin.texts(folder, self._seed, tell)

    def rehearse_anything(self, sequence: TokenSequence) -> None:
        """Where time alone is asked for: any text takes as long as those of the base, which takes a while to write them."""
        self.texts = [anything(sequence)]

    def average(self, count: int) -> None:
        """Take the weights as they are into their mean, as the ``count``-th."""
        for name, weight in self._weights().items():
            self.means[name] = weight if count == 1 else self.means[name] + (weight - self.means[name]) / np.float32(count)

    def take_means(self) -> None:
        """Put the mean in the weights' place."""
        for name, mean in self.means.items():
            self.trained[name].assign(mean)

    def tensors(self, averaged: bool) -> dict[str, NDArray[Any]]:
        """What a checkpoint holds, by the names that the PyTorch trainer gives it."""
        held = self._weights() | self.optimizer.tensors()
        return held | ({f"{name}:mean": mean for name, mean in self.means.items()} if averaged else {})

    def restore(self, read: Callable[[str], NDArray[Any]], averaged: bool) -> None:
        """Take a checkpoint's tensors."""
        for name, variable in self.trained.items():
            variable.assign(read(name))
            if averaged:
                self.means[name] = read(f"{name}:mean")
        self.optimizer.restore(read)

    def save(self, folder: Path) -> None:
        """Write ``adapter/`` in PEFT's format."""
        save_adapter(folder / "adapter", self.layers, self._name)

    def _weights(self) -> dict[str, NDArray[Any]]:
        return {name: variable.numpy() for name, variable in self.trained.items()}

    def _at(self, step: int, number: int) -> None:
        """The place alone decides what is dropped, so that a resumed run drops the same."""
        if self._dropout:
            set_place(self.layers, (self._seed * 1_000_003 + step * 1_009 + number) % 2**31)

    def _run(self, graph: Any, each: Pass, factor: float) -> float:
        return float(graph(each.ids_bt, each.mask_bt, each.weights_bt, tf.constant(factor, tf.float32)))

    def _graph(self, compute: Callable[..., Any]) -> Any:
        """A function of a pass, computed on all devices: each has every n-th row, and their losses and gradients are summed."""
        count = self._strategy.num_replicas_in_sync

        def own(ids_bt: Any, mask_bt: Any, weights_bt: Any, factor: Any) -> Any:
            first = tf.distribute.get_replica_context().replica_id_in_sync_group
            return compute(ids_bt[first::count], mask_bt[first::count], weights_bt[first::count], factor)

        def whole(*arguments: Any) -> Any:
            made = self._strategy.run(own, args=arguments)
            loss, *gradient = (self._strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None) for part in made)
            for each in gradient:
                self.optimizer.add(each)
            return loss

        return tf.function(whole, input_signature=_SIGNATURE)

    def _with_gradient(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        def computed(*arguments: Any) -> tuple[Any, Any]:
            variables = [variable.value for variable in self.trained.values()]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                for variable in variables:
                    tape.watch(variable)
                (loss,) = compute(*arguments, training=self._dropout > 0)
            return loss, tf.concat([tf.reshape(part, [-1]) for part in tape.gradient(loss, variables)], 0)

        return computed

    def _loss(self, ids_bt: Any, mask_bt: Any, weights_bt: Any, factor: Any, training: bool = False) -> tuple[Any]:
        """Σ weight · -log softmax(logits)[target]; the head runs where there is a weight."""
        at_c2 = tf.where(weights_bt > 0)
        targets_c = tf.gather_nd(ids_bt[:, 1:], at_c2)
        nll_c = tf.nn.sparse_softmax_cross_entropy_with_logits(targets_c, self._logits(ids_bt, mask_bt, at_c2, training))
        return (factor * tf.reduce_sum(nll_c * tf.gather_nd(weights_bt, at_c2)),)

    def _straying(self, ids_bt: Any, mask_bt: Any, weights_bt: Any, factor: Any, training: bool = False) -> tuple[Any]:
        """Σ KL(base ‖ tuned) over the places that have a weight, in nats; see :mod:`ragtune.train.rehearsal`."""
        at_c2 = tf.where(weights_bt > 0)
        with _without(self.layers):
            log_p = tf.stop_gradient(tf.nn.log_softmax(self._logits(ids_bt, mask_bt, at_c2, False)))
        log_q = tf.nn.log_softmax(self._logits(ids_bt, mask_bt, at_c2, training))
        return (factor * tf.reduce_sum(tf.exp(log_p) * (log_p - log_q)),)

    def _logits(self, ids_bt: Any, mask_bt: Any, at_c2: Any, training: bool) -> Any:
        """``[c, vocabulary]`` at rows and places."""
        return self.base.head(tf.gather_nd(self.base.hidden(ids_bt, mask_bt, training=training), at_c2))


@contextmanager
def _without(layers: Mapping[str, KerasLoRA]) -> Iterator[None]:
    """The base as it was, for as long as the block is traced."""
    for layer in layers.values():
        layer.active = False
    try:
        yield
    finally:
        for layer in layers.values():
            layer.active = True
