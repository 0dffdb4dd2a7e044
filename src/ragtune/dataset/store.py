"""A dataset's folder: ``train.jsonl``, ``validation.jsonl``, ``test.jsonl`` (one example a line) and ``passages.jsonl``.

The fields are those of :class:`ragtune.types.Example` and :class:`ragtune.types.Passage`, nested records as objects; offsets are code
points of the document's text. What question files say beyond that, which only an export needs, stands in ``fields.jsonl``. The same dataset
gives the same bytes. The folder's manifest is left to the caller, who writes it last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_args

from ragtune.dataset.raft import by_split
from ragtune.errors import ProjectError
from ragtune.jsonl import passage_of, read_records
from ragtune.types import JSON, Candidate, Evidence, Example, Message, Passage, Split
from ragtune.workspace import write_bytes

_T = TypeVar("_T")
_SPLITS: tuple[Split, ...] = get_args(Split)
_RARE = frozenset({"reasoning", "history"})

Fields: TypeAlias = Mapping[str, Mapping[str, JSON]]
"""Fields of question files that examples lack, by id: ``document`` (of a question without evidence), ``needs``, ``synthesised_by``,
``reviewed``, and under ``extra`` those that ragtune does not know."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as read back: examples by split, the passages that they refer to by id, and what else is known of the questions."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    passages: dict[str, Passage]
    fields: Fields = field(default_factory=dict)


def write_dataset(folder: Path, examples: Sequence[Example], passages: Mapping[str, Passage], fields: Fields | None = None) -> None:
    """Write the four files, and ``fields.jsonl`` where there are any, each whole or not at all.

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
    if fields:
        _write_lines(folder / "fields.jsonl", ({"id": id_, **fields[id_]} for id_ in sorted(fields)))


def read_dataset(folder: Path) -> Dataset:
    """Read a dataset's folder.

    Raises:
        ProjectError: a file is missing, a line is malformed, or an example refers to a passage that is not there.
    """
    passages = {passage.id: passage for _, passage in _read(folder / "passages.jsonl", passage_of)}
    splits: dict[Split, list[Example]] = {}
    for split in _SPLITS:
        path = folder / f"{split}.jsonl"
        splits[split] = []
        for where, example in _read(path, _example):
            if example.split != split:
                raise ProjectError(f"{where}: the example's split is {example.split!r}: build the dataset again")
            lacking = [id_ for id_ in _referred(example) if id_ not in passages]
            if lacking:
                raise ProjectError(f"{where}: passage {lacking[0]} is not in passages.jsonl: build the dataset again")
            splits[split].append(example)
    path = folder / "fields.jsonl"
    fields = dict(read for _, read in _read(path, lambda record: (record.pop("id"), record))) if path.is_file() else {}
    return Dataset(splits["train"], splits["validation"], splits["test"], passages, fields)


def _record(example: Example) -> dict[str, Any]:
    """What most questions lack is left out where they do."""
    return {name: value for name, value in asdict(example).items() if value or name not in _RARE}


def _referred(example: Example) -> list[str]:
    return [*example.oracles, *(candidate.passage for candidate in example.candidates)]


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    write_bytes(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())


def _read(path: Path, make: Callable[[Any], _T]) -> list[tuple[str, _T]]:
    return read_records(path, make, of="a dataset", again="build the dataset again", error=ProjectError)


def _example(record: dict[str, Any]) -> Example:
    nested = {
        "answers": tuple(record["answers"]),
        "oracles": tuple(record["oracles"]),
        "candidates": tuple(Candidate(**candidate) for candidate in record["candidates"]),
        "evidence": tuple(Evidence(**evidence) for evidence in record["evidence"]),
        "history": tuple(Message(**message) for message in record.get("history", ())),
    }
    return Example(**{**record, **nested})
