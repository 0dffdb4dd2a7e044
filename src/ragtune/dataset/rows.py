"""Rows of other formats as questions: HotpotQA, SQuAD and question-answer-context rows, chats for fine-tuning, RAFT's own.

A row that brings its context along brings documents, too, for where none are given: paragraphs of one title are one document, others one
each. Chats carry no more than a prompt and an answer: of those that ragtune exported, the question, its answer and its quotes are taken out
of the prompt again; any other is a question without evidence. A row without an answer does not say that the documents do not answer it, and
is left out.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from ragtune.dataset.questions import RawEvidence, RawQuestion, check_text, shown, tell_gaps
from ragtune.dataset.squad import SEAM, file_name, places, squad_question
from ragtune.errors import QuestionError
from ragtune.prompts import parse_answer, read_prompt
from ragtune.sentences import sentence_around
from ragtune.types import Document, Message

Rows = Iterable[tuple[str, dict[str, Any]]]
"""Rows with ``file:line``, for messages."""
_RAFT_QUOTE = re.compile(r"##begin_quote##(.*?)##end_quote##", re.DOTALL)
_RAFT_ANSWER = re.compile(r"<ANSWER>:?")


class Shelf:
    """Documents that rows bring along; those of one name in several files are one."""

    def __init__(self) -> None:
        self._titles: dict[str, str] = {}
        self._paragraphs: dict[str, list[str]] = {}
        self.open_file()

    def open_file(self) -> None:
        """Begin a file: in each, titles that make the same name are told apart by a number."""
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()

    def add(self, title: str | None, text: str) -> tuple[str, int]:
        """Put a paragraph on the shelf; the source of its document, and where in it the paragraph begins."""
        title = title or f"context-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        if title not in self._names:
            self._names[title] = file_name(title, self._taken)
            self._taken.add(self._names[title])
        source = f"{self._names[title]}.md"
        self._titles.setdefault(source, title)
        own = self._paragraphs.setdefault(source, [])
        if text not in own:
            own.append(text)
        at = sum(len(each) + len(SEAM) for each in own[: own.index(text)])
        return source, at

    def documents(self) -> list[Document]:
        """All of them."""
        return [Document(source, self._titles[source].replace("_", " "), SEAM.join(own)) for source, own in self._paragraphs.items()]


def is_foreign(row: dict[str, Any]) -> bool:
    """Whether a row is of a format that is not ragtune's own."""
    return _reader(row) is not None


def read_rows(rows: Rows, shelf: Shelf, note: Callable[[str], None]) -> Iterator[RawQuestion]:
    """The questions of a file's rows, all of one or several foreign formats.

    Args:
        rows: each of a format that :func:`is_foreign` knows.
        shelf: takes what they bring along.
        note: told what was left out, and what has no evidence.

    Raises:
        QuestionError: a row is malformed; names its place.
    """
    shelf.open_file()
    named: dict[str, RawQuestion] = {}
    counts: Counter[str] = Counter()
    for where, row in rows:
        check_text(row, where)
        reader = _reader(row)
        if reader is None:
            raise QuestionError(f"{where}: no question of a known format, as the rows before it are: see docs/questions.md")
        try:
            question = reader(row, where, shelf)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            reason = error if isinstance(error, ValueError) else repr(error)
            raise QuestionError(f"{where}: not a whole row of {reader.__name__.removeprefix('_')} ({reason})") from error
        if isinstance(question, str):
            counts[question] += 1
            continue
        counts["bare"] += bool(question.answers) and not question.evidence
        if row.get("id") or row.get("_id"):
            yield question
        else:
            # Without ids a question may come again, as in the export of several epochs; the same answer to it is the same question.
            named.setdefault(question.id, question)
    yield from named.values()
    tell_gaps(counts, note)


_Gap = Literal["abstained", "unanswered"]
_Reader = Callable[[dict[str, Any], str, Shelf], RawQuestion | _Gap]


def _reader(row: dict[str, Any]) -> _Reader | None:
    if isinstance(row.get("question"), str):
        if "supporting_facts" in row:
            return _hotpotqa
        if "cot_answer" in row:
            return _raft
        if isinstance(row.get("answers"), dict) and isinstance(row.get("context"), str):
            return _squad
        return _question_and_answer if "answer" in row and "answers" not in row else None
    return _chat if "messages" in row or "contents" in row or ("prompt" in row and "completion" in row) else None


def _hotpotqa(row: dict[str, Any], where: str, shelf: Shelf) -> RawQuestion:
    """A list of ``[title, [sentences]]`` as the original has it, or columns as on the hub.

    Where a paragraph with a supporting fact is not among the context, as in the full-wiki setting, the evidence is not known: a part of it
    would pass for all. Nor is it where two paragraphs have the fact's title, or the only fact of one points past its end, as a few do.
    """
    facts = _pairs(row["supporting_facts"], "title", "sent_id")
    paragraphs: dict[str, tuple[list[str], str, int] | None] = {}
    for title, sentences in _pairs(row["context"], "title", "sentences"):
        if not isinstance(sentences, list):
            raise ValueError(f'the paragraph {title!r} of "context" must be a list of sentences, found {shown(sentences)}')
        paragraph = (sentences, *shelf.add(title, "".join(sentences).strip()))
        paragraphs[title] = paragraph if paragraphs.get(title, paragraph) == paragraph else None
    evidence = []
    known = [(title, own, number) for title, number in facts if (own := paragraphs.get(title)) and _says(own[0], number)]
    whole = {title for title, _ in facts} == {title for title, _, _ in known}
    for _, (sentences, source, at), number in known if whole else ():
        before, own = "".join(sentences[:number]), sentences[number]
        lead = len("".join(sentences)) - len("".join(sentences).lstrip())
        evidence.append(RawEvidence(own.strip(), source, at + len(before) + len(own) - len(own.lstrip()) - lead))
    id_, answers = str(row.get("_id") or row["id"]), (_text(row["answer"], "answer"),)
    kind = _text(row["type"], "type") if row.get("type") else None
    return RawQuestion(id_, _text(row["question"], "question"), answers, None, tuple(evidence), kind=kind, where=where)


def _says(sentences: Sequence[str], number: int) -> bool:
    return 0 <= number < len(sentences) and bool(sentences[number].strip())


def _squad(row: dict[str, Any], where: str, shelf: Shelf) -> RawQuestion | _Gap:
    """As on the hub, where a question that has no answers at all is impossible."""
    context = row["context"]
    source, at = shelf.add(row.get("title"), context.strip())
    answers = [
        {"text": text, "answer_start": start} for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
    ]
    entry = {
        "id": row.get("id") or _id(row["question"], context),
        "question": row["question"],
        "answers": answers,
        "is_impossible": row.get("is_impossible", not answers),
    }
    return squad_question(entry, context, at, source, where) or "unanswered"


def _question_and_answer(row: dict[str, Any], where: str, shelf: Shelf) -> RawQuestion | _Gap:
    """``answer`` is a text or several; ``context`` none, a text or several; the sentence with the answer is the evidence."""
    given = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    answers = tuple(dict.fromkeys(_text(each, "answer") for each in given if each is not None and str(each).strip()))
    contexts = row.get("context") or []
    if not isinstance(contexts, (str, list)):
        raise ValueError(f'"context" must be a text or a list of texts, found {shown(contexts)}')
    evidence: tuple[RawEvidence, ...] = ()
    for context in [contexts] if isinstance(contexts, str) else contexts:
        text = context.strip()
        source, at = shelf.add(row.get("title"), text)
        place = next((found[0] for answer in answers if (found := places(text, answer))), None)
        if place is not None and not evidence:
            first, last = sentence_around(text, place, place + 1)
            evidence = (RawEvidence(text[first:last], source, at + first),)
    if not answers:
        return "unanswered"
    id_ = str(row.get("id") or _id(row["question"]))
    return RawQuestion(id_, _text(row["question"], "question"), answers, None, evidence, where=where)


def _raft(row: dict[str, Any], where: str, shelf: Shelf) -> RawQuestion | _Gap:
    """The quotes are the evidence where they stand in the oracle document, else all of it is."""
    thought, *final = _RAFT_ANSWER.split(row["cot_answer"])
    answer = _text(final[-1] if final else row["cot_answer"], "cot_answer")
    if parse_answer(answer).abstained:
        return "abstained"
    oracle = _text(row["oracle_context"], "oracle_context")
    source, at = shelf.add(None, oracle)
    quotes = [quote.strip() for quote in _RAFT_QUOTE.findall(thought) if quote.strip() and quote.strip() in oracle]
    evidence = [RawEvidence(quote, source, at + oracle.index(quote)) for quote in quotes] or [RawEvidence(oracle, source, at)]
    id_ = str(row.get("id") or _id(row["question"]))
    return RawQuestion(id_, _text(row["question"], "question"), (answer,), None, tuple(evidence), where=where)


def _chat(row: dict[str, Any], where: str, shelf: Shelf) -> RawQuestion | _Gap:  # noqa: ARG001 - chats bring no documents along
    """The question is the user's last message, the answer the last of all; between them may stand what tools were asked and said."""
    *said, answer = _turns(row)
    asked = max((at for at, turn in enumerate(said) if turn.role == "user"), default=None)
    if answer.role != "assistant" or asked is None:
        raise QuestionError(f"{where}: the last message must be the assistant's, after one of the user's")
    if not answer.content.strip():
        return "unanswered"
    known = read_prompt(said)
    if known is None:
        before = tuple(turn for turn in said[:asked] if turn.role in ("user", "assistant") and turn.content.strip())
        question, id_ = _text(said[asked].content, "question"), _id(*(turn.content for turn in said))
        return RawQuestion(id_, question, (answer.content.strip(),), None, (), history=before, where=where)
    question, history = known
    parsed = parse_answer(answer.content)
    if parsed.abstained or not parsed.answer:
        return "abstained" if parsed.abstained else "unanswered"
    id_ = _id(question, *(turn.content for turn in history))
    evidence = tuple(RawEvidence(quote) for quote in parsed.quotes)
    return RawQuestion(id_, question, (parsed.answer,), None, evidence, history=tuple(history), where=where)


def _turns(row: dict[str, Any]) -> list[Message]:
    """The turns of OpenAI's ``messages``, Vertex AI's ``contents``, or TRL's ``prompt`` and ``completion``, chats or texts."""
    if "contents" in row:
        system = [("system", row["systemInstruction"])] if row.get("systemInstruction") else []
        turns = [*system, *((_vertex_role(turn), turn) for turn in row["contents"])]
        return [Message(role, "".join(_words(part, "text") for part in turn["parts"])) for role, turn in turns]  # type: ignore[arg-type]
    if "messages" in row:
        return [Message(turn["role"], _words(turn, "content")) for turn in row["messages"]]
    prompt, completion = (
        [{"role": role, "content": part}] if part is None or isinstance(part, str) else part
        for role, part in (("user", row["prompt"]), ("assistant", row["completion"]))
    )
    return [Message(turn["role"], _words(turn, "content")) for turn in [*prompt, *completion]]


def _vertex_role(turn: dict[str, Any]) -> str:
    """What a function answered comes in the user's name."""
    if turn.get("role") == "model":
        return "assistant"
    return "user" if any(part.get("text") is not None for part in turn["parts"]) else "tool"


def _words(said: dict[str, Any], field: str) -> str:
    """What a turn says, as a text or in parts that are texts; nothing where it calls a tool."""
    words = said.get(field)
    if isinstance(words, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in words):
        return "".join(part["text"] for part in words)
    if words is not None and not isinstance(words, str):
        raise ValueError(f'"{field}" must be a text, found {shown(words)}')
    return words or ""


def _pairs(value: Any, first: str, second: str) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(zip(value[first], value[second], strict=True))
    return [(a, b) for a, b in value]


def _text(value: Any, field: str) -> str:
    """What a field holds, which is a text, or a number as one."""
    finite = not isinstance(value, float) or math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not finite:
        raise ValueError(f'"{field}" must be a text or a number, found {shown(value)}: write it in words, as "yes" for true')
    text = str(value).strip()
    if not text:
        raise ValueError(f'"{field}" is an empty text')
    return text


def _id(*parts: str) -> str:
    return f"row-{hashlib.sha256(chr(31).join(parts).encode()).hexdigest()[:12]}"
