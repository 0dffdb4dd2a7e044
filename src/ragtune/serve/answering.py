"""Answers for the server: the hot retriever and the served models around what ``ask`` does, with times, pages and a trace for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from ragtune.config import Settings
from ragtune.conversation import search_text
from ragtune.errors import AbandonedError, BusyError, ConfigError
from ragtune.pipeline.forecast import SHOWN
from ragtune.prompts import WITH_PASSAGES
from ragtune.protocols import ChatModel
from ragtune.rag import NOT_SURE, Answer, answer_question
from ragtune.serve.models import BASE, Served, ServedModels
from ragtune.serve.records import (
    AnswerBody,
    Pages,
    PassageBody,
    SecondsBody,
    UsageBody,
    citation_body,
    passage_body,
)
from ragtune.serve.retriever import HotRetriever
from ragtune.traces.records import LEFT, TraceRecord
from ragtune.types import GREEDY, Hit, Message, Passage, Reply, Sampling, Usage, Where
from ragtune.workspace import Workspace, now

PLAIN_TOKENS = 512
"""Longest answer of a chat without retrieval, where the request does not say."""
_LETTERS_OF_A_TOKEN = 4  # about, of English: an answer that was left has no usage of its own

Record = Callable[[TraceRecord], str | None]
"""Keeps a trace, counts it, and gives its id."""


@dataclass(frozen=True)
class Retrieved:
    """What was found for a question, as the model is shown it."""

    passages: tuple[Passage, ...]
    bodies: list[PassageBody]
    pages: Pages
    seconds: float


@dataclass(frozen=True)
class Answered:
    """A finished answer.

    Args:
        answer: it.
        body: as the API gives it.
        finished: the model stopped by itself, not at the token limit.
    """

    answer: Answer
    body: AnswerBody
    finished: bool


@dataclass(frozen=True)
class Request:
    """What is asked, and how.

    Args:
        question: as asked.
        history: what was said before.
        model: see :meth:`ServedModels.find`.
        k: passages shown; ``None`` as many as the model was tuned with.
        where: which documents may be found.
        sampling: how tokens are chosen.
        max_tokens: longest answer; ``None`` is ``generate.max_new_tokens``.
        key: name of the caller's key.
        conversation: that it belongs to.
        any_hosted: whether every hosted model may be named.
        spend: told the tokens of the answer, of one that was left too.
        reserve: told about how many those may be, before; holds them until it is left.
    """

    question: str
    history: Sequence[Message] = ()
    model: str | None = None
    k: int | None = None
    where: Where | None = None
    sampling: Sampling = GREEDY
    max_tokens: int | None = None
    key: str = ""
    conversation: str | None = None
    any_hosted: bool = True
    spend: Callable[[int], None] = lambda _: None
    reserve: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext()


@dataclass
class _Timing:
    """How far an answer is, for its trace; of an answer that is not whole yet, the tokens are guessed."""

    began: float = field(default_factory=time.perf_counter)
    retrieval: float = 0.0
    first_token: float | None = None
    answered: bool = False
    prompt_tokens: int = 0
    pieces: int = 0

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.pieces)

    @property
    def seconds(self) -> float:
        return round(time.perf_counter() - self.began, 4)


class Answering:
    """Answers questions of many callers over one retriever and the models that are served.

    Args:
        workspace: of the project.
        settings: its settings.
        default: the model that ``ragtune`` names.
        record: keeps traces.
    """

    def __init__(self, workspace: Workspace, settings: Settings, default: str | None = None, record: Record = lambda _: None) -> None:
        self._settings = settings
        self._record = record
        self.retriever = HotRetriever(workspace, settings)
        self.models = ServedModels(workspace, settings, default)

    def stream(self, asked: Request, served: Served | None = None) -> Generator[Retrieved | str | Answered]:
        """The passages found, pieces of what the model writes, then the answer with its checked citations.

        Closing it stops the model. Each answer leaves a trace, a failed or abandoned one too. ``served`` is the model, where it was
        looked up already.

        Raises:
            RagtuneError: there is no such model, no index, or no answer.
        """
        if not asked.question.strip():
            raise ConfigError("the question is empty")
        served = served or self.models.find(asked.model, any_hosted=asked.any_hosted)
        longest = self._longest(asked, self._settings.generate.max_new_tokens)
        read = guess_tokens([WITH_PASSAGES, *(turn.content for turn in asked.history), asked.question])
        shown = int((asked.k or served.k) * self._settings.prepare.chunk_size * SHOWN[self._settings.retrieve.expand])
        with asked.reserve(read + shown + longest):
            timing = _Timing()
            found: Retrieved | None = None
            try:
                hits, found = self._retrieve(asked, served, timing)
                yield found
                yield from self._answer(asked, served, hits, found, timing, longest)
            except BaseException as error:
                self._failed(asked, served, found, timing, error)
                raise

    def chat(self, messages: Sequence[Message], asked: Request, served: Served | None = None) -> Generator[str | Answered]:
        """A chat with the model as it is, without passages: pieces, then all of it."""
        served = served or self.models.find(asked.model, any_hosted=asked.any_hosted)
        longest = self._longest(asked, PLAIN_TOKENS)
        with asked.reserve(guess_tokens([message.content for message in messages]) + longest):
            timing = _Timing()
            try:
                heard = _Heard(served.chat, timing)
                pieces: list[str] = []
                with _closing(heard.stream(messages, max_tokens=longest, sampling=asked.sampling)) as written:
                    for piece in written:
                        if isinstance(piece, str):
                            pieces.append(piece)
                            yield piece
                text = "".join(pieces)
                answer = Answer(asked.question, text, text, False, (), (), (), served.chat.name, text, heard.reply.cost)
                yield self._finish(asked, served, answer, heard.reply, None, timing)
            except BaseException as error:
                self._failed(asked, served, None, timing, error)
                raise

    def _longest(self, asked: Request, usual: int) -> int:
        return usual if asked.max_tokens is None else min(asked.max_tokens, self._settings.serve.longest_answer)

    def _retrieve(self, asked: Request, served: Served, timing: _Timing) -> tuple[list[Hit], Retrieved]:
        with self.retriever.lease(asked.where) as lease:
            text, k = search_text(asked.question, asked.history), asked.k or served.k
            (hits,) = self.retriever.compute(lambda: lease.retriever.retrieve([text], k))
            passages = tuple(lease.retriever.to_passage(hit.chunk) for hit in hits)
            pages = lease.corpus.page_starts(passage.document for passage in passages)
        timing.retrieval = timing.seconds
        bodies = [
            passage_body(number, passage, hit.chunk.headings, hit.score, pages)
            for number, (passage, hit) in enumerate(zip(passages, hits, strict=True), start=1)
        ]
        return hits, Retrieved(passages, bodies, pages, timing.retrieval)

    def _answer(
        self, asked: Request, served: Served, hits: Sequence[Hit], found: Retrieved, timing: _Timing, longest: int
    ) -> Iterator[str | Answered]:
        free = asked.sampling.schema is not None  # an answer in a form is JSON and nothing else, so nothing may stand in its place
        threshold = None if free else self.retriever.threshold()
        heard = _Heard(served.chat, timing)
        shown = {hit.chunk.id: passage for hit, passage in zip(hits, found.passages, strict=True)}
        written = answer_question(
            asked.question,
            _Found(hits),
            heard,
            to_passage=lambda chunk: shown[chunk.id],
            k=len(hits),
            max_tokens=longest,
            constrained_quotes=self._settings.generate.constrained_quotes and not free,
            least_score=None if threshold is None else threshold.score,
            gate=None if free else served.gate,
            history=asked.history,
            sampling=asked.sampling,
        )
        with _closing(written) as pieces:
            for piece in pieces:
                yield piece if isinstance(piece, str) else self._finish(asked, served, piece, heard.reply, found, timing)

    def _finish(self, asked: Request, served: Served, answer: Answer, reply: Reply, found: Retrieved | None, timing: _Timing) -> Answered:
        pages: Pages = found.pages if found else {}
        body = AnswerBody(
            trace=None,
            question=asked.question,
            answer=answer.answer,
            markdown=answer.markdown,
            abstained=answer.abstained,
            withheld=answer.markdown == NOT_SURE,
            confidence=answer.confidence,
            model=served.name,
            citations=[citation_body(citation, pages) for citation in answer.citations],
            unsupported=list(answer.unsupported),
            passages=found.bodies if found else [],
            usage=UsageBody(prompt_tokens=reply.usage.prompt_tokens, completion_tokens=reply.usage.completion_tokens),
            cost=answer.cost,
            seconds=SecondsBody(retrieval=timing.retrieval, first_token=timing.first_token, total=timing.seconds),
        )
        timing.answered = True
        asked.spend(reply.usage.prompt_tokens + reply.usage.completion_tokens)
        body.trace = self._record(replace(_trace(asked, body, answer.raw, reply.usage), review=self._to_review(asked, body)))
        return Answered(answer, body, reply.finished)

    def _to_review(self, asked: Request, body: AnswerBody) -> bool:
        """Whether an unsure answer tells of something to mend: not that of the base beside a tuned model, nor one to a filter's nothing."""
        compared = body.model == BASE != self.models.default
        filtered = asked.where is not None and bool(asked.where.source or asked.where.media_type)
        return not compared and not (filtered and not body.passages)

    def _failed(self, asked: Request, served: Served, found: Retrieved | None, timing: _Timing, error: BaseException) -> None:
        """Leave a trace of what was asked and not answered; what was answered has one already, and who was sent away asks again."""
        if timing.answered or isinstance(error, BusyError):
            return
        left = isinstance(error, GeneratorExit | AbandonedError)
        said = LEFT if left else str(error) or repr(error)
        usage = timing.usage if left or timing.pieces else Usage()  # a model that could not be reached has read nothing
        asked.spend(usage.prompt_tokens + usage.completion_tokens)
        body = AnswerBody(
            question=asked.question,
            answer="",
            markdown="",
            abstained=False,
            withheld=False,
            model=served.name,
            citations=[],
            unsupported=[],
            passages=found.bodies if found else [],
            usage=UsageBody(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens),
            seconds=SecondsBody(retrieval=timing.retrieval, first_token=timing.first_token, total=timing.seconds),
        )
        self._record(_trace(asked, body, "", usage, said))


class _Found:
    """A retriever of what was found already."""

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._hits = list(hits)

    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """The same for every question."""
        return [self._hits[:k] for _ in questions]


class _Heard:
    """A chat model of which is known when it began to write, and its whole reply."""

    def __init__(self, chat: ChatModel, timing: _Timing) -> None:
        self._chat = chat
        self._timing = timing
        self.name = chat.name
        self.reply = Reply("")

    def complete(self, messages: Sequence[Message], **options: Any) -> Reply:
        """As the model."""
        return self._chat.complete(messages, **options)

    def stream(self, messages: Sequence[Message], **options: Any) -> Generator[str | Reply]:
        """As the model."""
        self._timing.prompt_tokens = guess_tokens([message.content for message in messages])
        with _closing(self._chat.stream(messages, **options)) as pieces:
            for piece in pieces:
                if self._timing.first_token is None:
                    self._timing.first_token = self._timing.seconds
                if isinstance(piece, Reply):
                    self.reply = piece
                else:
                    self._timing.pieces += 1
                yield piece


def guess_tokens(texts: Sequence[str]) -> int:
    """About how many tokens they are."""
    return sum(map(len, texts)) // _LETTERS_OF_A_TOKEN


class _closing:  # noqa: N801 - used as a function is
    """An iterator that is closed at the end of a block, if it can be: who stops listening frees what is behind it."""

    def __init__(self, pieces: Iterator[Any]) -> None:
        self._pieces = pieces

    def __enter__(self) -> Iterator[Any]:
        return self._pieces

    def __exit__(self, *_: object) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


def _trace(asked: Request, body: AnswerBody, raw: str, usage: Usage, error: str | None = None) -> TraceRecord:
    plain: Mapping[str, Any] = body.model_dump(mode="json")
    return TraceRecord(
        at=now(),
        key=asked.key,
        model=body.model,
        question=asked.question,
        history=tuple(asked.history),
        answer=body.answer,
        markdown=body.markdown,
        raw=raw,
        abstained=body.abstained,
        withheld=body.withheld,
        confidence=body.confidence,
        citations=tuple(plain["citations"]),
        passages=tuple(plain["passages"]),
        unsupported=tuple(body.unsupported),
        scores=tuple(passage.score for passage in body.passages if passage.score is not None),
        usage=usage,
        cost=body.cost,
        seconds_retrieval=body.seconds.retrieval,
        seconds_first_token=body.seconds.first_token,
        seconds_total=body.seconds.total,
        error=error,
        conversation=asked.conversation,
    )
