"""Parquet and Arrow files, as ``datasets`` keeps them, row by row: read and written through pyarrow, which is an extra."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ragtune.errors import MissingExtraError, QuestionError

_ROWS = 1024  # at once


def read_columns(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a ``.parquet`` or ``.arrow`` file as JSON has them, each with its place for messages.

    Raises:
        QuestionError: the file cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = _pyarrow()
    number = 0
    try:
        for batch in (_parquet if path.suffix == ".parquet" else _arrow)(path, pyarrow):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", json.loads(json.dumps(row, default=str))
    except (pyarrow.ArrowException, OSError) as error:
        raise QuestionError(f"cannot read questions from {path}: {str(error)[:200]}") from error


def _parquet(path: Path, pyarrow: Any) -> Iterator[Any]:
    with pyarrow.parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=_ROWS)


def _arrow(path: Path, pyarrow: Any) -> Iterator[Any]:
    """Of a stream, as ``save_to_disk`` writes it, or of a file with a footer."""
    with path.open("rb") as opened:
        footed = opened.read(6) == b"ARROW1"
        opened.seek(0)
        if footed:
            reader = pyarrow.ipc.open_file(opened)
            yield from (reader.get_batch(at) for at in range(reader.num_record_batches))
        else:
            yield from pyarrow.ipc.open_stream(opened)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("parquet", error.name or "pyarrow") from None
    return pyarrow


def as_columns(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The rows of :func:`ragtune.dataset.export.hub_rows` as a Parquet file.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = _pyarrow()
    text = pyarrow.string()
    turns = pyarrow.list_(pyarrow.struct([("role", text), ("content", text)]))
    spans = pyarrow.struct([("document", text), ("start", pyarrow.int64()), ("end", pyarrow.int64()), ("text", text)])
    shown = pyarrow.struct([("document", text), ("text", text), ("oracle", pyarrow.bool_())])
    texts = ("id", "question", "split", "kind", "reasoning", "document", "needs", "synthesised_by", "reviewed", "extra")
    fields = dict.fromkeys(texts, text)
    fields |= {"answers": pyarrow.list_(text), "evidence": pyarrow.list_(spans), "context": pyarrow.list_(shown)}
    fields |= dict.fromkeys(("history", "prompt", "completion"), turns)
    table = pyarrow.Table.from_pylist(list(rows), schema=pyarrow.schema(list(fields.items())))
    written = io.BytesIO()
    pyarrow.parquet.write_table(table, written)
    return written.getvalue()
