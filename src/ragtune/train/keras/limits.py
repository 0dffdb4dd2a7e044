"""What the PyTorch trainer does and this one does not: refused by the setting's name, before anything is imported or loaded."""

from __future__ import annotations

from ragtune.errors import TrainError


def check_supported(*, method: str, gradient_checkpointing: bool | str, device: str | None) -> None:
    """Refuse what Keras has no equal of.

    Args:
        method: adapters as ``lora`` or ``dora``, or the whole model as ``full``.
        gradient_checkpointing: whether layers are to be computed twice.
        device: to train on.

    Raises:
        TrainError: one of them is not for Keras.
    """
    way_out = "or train with PyTorch (train.backend = torch, 'ragtune train --backend torch')"
    if method != "lora":
        raise TrainError(f"train.method = {method} is PyTorch's alone: set train.method = lora, {way_out}")
    if gradient_checkpointing is True:
        raise TrainError(
            "train.gradient_checkpointing = true is PyTorch's alone: leave it at auto and set train.tokens_per_batch lower, " + way_out
        )
    if device is not None and device.partition(":")[0] not in ("cpu", "cuda"):
        raise TrainError(f"model.device = {device} is no device of TensorFlow's: unset it, or take cpu or cuda, {way_out}")
