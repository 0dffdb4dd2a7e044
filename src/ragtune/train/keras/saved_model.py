"""A model as a TensorFlow SavedModel, for servers that run those."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ragtune.errors import ModelError
from ragtune.train.keras.backend import tf
from ragtune.train.keras.base import Base, load_base
from ragtune.train.keras.parity import TOLERANCE, prompt_ids


def save_tensorflow(checkpoint: Path, output: Path) -> None:
    """Write a checkpoint as a SavedModel in float32, and see that it answers as the checkpoint does.

    The signature ``serving_default`` takes ``token_ids`` and ``padding_mask`` (int32, ``[b, t]``, 1 for a token and 0 for the padding after
    a text), and gives ``logits`` (float32, ``[b, v]``) of the token that comes next. The tokenizer lies in ``assets.extra``.

    Args:
        checkpoint: folder in Hugging Face's format.
        output: a new folder.

    Raises:
        ModelError: the checkpoint is none that Keras has, or the SavedModel gives other logits.
    """
    base = load_base(str(checkpoint), "float32")
    ids_bt = tf.TensorSpec([None, None], tf.int32)

    @tf.function  # type: ignore[untyped-decorator]
    def next_token(token_ids: Any, padding_mask: Any) -> dict[str, Any]:
        return {"logits": _next_logits(base, token_ids, padding_mask)}

    module = tf.Module()
    module.backbone = base.backbone
    module.next_token = next_token.get_concrete_function(token_ids=ids_bt, padding_mask=ids_bt)
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    tf.saved_model.save(module, str(partial), signatures={"serving_default": module.next_token})
    base.tokenizer.save_pretrained(str(partial / "assets.extra"))  # type: ignore[attr-defined]
    try:
        _check(base, partial)
    except ModelError:
        shutil.rmtree(partial)
        raise
    partial.rename(output)


def _next_logits(base: Base, ids_bt: Any, mask_bt: Any) -> Any:
    last_b = tf.reduce_sum(mask_bt, axis=-1) - 1
    return base.head(tf.gather(base.hidden(ids_bt, mask_bt), last_b, batch_dims=1))


def _check(base: Base, folder: Path) -> None:
    """Two texts of different lengths, side by side."""
    ids_bt = np.repeat(prompt_ids(base.backbone.vocabulary_size), 2, axis=0)
    mask_bt = np.ones_like(ids_bt)
    mask_bt[1, ids_bt.shape[1] // 2 :] = 0
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = served(token_ids=tf.constant(ids_bt), padding_mask=tf.constant(mask_bt))["logits"].numpy()
    difference = float(np.abs(found - _next_logits(base, ids_bt, mask_bt).numpy()).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"the SavedModel in {folder} gives other logits than the model (they differ by {difference:.2g}): please report this"
        )
