"""Files to clean, chunked documents: find, read (in child processes), clean, dedupe, chunk."""

from ragtune.prepare.chunk import chunk_document
from ragtune.prepare.clean import clean_document
from ragtune.prepare.dedupe import Duplicate, find_duplicates, kept_source, near_pairs
from ragtune.prepare.isolate import ReadResult, read_sources
from ragtune.prepare.read import holds_records, reader_version
from ragtune.prepare.sources import Fields, Source, Unreadable, find_sources

__all__ = [
    "Duplicate",
    "Fields",
    "ReadResult",
    "Source",
    "Unreadable",
    "chunk_document",
    "clean_document",
    "find_duplicates",
    "find_sources",
    "holds_records",
    "kept_source",
    "near_pairs",
    "read_sources",
    "reader_version",
]
