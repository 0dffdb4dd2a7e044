"""``/api/search``: the best chunks for a text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from ragtune.serve.errors import documented
from ragtune.serve.records import Body
from ragtune.serve.state import Caller, State, get_state, require
from ragtune.serve.streams import collect
from ragtune.types import Hit, Where

router = APIRouter(tags=["ragtune"])


class HitBody(Body):
    """A chunk as it was found."""

    rank: int
    score: float
    document: str
    title: str
    headings: str
    start: int
    end: int
    text: str
    enough: bool | None


class Hits(Body):
    """The best first."""

    hits: list[HitBody]


@router.get("/api/search", responses=documented(409, 429, 502, 503), summary="Search the documents")
async def search(
    request: Request,
    state: Annotated[State, Depends(get_state)],
    caller: Annotated[Caller, Depends(require("ask", counted=True))],
    text: Annotated[str, Query(min_length=1, max_length=20_000, pattern=r"\S")],
    k: Annotated[int | None, Query(ge=1, le=100)] = None,
    source: Annotated[str | None, Query(max_length=1000)] = None,
    media_type: Annotated[str | None, Query(max_length=200)] = None,
) -> Hits:
    """The `k` best chunks; `enough` says whether the score is one that counts as found, where that was chosen."""
    where = Where(caller.access, source or None, media_type or None)
    found = _found(state, text, k or state.project.settings.retrieve.k, where if where != Where() else None)
    return Hits(hits=await collect(found, request.receive, state.places))


def _found(state: State, text: str, k: int, where: Where | None) -> Iterator[HitBody]:
    retriever = state.answering.retriever
    with retriever.lease(where) as lease:
        (found,) = retriever.compute(lambda: lease.retriever.retrieve([text], k))
    threshold = retriever.threshold()
    yield from (_body(hit, None if threshold is None else hit.score >= threshold.score) for hit in found)


def _body(hit: Hit, enough: bool | None) -> HitBody:
    return HitBody(
        rank=hit.rank,
        score=round(hit.score, 4),
        document=hit.chunk.document,
        title=hit.chunk.title,
        headings=" › ".join(hit.chunk.headings),
        start=hit.chunk.start,
        end=hit.chunk.end,
        text=hit.chunk.text,
        enough=enough,
    )
