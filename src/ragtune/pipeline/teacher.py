"""One question from a teacher: written, and put through every filter that does not depend on other questions."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from ragtune.chat.structured import ask_for
from ragtune.dataset import filters
from ragtune.dataset.filters import DEPTH, Filter
from ragtune.dataset.sampling import Kind, Task, worth_asking
from ragtune.dataset.synthesise import Draft, write_question
from ragtune.errors import ContextOverflowError, RefusalError, StructureError
from ragtune.evaluate.answers import f1
from ragtune.passages import to_passage
from ragtune.pipeline.synthesis_rows import Row
from ragtune.prompts import ParsedAnswer, build_messages, parse_answer
from ragtune.protocols import ChatModel, Retriever
from ragtune.types import GREEDY, Chunk, Evidence, Message, Passage, Reply, Sampling, Usage

T = TypeVar("T", bound=BaseModel)
QUESTION_TOKENS = 400
ANSWER_TOKENS = 160
_TOO_ALIKE = 0.5
"""Share of words from which two chunks say too much of the same for a question over both."""
_WORD = re.compile(r"\w+")


class Teacher:
    """Has questions written about chunks and examines them; threads may share it.

    Args:
        model: the teacher, ``provider:model``.
        retriever: the one that serves.
        chunks: of the whole corpus.
    """

    def __init__(self, model: str, retriever: Retriever, chunks: Sequence[Chunk]) -> None:
        self._model = model
        self._retriever = retriever
        self._worth = {chunk.id: chunk for chunk in worth_asking(chunks)}
        self._lock = threading.Lock()  # one embedder

    def examine(self, chat: ChatModel, task: Task, told: Callable[[], None]) -> Row:
        """Do a task; ``told`` is called at each reply.

        Raises:
            ChatError: the teacher cannot be asked; one answer that cannot be used is a dropped row.
        """
        counted = _Counted(chat, told)
        kind, passages = self._about(task)
        entry, dropped, detail = self._examine(counted, kind, passages)
        replies = counted.replies
        costs = [reply.cost for reply in replies]
        return Row(
            task.number,
            entry,
            dropped,
            detail,
            len(replies),
            sum(reply.usage.prompt_tokens for reply in replies),
            sum(reply.usage.completion_tokens for reply in replies),
            None if None in costs else sum(cost or 0.0 for cost in costs),
        )

    def _about(self, task: Task) -> tuple[Kind, list[Passage]]:
        """What is shown; a chunk without a fitting second one is asked for a fact."""
        first = to_passage(task.chunk)
        if task.kind != "multi":
            return task.kind, [first]
        other = next((passage for passage in self._find(task.chunk.text) if self._goes_with(passage, first)), None)
        return ("fact", [first]) if other is None else ("multi", [first, other])

    def _goes_with(self, other: Passage, first: Passage) -> bool:
        """Related, as retrieval found it, and different."""
        words, theirs = (set(_WORD.findall(passage.text.casefold())) for passage in (first, other))
        return other.id != first.id and other.id in self._worth and len(words & theirs) < _TOO_ALIKE * len(words | theirs)

    def _find(self, text: str) -> list[Passage]:
        with self._lock:
            return [to_passage(hit.chunk) for hit in self._retriever.retrieve([text], DEPTH)[0]]

    def _examine(self, chat: _Counted, kind: Kind, passages: Sequence[Passage]) -> tuple[dict[str, Any] | None, Filter | None, str]:
        def ask(messages: Sequence[Message], form: type[T]) -> T:
            return ask_for(chat, messages, form, max_tokens=QUESTION_TOKENS)

        try:
            draft = write_question(kind, passages, ask)
        except (StructureError, RefusalError, ContextOverflowError) as error:
            return None, "form", str(error)
        entry = self._entry(draft, passages, ())
        wrong = filters.malformed(draft, passages)
        if wrong:
            return entry, "form", wrong
        wrong = filters.leans_on_passage(draft.question)
        if wrong:
            return entry, "stands_alone", wrong
        if kind == "unanswerable":
            wrong = filters.disagrees(self._answer(chat, draft.question, self._find(draft.question)), (), f1)
            return entry, "agrees" if wrong else None, wrong or ""
        evidence = filters.find_evidence(draft, passages)
        if isinstance(evidence, str):
            return entry, "quote", evidence
        entry = self._entry(draft, passages, evidence)
        for name, wrong in self._judge(chat, draft, passages, evidence):
            if wrong:
                return entry, name, wrong
        return entry, None, ""

    def _judge(
        self, chat: _Counted, draft: Draft, passages: Sequence[Passage], evidence: Sequence[Evidence]
    ) -> Iterator[tuple[Filter, str | None]]:
        """Filter after filter, so that none is asked once another found something wrong."""
        yield "answer", filters.does_not_follow(draft, passages)
        yield "retrieved", filters.not_retrieved(evidence, self._find(draft.question))
        yield "closed_book", filters.known_by_heart(self._answer(chat, draft.question, None), [draft.answer], f1)
        yield "agrees", filters.disagrees(self._answer(chat, draft.question, passages), [draft.answer], f1)

    def _answer(self, chat: _Counted, question: str, passages: Sequence[Passage] | None) -> ParsedAnswer:
        """The teacher's answer in the prompt that all models answer in; none where it declines."""
        try:
            reply = chat.complete(build_messages(question, passages), max_tokens=ANSWER_TOKENS)
        except (RefusalError, ContextOverflowError):
            return ParsedAnswer("", (), abstained=False)
        return parse_answer(reply.text)

    def _entry(self, draft: Draft, passages: Sequence[Passage], evidence: Sequence[Evidence]) -> dict[str, Any]:
        """The line of the question file."""
        unanswerable = draft.kind == "unanswerable"
        first = passages[0].document
        spans: list[str | dict[str, str]] = [
            each.text if each.document == first else {"document": each.document, "text": each.text} for each in evidence
        ]
        place = [each for passage in passages for each in passage.chunk_ids]
        digest = hashlib.blake2b("\x1f".join([draft.question, draft.answer, *place]).encode(), digest_size=6).hexdigest()
        return {
            "id": f"syn-{digest}",
            "question": draft.question,
            "answers": [] if unanswerable else [draft.answer],
            "document": None if unanswerable else first,
            "evidence": None if unanswerable else spans[0] if len(spans) == 1 else spans,
            "kind": filters.true_kind(draft),
            "reasoning": draft.reasoning or None,
            "synthesised_by": self._model,
        }


class _Counted:
    """A chat model that remembers its replies, refusals among them."""

    def __init__(self, chat: ChatModel, told: Callable[[], None]) -> None:
        self._chat = chat
        self._told = told
        self.name = chat.name
        self.replies: list[Reply] = []

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        schema: Mapping[str, Any] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Reply:
        """The same as the chat model's."""
        try:
            reply = self._chat.complete(messages, max_tokens=max_tokens, schema=schema, temperature=temperature, seed=seed)
        except RefusalError as error:
            self.replies.append(Reply("", Usage(*(error.tokens or ())), finished=False, model=self.name, cost=error.cost))
            self._told()
            raise
        self.replies.append(reply)
        self._told()
        return reply

    def stream(
        self,
        messages: Sequence[Message],
        *,
        quotable: Sequence[Passage] | None = None,
        max_tokens: int = 512,
        sampling: Sampling = GREEDY,
    ) -> Iterator[str | Reply]:
        """The same as the chat model's."""
        return self._chat.stream(messages, quotable=quotable, max_tokens=max_tokens, sampling=sampling)
