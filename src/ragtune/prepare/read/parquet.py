"""Parquet: each row a record."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ragtune.errors import ReadError
from ragtune.prepare.read.records import parse, to_documents
from ragtune.prepare.sources import Source
from ragtune.types import Document

_LARGEST = 1 << 30  # bytes of columns once unpacked


def read(source: Source) -> list[Document]:
    """A document for each row, ``file.parquet#ID``; see :func:`ragtune.prepare.read.records.to_documents`."""
    # the default pools reserve more address space than a reader may have
    pool = pa.system_memory_pool()
    try:
        with pq.ParquetFile(io.BytesIO(source.read_bytes()), memory_map=False, pre_buffer=False) as file:
            size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
            if size > _LARGEST:
                raise ReadError(f"{source.name} holds {size:,} bytes of rows: split it into files of at most {_LARGEST:,}")
            pa.set_memory_pool(pool)
            return to_documents(source, _records(file), "application/vnd.apache.parquet", "row")
    except pa.ArrowException as error:
        raise ReadError(f"{source.name} cannot be read as Parquet: {str(error)[:200]}") from error


def _records(file: pq.ParquetFile) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    for batch in file.iter_batches(batch_size=1024, use_threads=False):
        for row in batch.to_pylist():
            number += 1
            yield number, parse(json.dumps(row, default=str, ensure_ascii=True))
