"""A dataset's folder: ``train.jsonl``, ``validation.jsonl``, ``test.jsonl`` (one example a line) and ``passages.jsonl``.

The fields are those of :class:`ragtune.types.Example` and :class:`ragtune.types.Passage`, nested records as objects; offsets are code
points of the document's text. The same dataset gives the same bytes. The folder's manifest is left to the caller, who writes it last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from ragtune.dataset.raft import by_split
from ragtune.errors import ProjectError
from ragtune.types import Candidate, Evidence, Example, Message, Passage, Span, Split
from ragtune.workspace import write_bytes

_SPLITS: tuple[Split, ...] = get_args(Split)
_RARE = frozenset({"reasoning", "history"})


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as read back: examples by split, and the passages that they refer to by id."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    passages: dict[str, Passage]


def write_dataset(folder: Path, examples: Sequence[Example], passages: Mapping[str, Passage]) -> None:
    """Write the four files, each whole or not at all.

    Raises:
        ValueError: an example refers to a passage that is not among ``passages``.
    """
    splits = by_split(examples)
    for example in examples:
        for id_ in _referred(example):
            if id_ not in passages:
                raise ValueError(f"example {example.id} refers to passage {id_}, which is not given")
    _write_lines(folder / "passages.jsonl", (asdict(passages[id_]) for id_ in sorted(passages)))
    for split in _SPLITS:
        _write_lines(folder / f"{split}.jsonl", map(_record, splits.get(split, ())))


def read_dataset(folder: Path) -> Dataset:
    """Read a dataset's folder.

    Raises:
        ProjectError: a file is missing, a line is malformed, or an example refers to a passage that is not there.
    """
    passages = {passage.id: passage for _, passage in _read_lines(folder / "passages.jsonl", _passage)}
    splits: dict[Split, list[Example]] = {}
    for split in _SPLITS:
        path = folder / f"{split}.jsonl"
        splits[split] = []
        for where, example in _read_lines(path, _example):
            if example.split != split:
                raise ProjectError(f"{where}: the example's split is {example.split!r}: build the dataset again")
            lacking = [id_ for id_ in _referred(example) if id_ not in passages]
            if lacking:
                raise ProjectError(f"{where}: passage {lacking[0]} is not in passages.jsonl: build the dataset again")
            splits[split].append(example)
    return Dataset(splits["train"], splits["validation"], splits["test"], passages)


def _record(example: Example) -> dict[str, Any]:
    """What most questions lack is left out where they do."""
    return {name: value for name, value in asdict(example).items() if value or name not in _RARE}


def _referred(example: Example) -> list[str]:
    return [*example.oracles, *(candidate.passage for candidate in example.candidates)]


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    write_bytes(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())


def _read_lines(path: Path, make: Any) -> list[tuple[str, Any]]:
    try:
        # Not splitlines(): U+2028 and its like may stand inside a JSON string.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(f"cannot read {path} ({error}): build the dataset again") from error
    records = []
    for number, line in enumerate(lines, start=1):
        if line:
            try:
                records.append((f"{path}:{number}", make(json.loads(line))))
            except (ValueError, TypeError, KeyError) as error:
                raise ProjectError(f"{path}:{number} is not a record of a dataset ({error!r}): build the dataset again") from error
    return records


def _passage(record: dict[str, Any]) -> Passage:
    nested = {"spans": tuple(Span(**span) for span in record["spans"]), "chunk_ids": tuple(record["chunk_ids"])}
    return Passage(**{**record, **nested})


def _example(record: dict[str, Any]) -> Example:
    nested = {
        "answers": tuple(record["answers"]),
        "oracles": tuple(record["oracles"]),
        "candidates": tuple(Candidate(**candidate) for candidate in record["candidates"]),
        "evidence": tuple(Evidence(**evidence) for evidence in record["evidence"]),
        "history": tuple(Message(**message) for message in record.get("history", ())),
    }
    return Example(**{**record, **nested})
