"""An engine that remembers: no prompt is answered twice by the same weights, and an interrupted evaluation goes on where it was.

Prompts are put into batches before the memory is asked, and a batch is answered whole or not at all. So what is in a batch, and with it
every last bit of every answer, does not depend on where an earlier run was killed; only a batch that memory did not suffice for is answered
in halves, whose last bits may differ.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ragtune.prompts import encode_prompt
from ragtune.protocols import Engine
from ragtune.sqlite import BUSY_SECONDS, use_wal
from ragtune.types import GREEDY, Generation, Message, Passage, Sampling

_VERSION = 2
_HELD = "held 4"
"""How quotes are held to passages (:mod:`ragtune.engine.spans`): another name for another way."""


class CachedEngine:
    """Fulfils the engine's contract, with answers kept in a SQLite file.

    Args:
        engine: what answers.
        path: the SQLite file; made when absent.
        fingerprint: of the base weights, number format and device kind: whatever may change an answer besides the prompt and adapter.
    """

    def __init__(self, engine: Engine, path: Path, fingerprint: str) -> None:
        self._engine = engine
        self._fingerprint = fingerprint
        self._adapters: dict[Path, str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with closing(self._connect()) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS generations (key TEXT PRIMARY KEY, generation TEXT NOT NULL) WITHOUT ROWID")

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._engine.tokenizer

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        quotable: Sequence[Sequence[Passage]] | None = None,
        adapter: Path | None = None,
        max_new_tokens: int = 96,
        batch_size: int = 16,
    ) -> Iterator[tuple[int, Generation]]:
        """Greedy answers as ``(index, generation)``; what is known is given at once, the rest batch by batch."""
        keys, lengths = self._keys(prompts, quotable is not None, adapter, max_new_tokens)
        first = {key: index for index, key in reversed(list(enumerate(keys)))}
        order = sorted(first.values(), key=lambda index: (lengths[index], keys[index]))
        places: dict[str, list[int]] = {}
        for index, key in enumerate(keys):
            places.setdefault(key, []).append(index)
        with closing(self._connect()) as connection:
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                known = {index: self._read(connection, keys[index]) for index in batch}
                if any(generation is None for generation in known.values()):
                    made = self._engine.generate(
                        [prompts[index] for index in batch],
                        quotable=None if quotable is None else [quotable[index] for index in batch],
                        adapter=adapter,
                        max_new_tokens=max_new_tokens,
                        batch_size=batch_size,
                    )
                    fresh = {batch[position]: generation for position, generation in made}
                    with connection:
                        connection.executemany(
                            "INSERT OR IGNORE INTO generations VALUES (?, ?)",
                            [(keys[index], json.dumps(asdict(generation))) for index, generation in fresh.items()],
                        )
                    # What was known stays what it was, so that an answer never changes once it has been given.
                    known = {index: known[index] or fresh[index] for index in batch}
                for index, generation in known.items():
                    assert generation is not None  # noqa: S101 - for the type checker: both branches above filled it
                    for place in places[keys[index]]:
                        yield place, generation

    def stream(
        self,
        prompt: Sequence[Message],
        *,
        quotable: Sequence[Passage] | None = None,
        adapter: Path | None = None,
        max_new_tokens: int = 96,
        sampling: Sampling = GREEDY,
    ) -> Iterator[str | Generation]:
        """Pieces of one answer, then all of it, always written anew."""
        return self._engine.stream(prompt, quotable=quotable, adapter=adapter, max_new_tokens=max_new_tokens, sampling=sampling)

    def nll(
        self, pairs: Sequence[tuple[Sequence[Message], str]], *, adapter: Path | None = None, batch_size: int = 8
    ) -> list[tuple[float, int]]:
        """Negative log-likelihoods, always computed anew."""
        return self._engine.nll(pairs, adapter=adapter, batch_size=batch_size)

    def _keys(
        self, prompts: Sequence[Sequence[Message]], constrained: bool, adapter: Path | None, max_new_tokens: int
    ) -> tuple[list[str], list[int]]:
        # Which passages may be quoted need not be in the key: the prompt shows them.
        head = f"{_VERSION}:{self._fingerprint}:{self._adapter_hash(adapter)}:{max_new_tokens}:{_HELD if constrained else False}:"
        keys, lengths = [], []
        for prompt in prompts:
            ids = encode_prompt(self.tokenizer, prompt).ids
            keys.append(hashlib.sha256((head + ",".join(map(str, ids))).encode()).hexdigest())
            lengths.append(len(ids))
        return keys, lengths

    def _adapter_hash(self, adapter: Path | None) -> str:
        if adapter is None:
            return "base"
        if adapter not in self._adapters:
            digest = hashlib.sha256()
            whole = not (adapter / "adapter_config.json").is_file()
            for name in ("config.json", "model.safetensors") if whole else ("adapter_config.json", "adapter_model.safetensors"):
                digest.update((adapter / name).read_bytes())
            self._adapters[adapter] = digest.hexdigest()
        return self._adapters[adapter]

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS)
        use_wal(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    @staticmethod
    def _read(connection: sqlite3.Connection, key: str) -> Generation | None:
        row = connection.execute("SELECT generation FROM generations WHERE key = ?", (key,)).fetchone()
        return Generation(**json.loads(row[0])) if row else None
