"""What the API answers with, as the schema of its OpenAPI document."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ragtune.rag import Citation
from ragtune.types import Passage


class Body(BaseModel):
    """Base of what is sent: every field is always there."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class ErrorDetail(Body):
    """What went wrong and what to do."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


class ErrorBody(Body):
    """Every error, in the shape that OpenAI's clients read."""

    error: ErrorDetail


class CitationBody(Body):
    """A quote of the answer that stands word for word in a passage shown. Offsets are code points of the document's text."""

    number: int = Field(description="Of the passage, from 1.")
    quote: str
    document: str
    title: str
    start: int
    end: int
    page: int | None = Field(None, description="From 1, of documents with pages.")
    found: bool = Field(False, description="The answer quotes nothing; this sentence holds its words.")


class PassageBody(Body):
    """What the model was shown, as found."""

    number: int = Field(description="From 1, the best first.")
    document: str
    title: str
    headings: str
    text: str
    start: int
    end: int
    page: int | None = None
    score: float | None = None


class UsageBody(Body):
    """Tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class SecondsBody(Body):
    """Times of one answer, in seconds."""

    retrieval: float
    first_token: float | None
    total: float


class AnswerBody(Body):
    """A finished answer with its checked citations."""

    trace: str | None = Field(None, description="Names the answer where feedback is given; null where it could not be kept.")
    question: str
    answer: str = Field(description="The final answer alone; empty where there is none.")
    markdown: str = Field(description="To be shown.")
    abstained: bool = Field(description="The documents found do not hold the answer.")
    withheld: bool = Field(description="There was an answer, and it was not sure enough for generate.precision.")
    confidence: float | None = Field(None, description="Probability that the passages hold the answer, where that was learned.")
    model: str
    citations: list[CitationBody]
    unsupported: list[str] = Field(description="Quotes that stand in no passage shown.")
    passages: list[PassageBody]
    usage: UsageBody
    cost: float | None = Field(None, description="US dollars; null where no price is known.")
    seconds: SecondsBody


class RetrievedBody(Body):
    """The passages that were found, before the model writes."""

    passages: list[PassageBody]
    seconds: float


class PieceBody(Body):
    """Some of what the model writes, as it writes it."""

    text: str


class Turn(BaseModel):
    """Something that was said before."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["user", "assistant"]
    content: str = Field(max_length=100_000)


Pages = Mapping[str, Sequence[int]]
"""Where each page of a document starts in its text."""


def page_of(pages: Pages, document: str, offset: int) -> int | None:
    """The page on which an offset lies, from 1; ``None`` of a document without pages."""
    starts = pages.get(document)
    return max(1, bisect_right(starts, offset)) if starts else None


def citation_body(citation: Citation, pages: Pages) -> CitationBody:
    """A checked citation with its page."""
    quote = citation.quote
    document, start, end = quote.document or "", quote.start or 0, quote.end or 0
    return CitationBody(
        number=citation.number,
        quote=quote.text,
        document=document,
        title=citation.title,
        start=start,
        end=end,
        page=page_of(pages, document, start),
        found=quote.found,
    )


def passage_body(number: int, passage: Passage, headings: Sequence[str], score: float | None, pages: Pages) -> PassageBody:
    """A passage with its place and page."""
    start = passage.spans[0].start
    return PassageBody(
        number=number,
        document=passage.document,
        title=passage.title,
        headings=" › ".join(headings),
        text=passage.text,
        start=start,
        end=passage.spans[-1].end,
        page=page_of(pages, passage.document, start),
        score=None if score is None else round(score, 4),
    )
