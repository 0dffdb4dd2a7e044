"""Which base models there are, where their weights lie, and how to get them."""

from ragtune.models.catalog import CATALOG, CatalogEntry, Package
from ragtune.models.fingerprint import fingerprint
from ragtune.models.pull import cache_dir, pull, resolve

__all__ = ["CATALOG", "CatalogEntry", "Package", "cache_dir", "fingerprint", "pull", "resolve"]
