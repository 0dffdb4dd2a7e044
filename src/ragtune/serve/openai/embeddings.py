"""``/v1/embeddings``: the project's embedder, as it embeds documents."""

from __future__ import annotations

import base64
from collections.abc import Generator, Sequence
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Request

from ragtune import build
from ragtune.errors import NoSuchModelError
from ragtune.protocols import Embedder, Float32
from ragtune.serve.answering import guess_tokens
from ragtune.serve.errors import ApiError, documented
from ragtune.serve.openai.schemas import EmbeddingItem, EmbeddingRequest, Embeddings, EmbeddingUsage
from ragtune.serve.state import Caller, State, get_state, require
from ragtune.serve.streams import collect

SLICE = 16
"""Texts that are embedded at a time: between two of them others can search, and it is seen whether the client still listens."""

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/embeddings", responses=documented(404, 409, 429, 502, 503), summary="Embed texts")
async def embed(
    request: Request,
    body: EmbeddingRequest,
    state: Annotated[State, Depends(get_state)],
    caller: Annotated[Caller, Depends(require("ask", counted=True))],
) -> Embeddings:
    """Vectors of texts, of length 1, by the embedder that the project's index has."""
    embedded = await collect(_embedded(body, state, caller), request.receive, state.places)
    vectors = [vector_d for vectors_nd, _ in embedded for vector_d in vectors_nd]
    tokens = sum(tokens for _, tokens in embedded)
    packed = body.encoding_format == "base64"
    return Embeddings(
        data=[
            EmbeddingItem(index=index, embedding=base64.b64encode(vector_d.tobytes()).decode() if packed else vector_d.tolist())
            for index, vector_d in enumerate(vectors)
        ],
        model=state.project.settings.embed.model,
        usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _embed(embedder: Embedder, texts: Sequence[str]) -> tuple[Float32, int]:
    return np.asarray(embedder.embed_documents(texts), dtype="<f4"), sum(embedder.count_tokens(texts))


def _embedded(body: EmbeddingRequest, state: State, caller: Caller) -> Generator[tuple[Float32, int]]:
    """Vectors and tokens of each slice of the texts."""
    project = state.project
    if body.model not in ("ragtune", project.settings.embed.model):
        raise NoSuchModelError(f"the embedder of this project is {project.settings.embed.model}, also known as ragtune: not {body.model}")
    embedder = build.embedder(project.workspace, project.settings)
    if body.dimensions is not None and body.dimensions != embedder.dimension:
        raise ApiError(400, f"dimensions: the vectors of this embedder have {embedder.dimension}, and no others", param="dimensions")
    texts = [body.input] if isinstance(body.input, str) else body.input
    with state.limits.reserve(caller.name, guess_tokens(texts), caller.tokens_per_minute):
        for start in range(0, len(texts), SLICE):
            some = texts[start : start + SLICE]
            vectors_nd, tokens = state.answering.retriever.compute(partial(_embed, embedder, some))
            state.limits.spend(caller.name, tokens, caller.tokens_per_minute)
            yield vectors_nd, tokens
