"""Embeddings over OpenAI's protocol with its own SDK: OpenAI, Mistral, Together, vLLM, llama.cpp, Ollama and every compatible server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import openai

from ragtune.errors import ChatError
from ragtune.hosted.openai import translate
from ragtune.types import Usage


class OpenAIEmbeddings:
    """One model of one server; see :class:`~ragtune.embed.hosted.EmbeddingServer`.

    Args:
        name: ``provider:model``, for messages.
        model: as the server knows it.
        base_url: of the API, usually ending in ``/v1``.
        api_key: ``None`` where the server needs none.
        key_variable: the variable that the key belongs into, for messages.
        dimensions: shorter vectors, which not every server knows: one that refuses is asked without, and its answer shows.
        timeout: seconds to wait for the next bytes.
    """

    # "any array must be 2048 dimensions or less", "a maximum of 300,000 tokens summed across all inputs in a single request":
    # https://developers.openai.com/api/reference/resources/embeddings/methods/create
    most_inputs = 2048
    most_tokens = 300_000

    def __init__(
        self,
        name: str,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        key_variable: str | None = None,
        dimensions: int | None = None,
        timeout: float = 120.0,
    ) -> None:
        self.name = name
        self._model = model
        self._secret = api_key
        self._key_variable = key_variable
        self._options: dict[str, Any] = {} if dimensions is None else {"dimensions": dimensions}
        self._client = openai.OpenAI(api_key=api_key or "none", base_url=base_url, timeout=timeout, max_retries=0)

    def embed(self, texts: Sequence[str], *, query: bool) -> tuple[Sequence[Sequence[float]], Usage]:  # noqa: ARG002 - no such difference
        """A vector for each text; documents and questions are the same to this API."""
        # An empty text is refused by the vendor.
        inputs = [text or " " for text in texts]
        while True:
            options = dict(self._options)
            try:
                answer = self._client.embeddings.create(model=self._model, input=inputs, **options)
                # Stable: servers that number nothing keep to the order of the texts. How many came is for the caller to check.
                rows = sorted(answer.data, key=lambda row: row.index or 0)
                break
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._give_way(error, options):
                    raise self._translate(error) from None
            except openai.APIError as error:
                raise self._translate(error) from None
            except (ValueError, TypeError, AttributeError) as error:
                raise ChatError(
                    f"{self.name}: the server's answer is not one of an embeddings API ({type(error).__name__}): check chat.base_urls, "
                    "and that the model is an embedder"
                ) from None
        usage = Usage(int(answer.usage.prompt_tokens or 0)) if getattr(answer, "usage", None) else Usage()
        return [row.embedding for row in rows], usage

    def _give_way(self, error: openai.APIStatusError, sent: dict[str, Any]) -> bool:
        """Whether the server refused something that can be left out or written otherwise; then it will be, from now on.

        What counts is what was sent: by now another thread may have learned it.
        """
        words = f"{error.param or ''} {error.message}"
        if "dimensions" in sent and ("dimensions" in words or "matryoshka" in words.lower()):
            self._options.pop("dimensions", None)
            return True
        if "encoding_format" in words and "encoding_format" not in sent:  # the SDK asks for base64 of itself
            self._options["encoding_format"] = "float"
            return True
        return False

    def _translate(self, error: openai.APIError) -> ChatError:
        return translate(self.name, error, secret=self._secret, key_variable=self._key_variable)
