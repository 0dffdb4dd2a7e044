"""Counting tokens with a tokenizer alone, where the embedder is a server and has none to offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from ragtune.errors import ModelError

CountTokens = Callable[[Sequence[str]], list[int]]


def load_counter(folder: Path) -> CountTokens:
    """Tokens of each text without special ones, never truncated or padded, whatever tokenizer.json says.

    Raises:
        ModelError: there is no tokenizer in the folder.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(f"there is no tokenizer in {folder}: set prepare.tokenizer to a catalog id, or a folder with a tokenizer.json")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
