"""Settings to objects: what :mod:`ragtune.backends` makes, in one place for all who need it."""

from ragtune.backends.adopted import Adopted, Reranking, adopted, read_adoption, reranking
from ragtune.backends.embedding import chunk_tokenizer, embedder, token_counter
from ragtune.backends.hosted import chat_model, find_key, list_price, metered, price, price_of, server_address, tuned_from, vertex_place
from ragtune.backends.index import load_store, new_store, open_corpus, train_store
from ragtune.backends.local import (
    continuous_engine,
    engine,
    engine_over,
    extra,
    local_embedder,
    model_fingerprint,
    model_part,
    release_engine,
    tokenizer,
    trainer,
    with_base,
    with_base_of,
    write_model,
)
from ragtune.backends.ready import what_is_missing
from ragtune.backends.reranking import reranker, reranker_fingerprint
from ragtune.backends.tuning import tuning_service

__all__ = [
    "Adopted",
    "Reranking",
    "adopted",
    "chat_model",
    "chunk_tokenizer",
    "continuous_engine",
    "embedder",
    "engine",
    "engine_over",
    "extra",
    "find_key",
    "list_price",
    "load_store",
    "local_embedder",
    "metered",
    "model_fingerprint",
    "model_part",
    "new_store",
    "open_corpus",
    "price",
    "price_of",
    "read_adoption",
    "release_engine",
    "reranker",
    "reranker_fingerprint",
    "reranking",
    "server_address",
    "token_counter",
    "tokenizer",
    "train_store",
    "trainer",
    "tuned_from",
    "tuning_service",
    "vertex_place",
    "what_is_missing",
    "with_base",
    "with_base_of",
    "write_model",
]
