"""Counting tokens with a tokenizer alone, without the libraries and the weights of its model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from ragtune.errors import ModelError

CountTokens = Callable[[Sequence[str]], list[int]]
FILE = "tokenizer.json"


def load_counter(folder: Path) -> CountTokens:
    """Tokens of each text without special ones, never truncated or padded, whatever tokenizer.json says.

    Raises:
        ModelError: there is no tokenizer in the folder.
    """
    path = folder / FILE
    if not path.is_file():
        raise ModelError(f"there is no tokenizer in {folder}: set prepare.tokenizer to a catalog id, or a folder with a tokenizer.json")
    return counting(counter_of(path.read_text(encoding="utf-8")))


def counter_of(text: str) -> Tokenizer:
    """The tokenizer of a tokenizer.json, made to count."""
    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def counting(tokenizer: Tokenizer) -> CountTokens:
    """Count with a tokenizer of :func:`counter_of`."""
    return lambda texts: [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
