"""Files to clean, chunked documents: find, read (in child processes), clean, dedupe, chunk."""

from ragtune.prepare.chunk import chunk_document
from ragtune.prepare.clean import RULES, Rule, clean_document
from ragtune.prepare.dedupe import Text, duplicates_among, near_pairs, sketch, sketch_version
from ragtune.prepare.filter import Filters, filter_sources
from ragtune.prepare.given import given_metadata, unused_rules
from ragtune.prepare.isolate import ReadResult, read_sources
from ragtune.prepare.language import can_tell_languages, refuses_language
from ragtune.prepare.read import holds_records, reader_version
from ragtune.prepare.sources import Fields, Source, Unreadable, find_sources

__all__ = [
    "RULES",
    "Fields",
    "Filters",
    "ReadResult",
    "Rule",
    "Source",
    "Text",
    "Unreadable",
    "can_tell_languages",
    "chunk_document",
    "clean_document",
    "duplicates_among",
    "filter_sources",
    "find_sources",
    "given_metadata",
    "holds_records",
    "near_pairs",
    "read_sources",
    "reader_version",
    "refuses_language",
    "sketch",
    "sketch_version",
    "unused_rules",
]
