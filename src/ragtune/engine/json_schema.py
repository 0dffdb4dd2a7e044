"""JSON by construction: only what a schema allows next may be written. llguidance, which knows grammars, is loaded here only."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ragtune.errors import MissingExtraError, SchemaError

_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As models write it; where any white space may stand, a small model writes nothing else."""


class JsonConstraint:
    """What one answer may go on with, so that it comes to JSON of a schema and ends there.

    Args:
        tokenizer: the model's, a fast one.
        schema: of JSON; ``{}`` is any object.
        stop: ids that end an answer.

    Raises:
        SchemaError: no JSON can be held to the schema.
        MissingExtraError: llguidance is not installed.
    """

    def __init__(self, tokenizer: Any, schema: Mapping[str, Any], stop: Collection[int]) -> None:
        try:
            from llguidance import LLMatcher
        except ImportError as error:
            raise MissingExtraError("serve", "llguidance") from error
        try:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(dict(schema) or {"type": "object"}), defaults=_SPACING)
        except (ValueError, TypeError) as error:
            raise SchemaError(f"this JSON schema cannot be used ({error}): correct it") from None
        self._matcher = LLMatcher(_tokenizer(tokenizer, frozenset(stop)), grammar, log_level=0)
        self._read = 0
        self._stop = torch.tensor(sorted(stop))
        self._matcher.compute_bitmask()  # that a schema never comes to an end, as {"$ref": "#"}, is found by its first step
        if self._matcher.is_error():
            raise SchemaError(f"this JSON schema cannot be used ({_first_line(self._matcher.get_error())}): correct or simplify it")

    def __call__(self, ids: Sequence[int]) -> Tensor:
        """Ids that may come next, given all that were written."""
        self._matcher.consume_tokens(list(ids[self._read :]))
        self._read = len(ids)
        if self._matcher.is_error():
            raise SchemaError(f"an answer cannot be held to this JSON schema ({_first_line(self._matcher.get_error())}): simplify it")
        if self._matcher.is_stopped():
            return self._stop
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return torch.from_numpy(np.flatnonzero(np.unpackbits(bits, bitorder="little")))


@lru_cache(maxsize=4)
def _tokenizer(tokenizer: Any, stop: frozenset[int]) -> Any:
    from llguidance.hf import from_tokenizer

    return from_tokenizer(tokenizer, eos_token=sorted(stop))


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0][:300]
