"""An example as the model sees it in training: messages and the completion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ragtune.dataset.raft import assemble, evaluation_context
from ragtune.prompts import build_messages
from ragtune.types import Example, Message, Passage


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt with what should follow it."""

    messages: list[Message]
    completion: str


def render_example(
    example: Example, passages: Mapping[str, Passage], *, k: int, present: bool = True, epoch: int = 0, seed: int = 0
) -> Rendered:
    """Render a training example in its assembled context, and one of validation or test in its retrieved context.

    Args:
        example: any.
        passages: by id.
        k: passages shown.
        present: whether a training example sees its oracle.
        epoch: of a training example's context.
        seed: likewise.
    """
    if example.split == "train":
        own = assemble(example, present=present, epoch=epoch, seed=seed, k=k)
        return Rendered(build_messages(example.question, [passages[id_] for id_ in own.passages]), own.completion)
    shown = evaluation_context(example, "retrieved", k).passages or ()
    return Rendered(build_messages(example.question, [passages[id_] for id_ in shown]), example.completion)
