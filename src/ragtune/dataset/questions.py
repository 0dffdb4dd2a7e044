"""Reading question files: JSON Lines, a JSON list, Parquet, Arrow, SQuAD. Finding their evidence in the documents is left to ``anchor``.

``rows`` knows the rows of other formats, ``squad`` that of SQuAD.
"""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard, cast, get_args

from ragtune.errors import QuestionError
from ragtune.progress import counted
from ragtune.types import JSON, Document, Message, Split

_FIELDS = frozenset(
    {"id", "question", "answers", "document", "evidence", "split", "kind", "needs", "reasoning", "synthesised_by", "history", "reviewed"}
)
_EXPORTED = frozenset({"context", "prompt", "completion"})
"""What ``ragtune dataset export`` adds to a question's own fields; those that ragtune does not know are then the text ``extra``."""
_SPLITS: tuple[str, ...] = get_args(Split)
SUFFIXES = frozenset({".jsonl", ".json", ".parquet", ".arrow"})
_BESIDE = frozenset({"dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json"})
_GAPS = {
    "abstained": "answers that abstain were left out: their file does not say whether the documents answer the question",
    "unanswered": (
        "questions without an answer in words were left out, as their file does not say that the documents do not answer them: "
        'where that is so, write "answers": [] in a question file of ragtune\'s own'
    ),
    "bare": "questions have an answer and no evidence: they are scored on it, and cannot be trained on",
}
_TOO_DEEP = "lists or objects are nested too deeply to be read: write each question as one flat object"


@dataclass(frozen=True, slots=True)
class RawEvidence:
    """Evidence as its file states it.

    Args:
        text: the verbatim span.
        document: where it differs from the question's own document.
        start: its offset in that document where the file knows it (SQuAD); the document is then a hint, not a promise.
    """

    text: str
    document: str | None = None
    start: int | None = None


@dataclass(frozen=True, slots=True)
class RawQuestion:
    """A question as its file states it.

    Args:
        reviewed: when a person made it of an answer that was served, ISO 8601; such a question is never tested on.
        where: ``file:line``, for messages.
        extra: fields that ragtune does not know, kept as they are.

    The other fields are those of a question file.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    document: str | None
    evidence: tuple[RawEvidence, ...]
    split: Split | None = None
    kind: str | None = None
    needs: str | None = None
    reasoning: str | None = None
    synthesised_by: str | None = None
    history: tuple[Message, ...] = ()
    reviewed: str | None = None
    where: str = ""
    extra: Mapping[str, JSON] = field(default_factory=dict)


def load_questions(paths: Sequence[Path], note: Callable[[str], None] = lambda _: None) -> list[RawQuestion]:
    """Read question files (``.jsonl``, ``.json``, ``.parquet``, ``.arrow``) in the order given.

    Args:
        paths: the files.
        note: told what a foreign format does not say.

    Raises:
        QuestionError: a file cannot be read, an entry is malformed, or two questions have one id; names file and line.
    """
    questions: list[RawQuestion] = []
    seen: dict[str, str] = {}
    for path in paths:
        for question in _read(path, note):
            if question.id in seen:
                raise QuestionError(
                    f"{question.where}: the id {question.id!r} is also used at {seen[question.id]}: give each question an id of its own"
                )
            seen[question.id] = question.where
            questions.append(question)
    _tell_misspelt(questions, note)
    return questions


def _tell_misspelt(questions: Sequence[RawQuestion], note: Callable[[str], None]) -> None:
    """Name fields that are kept as they are, but look like ones that mean something."""
    having: dict[str, list[RawQuestion]] = {}
    for question in questions:
        for name in question.extra:
            having.setdefault(name, []).append(question)
    for name, own in having.items():
        if close := difflib.get_close_matches(name, sorted(_FIELDS), n=1, cutoff=0.8):
            note(f'{own[0].where}: ragtune knows no field "{name}" ({counted(len(own), "question")} with it): did you mean "{close[0]}"?')


def tell_gaps(counts: Mapping[str, int], note: Callable[[str], None]) -> None:
    """Say how many questions of a foreign format were left out, and how many have no evidence.

    Args:
        counts: how many are ``abstained``, ``unanswered`` or ``bare``.
        note: told of each.
    """
    for gap, words in _GAPS.items():
        if counts[gap]:
            note(f"{counts[gap]} {words}")


def read_text(path: Path) -> str:
    """A question file's text.

    Raises:
        QuestionError: it is missing or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise QuestionError(f"cannot read questions from {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise QuestionError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error


def is_question_file(path: Path) -> bool:
    """Whether a file in a folder of questions is read: by its ending, and not what ``datasets`` writes beside its data."""
    return path.suffix in SUFFIXES and not path.name.startswith(".") and path.name not in _BESIDE


def brought_along(paths: Sequence[Path]) -> list[Document]:
    """Documents that question files bring along, for where none are given: SQuAD's articles, and contexts of rows.

    Raises:
        QuestionError: a file cannot be read or is malformed.
    """
    from ragtune.dataset.rows import Shelf, is_foreign, read_rows
    from ragtune.dataset.squad import is_squad, squad_documents

    squad = [path for path in paths if is_squad(path)]
    shelf = Shelf()
    for path in paths:
        if path not in squad:
            first, rows = _peek(read_file(path))
            if first is not None and is_foreign(first):
                for _ in read_rows(rows, shelf, lambda _: None):
                    pass
    articles = squad_documents(squad)
    known = {article.source for article in articles}
    return [*articles, *(document for document in shelf.documents() if document.source not in known)]


def read_file(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a question file that is not SQuAD JSON, each with its place for messages.

    Raises:
        QuestionError: the file cannot be read, or is malformed.
        MissingExtraError: it is Parquet or Arrow, and pyarrow is not installed.
    """
    if path.suffix in (".parquet", ".arrow"):
        from ragtune.dataset.columns import read_columns

        yield from read_columns(path)
    elif path.suffix == ".json" and not _is_lines(text := read_text(path)):
        content = parse_json(text, str(path))
        if not isinstance(content, list):
            raise QuestionError(f'{path}: expected a list of questions, or SQuAD JSON with a "data" list')
        yield from ((f"{path}: entry {number}", entry) for number, entry in enumerate(content, start=1))
    else:
        # Not splitlines(): U+2028 and its like may stand inside a JSON string.
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            if line.strip():
                yield f"{path}:{number}", parse_json(line, f"{path}:{number}")


def _is_lines(text: str) -> bool:
    """Whether a ``.json`` file holds JSON Lines, as data sets on the hub often do: a whole object on its first line, and more below."""
    first, _, rest = text.lstrip().partition("\n")
    if not (first.startswith("{") and rest.strip()):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _read(path: Path, note: Callable[[str], None]) -> Iterator[RawQuestion]:
    from ragtune.dataset.rows import Shelf, is_foreign, read_rows  # both build on the records of this file
    from ragtune.dataset.squad import is_squad, squad_questions

    def tell(words: str) -> None:
        note(f"{path.name}: {words}")

    if is_squad(path):
        yield from squad_questions(path, tell)
        return
    first, rows = _peek(read_file(path))
    if first is not None and is_foreign(first):
        yield from read_rows(rows, Shelf(), tell)
    else:
        for where, entry in rows:
            yield _question(entry, where)


def _peek(rows: Iterator[tuple[str, Any]]) -> tuple[dict[str, Any] | None, Iterator[tuple[str, Any]]]:
    """The first row where it is an object, and all rows, that one included."""
    first = next(rows, None)
    if first is None:
        return None, iter(())
    return (first[1] if isinstance(first[1], dict) else None), itertools.chain([first], rows)


def parse_json(text: str, where: str) -> Any:
    """What a question file, or a line of it, holds.

    Raises:
        QuestionError: it is not JSON; names ``where``.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise QuestionError(
            f"{where}: not valid JSON ({error.msg} at column {error.colno}): "
            'write one object a line, like {"id": "q1", "question": "…", "answers": ["…"], "document": "a.md", "evidence": "…"}'
        ) from error
    except RecursionError:
        raise QuestionError(f"{where}: {_TOO_DEEP}") from None
    except ValueError as error:  # a whole number of thousands of digits
        raise QuestionError(f"{where}: not valid here ({error})") from error


def check_text(value: Any, where: str) -> None:
    """Refuse what JSON can say and no file in UTF-8 can hold.

    Args:
        value: as parsed from JSON.
        where: for the message.

    Raises:
        QuestionError: a text in it has half of a surrogate pair.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise QuestionError(f"{where}: it holds {half}, half of a character, which UTF-8 cannot store: write the whole one") from None
    except RecursionError:
        raise QuestionError(f"{where}: {_TOO_DEEP}") from None


def _question(entry: Any, where: str) -> RawQuestion:
    if not isinstance(entry, dict):
        raise QuestionError(f'{where}: expected an object like {{"id": "q1", "question": "…", "answers": ["…"]}}, found {shown(entry)}')
    check_text(entry, where)
    for name in ("id", "question"):
        if not _is_text(entry.get(name)):
            raise QuestionError(f'{where}: "{name}" must be a non-empty string, found {shown(entry.get(name))}')
    for name in ("document", "kind", "needs", "reasoning", "synthesised_by", "reviewed"):
        if entry.get(name) is not None and not _is_text(entry[name]):
            raise QuestionError(f'{where}: "{name}" must be a non-empty string or null, found {shown(entry[name])}')
    answers = entry.get("answers")
    if not isinstance(answers, list) or not all(_is_text(answer) for answer in answers):
        raise QuestionError(
            f'{where}: "answers" must be a list of non-empty strings, found {shown(answers)}: '
            'write ["the answer", "another wording"], or [] where the documents do not answer the question'
        )
    if entry.get("split") not in (None, *_SPLITS):
        raise QuestionError(f'{where}: "split" must be one of {", ".join(_SPLITS)} or null, found {shown(entry["split"])}')
    if entry.get("split") == "test" and entry.get("reviewed"):
        raise QuestionError(f'{where}: "reviewed" questions come from answers that were served and are never tested on: leave out "split"')
    evidence = _evidence(entry.get("evidence"), where)
    if evidence and not answers:
        raise QuestionError(f'{where}: it has evidence but "answers" is []: write its answers, or null for "evidence"')
    return RawQuestion(
        id=entry["id"],
        question=entry["question"].strip(),
        answers=tuple(answer.strip() for answer in answers),
        document=entry.get("document"),
        evidence=evidence,
        split=cast("Split | None", entry.get("split")),
        kind=entry.get("kind"),
        needs=entry.get("needs"),
        reasoning=entry.get("reasoning"),
        synthesised_by=entry.get("synthesised_by"),
        history=_history(entry.get("history"), where),
        reviewed=entry.get("reviewed"),
        where=where,
        extra=_extra(entry, where),
    )


def _extra(entry: dict[str, Any], where: str) -> dict[str, JSON]:
    """The fields that ragtune does not know; of a question that it exported, those that it had before."""
    if not entry.keys() >= _EXPORTED:
        return {name: value for name, value in entry.items() if name not in _FIELDS}
    try:
        extra = json.loads(entry.get("extra") or "{}")
    except (TypeError, ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        raise QuestionError(f'{where}: "extra" must be a JSON object as one text, or null, found {shown(entry["extra"])}')
    check_text(extra, where)
    return extra


def _evidence(value: Any, where: str) -> tuple[RawEvidence, ...]:
    spans = [] if value is None else value if isinstance(value, list) else [value]
    evidence = []
    for span in spans:
        if _is_text(span):
            evidence.append(RawEvidence(span))
        elif isinstance(span, dict) and _is_text(span.get("text")) and (span.get("document") is None or _is_text(span["document"])):
            start = span.get("start")
            if isinstance(start, int) and start < 0:
                raise QuestionError(
                    f'{where}: "start" of the evidence must be 0 or more, found {start}: leave it out, and the text is looked up'
                )
            known = isinstance(start, int) and not isinstance(start, bool)
            evidence.append(RawEvidence(span["text"], span.get("document"), start if known else None))
        else:
            raise QuestionError(
                f'{where}: "evidence" must be a verbatim span, a list of spans or of {{"document": "a.md", "text": "…"}}, or null, '
                f"found {shown(span)}"
            )
    return tuple(evidence)


def _history(value: Any, where: str) -> tuple[Message, ...]:
    turns = [] if value is None else value
    if not isinstance(turns, list) or not all(
        isinstance(turn, dict) and turn.get("role") in ("user", "assistant") and _is_text(turn.get("content")) for turn in turns
    ):
        raise QuestionError(
            f'{where}: "history" must be a list of turns like {{"role": "user", "content": "…"}}, with the roles user and assistant, '
            f"found {shown(value)}"
        )
    return tuple(Message(turn["role"], turn["content"].strip()) for turn in turns)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def shown(value: object) -> str:
    """A value of a question file in a message: as JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
