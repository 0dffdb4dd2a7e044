"""What a step computes on PyTorch: the loss of its answers, its gradients, and the update."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ragtune.prompts import Tokenizer
from ragtune.train.batches import Batch, split_batches
from ragtune.train.load import answering, loading, longest_text
from ragtune.train.lora import LoRALinear, save_adapter
from ragtune.train.loss import batch_loss
from ragtune.train.predict import KEPT_SCORES_BYTES, How
from ragtune.train.rehearsal import EVERY, anything, rehearsal_texts, straying
from ragtune.train.sequences import Encoder, TokenSequence

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class TorchLearner:
    """A base, what of it is trained, and what trains it; see :class:`~ragtune.train.loop.Learner`.

    Args:
        base: folder or id of the model.
        model: the base, with adapters or as it is.
        tokenizer: its own.
        layers: those with adapters; empty where the whole model is trained.
        how: it is trained.
        seed: of dropout and of the texts that are rehearsed.
        learning_rate: that the optimizer is made with.
        weight_decay: AdamW's.
        dropout: on the adapters' input.
        rehearsal: weight of the divergence from the base.
    """

    framework: Literal["pt", "np"] = "pt"

    def __init__(
        self,
        base: str,
        model: Any,
        tokenizer: Tokenizer,
        layers: dict[str, LoRALinear],
        how: How,
        *,
        seed: int,
        learning_rate: float,
        weight_decay: float,
        dropout: float,
        rehearsal: float,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.layers = layers
        self.texts: list[TokenSequence] = []
        self._base, self._how = base, how
        self._seed, self._dropout, self._rehearsal = seed, dropout, rehearsal
        adapters = {f"{name}.{part}": parameter for name, layer in layers.items() for part, parameter in layer.trained.items()}
        self.trained: dict[str, nn.Parameter] = adapters or dict(model.named_parameters())
        self.parameters = list(self.trained.values())
        self.means: dict[str, Tensor] = {}
        self.optimizer = torch.optim.AdamW(self.parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
        self.encode = Encoder(tokenizer, longest_text(model.config.get_text_config()))

    def feed(self, steps: Iterable[Sequence[TokenSequence]]) -> Iterator[Sequence[TokenSequence]]:
        """As they are."""
        return iter(steps)

    def gradients(self, fed: Sequence[TokenSequence], step: int) -> tuple[float, int, int]:
        """Add the gradients of a step's loss; the loss, the answers and the tokens."""
        answers = sum(len(sequence.branches) for sequence in fed)
        loss, tokens = 0.0, 0
        for layer in self.layers.values():
            layer.train()
        with torch.random.fork_rng(enabled=self._dropout > 0):
            if self._dropout:
                # The place alone decides what is dropped, so that a resumed run drops the same.
                torch.manual_seed(self._seed * 1_000_003 + step)
            for batch in self.batches(fed):
                part = batch_loss(self.model, batch) / answers
                part.backward()  # type: ignore[no-untyped-call]
                loss += part.item()
                tokens += batch.tokens
            if self.texts and step % EVERY == 0:
                text = self.texts[step // EVERY % len(self.texts)]
                for batch in self.batches([text]):
                    strayed = straying(self.model, self.layers, batch)
                    (self._rehearsal * EVERY * strayed).backward()  # type: ignore[no-untyped-call]
        return loss, answers, tokens

    def batches(self, sequences: Sequence[TokenSequence]) -> Iterator[Batch]:
        """Sequences in passes that memory suffices for."""
        config, how = self.model.config.get_text_config(), self._how
        kept = config.num_hidden_layers * config.num_attention_heads * how.bytes
        fused = how.device.type != "cpu"
        for batch in split_batches(sequences, how.tokens_per_batch, fused=fused, max_scores=KEPT_SCORES_BYTES / kept):
            yield batch.to(how.device, how.computed)

    def clip(self, longest: float) -> float:
        """Shorten the gradient to a norm, and give the norm that it had."""
        return float(nn.utils.clip_grad_norm_(self.parameters, longest))

    def update(self, rate: float) -> None:
        """Take the gradient into the weights, and start another."""
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.forget()

    def forget(self) -> None:
        """Throw the gradient away."""
        self.optimizer.zero_grad()

    @torch.inference_mode()
    def validate(self, sequences: Sequence[TokenSequence]) -> float:
        """Mean over answers, as in training, without dropout."""
        self.model.eval()
        total = sum(batch_loss(self.model, batch).item() for batch in self.batches(sequences))
        return total / sum(len(sequence.branches) for sequence in sequences)

    def answer(self, watch: Callable[[Any, Any], float]) -> float:
        """Have the model and its tokenizer watched while it answers."""
        with answering(self.model):
            return watch(self.model, self.tokenizer)

    def rehearse(self, folder: Path, tell: Callable[[int, int], None]) -> None:
        """Have the base write what is rehearsed, and tell how much of it is done; or read it."""
        self.texts = rehearsal_texts(self.model, self.tokenizer, self.layers, folder, seed=self._seed, tell=tell)

    def rehearse_anything(self, sequence: TokenSequence) -> None:
        """Where time alone is asked for: any text takes as long as those of the base, which takes a while to write them."""
        self.texts = [anything(sequence)]

    @torch.no_grad()
    def average(self, count: int) -> None:
        """Take the weights as they are into their mean, as the ``count``-th."""
        for name, parameter in self.trained.items():
            if count == 1:
                self.means[name] = parameter.detach().clone()
            else:
                self.means[name].lerp_(parameter, 1 / count)

    @torch.no_grad()
    def take_means(self) -> None:
        """Put the mean in the weights' place."""
        for name, mean in self.means.items():
            self.trained[name].copy_(mean)

    def tensors(self, averaged: bool) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        held = {}
        for name, parameter in self.trained.items():
            held[name] = parameter.detach().cpu()
            for part in _MOMENTS:
                held[f"{name}:{part}"] = self.optimizer.state[parameter][part].detach().cpu()
            if averaged:
                held[f"{name}:mean"] = self.means[name].cpu()
        return held

    @torch.no_grad()
    def restore(self, read: Callable[[str], Tensor], averaged: bool) -> None:
        """Take a checkpoint's tensors."""
        for name, parameter in self.trained.items():
            parameter.copy_(read(name))
            self.optimizer.state[parameter] = {part: read(f"{name}:{part}").to(parameter.device) for part in _MOMENTS}
            if averaged:
                self.means[name] = read(f"{name}:mean").to(parameter.device)

    def save(self, folder: Path) -> None:
        """Write what was trained: ``adapter/`` in PEFT's format, or ``model/``, a whole model in a number format."""
        if self.layers:
            save_adapter(folder / "adapter", self.layers, self._base)
            return
        with loading(self._base):  # which writes with a progress bar, too
            self.model.to(self._how.dtype).save_pretrained(str(folder / "model"))
        self.tokenizer.save_pretrained(str(folder / "model"))  # type: ignore[attr-defined]
