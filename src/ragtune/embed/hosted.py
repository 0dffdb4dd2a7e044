"""An embedder that is a server: requests within the vendor's limits, several at once, each paid for once and checked.

What one request says on the wire is the vendor's own module's; waiting, trying again and the cap are :mod:`ragtune.hosted.meter`'s.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from typing import Protocol

import numpy as np

from ragtune.embed.cache import VectorCache
from ragtune.embed.tokens import CountTokens
from ragtune.errors import ChatError, ContextOverflowError, SpendingCapError
from ragtune.hosted.failures import other_dimension
from ragtune.hosted.meter import Meter
from ragtune.hosted.waiting import threads
from ragtune.protocols import Float32
from ragtune.types import Usage

_FORMAT = 1  # raised when the same text is sent otherwise, so that vectors from before are not compared with new ones

_WINDOWS = {
    "openai": 8191,  # https://developers.openai.com/api/docs/guides/embeddings, "Max input" of the models
    "gemini": 2048,  # https://ai.google.dev/gemini-api/docs/models/gemini-embedding-001, "Input token limit"
}


class EmbeddingServer(Protocol):
    """One model of one vendor's embeddings API. It makes one attempt a call and raises a :class:`~ragtune.errors.ChatError`."""

    @property
    def name(self) -> str:
        """``provider:model``."""

    @property
    def most_inputs(self) -> int:
        """Texts that one request may carry."""

    @property
    def most_tokens(self) -> int | None:
        """Tokens that the texts of one request may have together; ``None`` where no limit is known."""

    def embed(self, texts: Sequence[str], *, query: bool) -> tuple[Sequence[Sequence[float]], Usage]:
        """A vector for each text, in their order, and what the server counted."""


class HostedEmbedder:
    """Fulfils the embedder's contract over a server.

    There are no weights to hash: the fingerprint is of what names them (:func:`fingerprint`). A server that takes another model under the
    same name and address is noticed where the length of its vectors differs, and not otherwise.

    Args:
        server: makes the requests.
        meter: of the project's spending.
        cache: vectors of questions are kept in it; those of documents only where a call failed half-way, as the corpus keeps them.
        fingerprint: see :func:`fingerprint`.
        count_tokens: of a tokenizer near enough to the server's own.
        max_tokens: the server's window.
        dimensions: length of the vectors that were asked for; ``None`` takes what the model gives.
        batch_size: texts in one request, if the vendor allows as many.
        concurrency: requests on their way at once.
        asks: the server may be asked; else a text that was not asked for before is a :class:`~ragtune.errors.SpendingCapError`.
    """

    def __init__(
        self,
        server: EmbeddingServer,
        meter: Meter,
        cache: VectorCache,
        *,
        fingerprint: str,
        count_tokens: CountTokens,
        max_tokens: int,
        dimensions: int | None = None,
        batch_size: int = 64,
        concurrency: int = 4,
        asks: bool = True,
    ) -> None:
        self.name = server.name
        self.fingerprint = fingerprint
        self.max_tokens = max_tokens
        self.count_tokens = count_tokens
        self._server = server
        self._meter = meter
        self._cache = cache
        self._batch_size = min(batch_size, server.most_inputs)
        self._concurrency = concurrency
        self._asked = dimensions
        self._asks = asks
        self._dimension = dimensions or cache.dimension(fingerprint)
        self._learning = threading.Lock()

    @property
    def dimension(self) -> int:
        """Length of a vector: as asked for, or as the server's first answer had it, in whichever process that was."""
        if self._dimension is None:
            self.embed_queries(["dimension"])
        assert self._dimension is not None  # noqa: S101 - for the type checker: every answer sets it
        return self._dimension

    def embed_documents(self, texts: Sequence[str]) -> Float32:
        """Vectors ``[n, d]``, L2-normalised."""
        return self._embed(texts, query=False)

    def embed_queries(self, texts: Sequence[str]) -> Float32:
        """Vectors ``[q, d]``, L2-normalised; a text is asked for once in the life of the project."""
        return self._embed(texts, query=True)

    def _embed(self, texts: Sequence[str], *, query: bool) -> Float32:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        keys = {text: self._key(text, query) for text in texts}
        known = self._cache.find(list(keys.values()))
        known |= self._request_all([text for text, key in keys.items() if key not in known], query)
        return np.stack([known[keys[text]] for text in texts])

    def _request_all(self, texts: Sequence[str], query: bool) -> dict[str, Float32]:
        """Vectors by key. What other requests brought before one failed is paid for, and kept."""
        if texts and not self._asks:
            raise SpendingCapError(f"{self.name}: {len(texts)} texts are new to it, and it may not be asked yet")
        with threads(self._concurrency) as pool:
            running = [pool.submit(self._request, batch, query) for batch in self._batches(texts)]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            finally:
                for future in running:
                    future.cancel()
        ended = [future for future in running if not future.cancelled()]
        made = {key: vector for future in ended if future.exception() is None for key, vector in future.result().items()}
        failed = next((error for future in ended if (error := future.exception()) is not None), None)
        if failed is not None:
            self._cache.keep(made)
            raise failed
        return made

    def _request(self, texts: Sequence[str], query: bool) -> dict[str, Float32]:
        def call() -> Sequence[Sequence[float]]:
            # A token of a byte-level tokenizer is at least one byte; a text's frame is a few more.
            reservation = self._meter.begin(Usage(sum(map(_most_tokens, texts))))
            try:
                vectors, usage = self._server.embed(texts, query=query)
            except ChatError as error:
                self._meter.failed(reservation, error)
                raise
            self._meter.end(reservation, usage)
            return vectors

        try:
            vectors_nd = self._checked(self._meter.retrying()(call), len(texts))
        except ContextOverflowError as error:
            if len(texts) == 1:
                raise ContextOverflowError(
                    f"{self.name}: a text of {len(texts[0])} characters is longer than the model reads: set prepare.chunk_size lower "
                    f"and run 'ragtune ingest' again ({error})"
                ) from None
            # The server's limit for all texts of a request is lower than the vendors' that are known.
            half = len(texts) // 2
            return self._request(texts[:half], query) | self._request(texts[half:], query)
        made = {self._key(text, query): vector for text, vector in zip(texts, vectors_nd, strict=True)}
        if query:
            self._cache.keep(made)
        return made

    def _checked(self, vectors: Sequence[Sequence[float]], wanted: int) -> Float32:
        """Vectors ``[n, d]``, L2-normalised: vendors shorten vectors without making them as long as 1 again."""
        if len(vectors) != wanted:
            raise ChatError(
                f"{self.name}: {len(vectors)} vectors came for {wanted} texts: the server does not keep to its protocol; "
                "is its address that of an embeddings API (chat.base_urls)?"
            )
        with self._learning:
            if self._dimension is None:
                self._dimension = len(vectors[0])
                self._cache.keep_dimension(self.fingerprint, self._dimension)
        for vector in vectors:
            if len(vector) != self._dimension:
                raise ChatError(other_dimension(self.name, len(vector), self._dimension, asked=self._asked is not None))
        vectors_nd = np.asarray(vectors, np.float32)
        lengths_n = np.linalg.norm(vectors_nd, axis=1, keepdims=True)
        if not (np.isfinite(lengths_n).all() and lengths_n.all()):
            raise ChatError(f"{self.name}: a vector came that is zero or no number: the server's model is damaged, or no embedder")
        normalised: Float32 = vectors_nd / lengths_n
        return normalised

    def _batches(self, texts: Sequence[str]) -> Iterator[Sequence[str]]:
        batch: list[str] = []
        tokens = 0
        for text in texts:
            more = _most_tokens(text)
            if batch and (len(batch) == self._batch_size or tokens + more > (self._server.most_tokens or tokens + more)):
                yield batch
                batch, tokens = [], 0
            batch.append(text)
            tokens += more
        if batch:
            yield batch

    def _key(self, text: str, query: bool) -> str:
        return hashlib.sha256(json.dumps([self.fingerprint, query, text]).encode()).hexdigest()


def fingerprint(provider: str, model: str, dimensions: int | None, address: str | None) -> str:
    """Of what names a server's weights, 16 hex characters: they themselves cannot be hashed."""
    return hashlib.sha256(json.dumps([_FORMAT, provider, model, dimensions, address]).encode()).hexdigest()[:16]


def window(provider: str) -> int:
    """Tokens that a provider's embedders read at the least; 512, as most open ones do, where that is not known."""
    return _WINDOWS.get(provider, 512)


def _most_tokens(text: str) -> int:
    return len(text.encode()) + 8
