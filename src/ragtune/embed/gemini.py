"""Embeddings of Gemini through google-genai, Google's own SDK."""

from __future__ import annotations

import json
from collections.abc import Sequence

from google import genai
from google.genai import errors, types
from pydantic import ValidationError

from ragtune.errors import ChatError
from ragtune.hosted.gemini import translate
from ragtune.types import Usage


class GeminiEmbeddings:
    """One model; see :class:`~ragtune.embed.hosted.EmbeddingServer`.

    Args:
        name: ``gemini:model``, for messages.
        model: as the API knows it.
        client: see :func:`ragtune.hosted.gemini.connect`.
        secret: the key, taken out of every message.
        key_variable: the variable that the key belongs into, for messages.
        dimensions: shorter vectors; all but the longest come without being normalised
            (https://ai.google.dev/gemini-api/docs/embeddings, "Ensuring quality for smaller dimensions").
    """

    # "BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch", as the API says to more; see also
    # https://github.com/vercel/ai/pull/16575
    most_inputs = 100
    most_tokens = None

    def __init__(
        self,
        name: str,
        model: str,
        *,
        client: genai.Client,
        secret: str | None = None,
        key_variable: str | None = None,
        dimensions: int | None = None,
    ) -> None:
        self.name = name
        self._model = model
        self._client = client
        self._secret = secret
        self._key_variable = key_variable
        self._dimensions = dimensions
        # From the second generation on the task stands in the text, and task_type is passed over:
        # https://ai.google.dev/gemini-api/docs/embeddings
        self._task_in_text = not model.rpartition("/")[2].startswith(("gemini-embedding-001", "text-embedding", "embedding-001"))

    def embed(self, texts: Sequence[str], *, query: bool) -> tuple[Sequence[Sequence[float]], Usage]:
        """A vector for each text, made for the search in documents."""
        task = None if self._task_in_text else "RETRIEVAL_QUERY" if query else "RETRIEVAL_DOCUMENT"
        form = "{}" if not self._task_in_text else "task: search result | query: {}" if query else "title: none | text: {}"
        # One content for each: strings in a list are the parts of one to the second generation, which gives them one vector.
        contents = [types.Content(role="user", parts=[types.Part(text=form.format(text or " "))]) for text in texts]
        config = types.EmbedContentConfig(task_type=task, output_dimensionality=self._dimensions)
        try:
            answer = self._client.models.embed_content(model=self._model, contents=contents, config=config)
        except (errors.UnknownApiResponseError, ValidationError, json.JSONDecodeError) as error:
            raise ChatError(
                f"{self.name}: the server's answer is not one of Gemini's embeddings API ({type(error).__name__}): check chat.base_urls"
            ) from None
        except Exception as error:
            raise translate(self.name, error, secret=self._secret, key_variable=self._key_variable) from None
        counted = answer.usage_metadata
        return [each.values or [] for each in answer.embeddings or []], Usage((counted.prompt_token_count or 0) if counted else 0)
