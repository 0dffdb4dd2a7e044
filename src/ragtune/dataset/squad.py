"""SQuAD JSON (versions 1 and 2) as questions and as documents.

An article is one document, its paragraphs joined by an empty line: so the questions of an article are one document group, and the
offsets of evidence are exact.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from ragtune.dataset.matching import normalise
from ragtune.dataset.questions import RawEvidence, RawQuestion, check_text, parse_json, read_text, tell_gaps
from ragtune.errors import QuestionError
from ragtune.sentences import sentence_around
from ragtune.types import Document

SEAM = "\n\n"
_LONGEST_NAME = 220  # bytes; file systems allow 255, and a number, an ending and the mark of a temporary file are added
_UNNAMABLE = re.compile(r"[/\0-\x1f]|^\.")  # of a file: and a hidden one is not read


def is_squad(path: Path) -> bool:
    """Whether a question file is SQuAD JSON.

    Raises:
        QuestionError: it cannot be read.
    """
    if path.suffix != ".json":
        return False
    try:
        return looks_like_squad(json.loads(read_text(path)))
    except (json.JSONDecodeError, RecursionError):
        return False


def looks_like_squad(content: Any) -> bool:
    """Whether what a JSON file holds is meant to be SQuAD's format."""
    return isinstance(content, dict) and isinstance(content.get("data"), list)


def squad_documents(paths: Sequence[Path]) -> list[Document]:
    """The articles of SQuAD files, for where no documents are given; an article of several files is one, each paragraph in it once.

    Raises:
        QuestionError: a file is not SQuAD JSON.
    """
    titles: dict[str, str] = {}
    paragraphs: dict[str, list[str]] = {}
    for path in paths:
        for source, article in _articles(path):
            titles.setdefault(source, article["title"].replace("_", " "))
            texts = paragraphs.setdefault(source, [])
            known = set(texts)
            texts += [text for text in map(_text, article["paragraphs"]) if text not in known]
    return [Document(source=source, title=titles[source], text=SEAM.join(texts)) for source, texts in paragraphs.items()]


def squad_questions(path: Path, note: Callable[[str], None] = lambda _: None) -> Iterator[RawQuestion]:
    """The questions of a SQuAD file: the evidence is the sentence that holds the answer at ``answer_start``.

    Of several annotators' answers the most frequent is taken as the best, the shorter of equals. Where it does not stand at its
    ``answer_start``, the place nearest to that is meant; where it does not stand in the paragraph at all, there is no evidence. A question
    that has no answer and is not called impossible is left out.

    Args:
        path: of the file.
        note: told what was left out, and what has no evidence.

    Raises:
        QuestionError: the file is not SQuAD JSON, or an ``answer_start`` lies outside its paragraph.
    """
    counts: Counter[str] = Counter()
    for source, article in _articles(path):
        at = 0
        for number, paragraph in enumerate(article["paragraphs"], start=1):
            for entry in paragraph["qas"]:
                where = f"{path}: {article['title']}, paragraph {number}, question {entry.get('id')!r}"
                try:
                    question = squad_question(entry, paragraph["context"], at, source, where)
                except (KeyError, TypeError, AttributeError) as error:
                    raise QuestionError(f'{where}: expected "id", "question" and "answers" as in SQuAD ({error!r})') from error
                if question is None:
                    counts["unanswered"] += 1
                else:
                    counts["bare"] += bool(question.answers) and not question.evidence
                    yield question
            at += len(_text(paragraph)) + len(SEAM)
    tell_gaps(counts, note)


def squad_question(entry: dict[str, Any], context: str, at: int, source: str, where: str) -> RawQuestion | None:
    """One entry of a paragraph, which begins at ``at`` of its document; ``None`` is left out: see :func:`squad_questions`."""
    id_, question = str(entry["id"]), entry["question"].strip()
    if not question:
        raise QuestionError(f"{where}: the question is empty")
    impossible = entry.get("is_impossible")
    if impossible not in (None, True, False):
        raise QuestionError(f'{where}: "is_impossible" must be true or false, found {impossible!r}')
    if impossible:
        return RawQuestion(id_, question, (), None, (), where=where)
    given = [answer for answer in entry["answers"] if answer["text"].strip()]
    if not given:
        return None
    counts = Counter(normalise(answer["text"]) for answer in given)
    given.sort(key=lambda answer: (-counts[normalise(answer["text"])], len(answer["text"])))
    start = given[0]["answer_start"]
    if not 0 <= start < len(context):
        raise QuestionError(f"{where}: answer_start {start} lies outside its paragraph of {len(context)} characters")
    answers = tuple(dict.fromkeys(answer["text"].strip() for answer in given))
    if not context.startswith((given[0]["text"], answers[0]), start):
        found = places(context, answers[0])
        if not found:
            return RawQuestion(id_, question, answers, None, (), where=where)
        start = min(found, key=lambda place: abs(place - start))
    first, last = sentence_around(context, start, start + len(answers[0]))
    evidence = RawEvidence(context[first:last], source, at + first - (len(context) - len(context.lstrip())))
    return RawQuestion(id_, question, answers, source, (evidence,), where=where)


def places(text: str, answer: str) -> list[int]:
    """Where an answer stands, whatever its case. Offsets are the text's own, whose lower case may be longer."""
    return [found.start() for found in re.finditer(re.escape(answer), text, re.IGNORECASE)]


def _articles(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        articles = parse_json(read_text(path), str(path))["data"]
        taken: set[str] = set()
        for number, article in enumerate(articles, start=1):
            title = article["title"] = article.get("title") or f"article-{number}"
            check_text(article, f"{path}: {title!r}")
            for paragraph in article["paragraphs"]:
                if not isinstance(paragraph["context"], str) or not isinstance(paragraph["qas"], list):
                    raise TypeError
            name = file_name(title, taken)
            taken.add(name)
            yield f"{name}.md", article
    except (KeyError, TypeError, AttributeError) as error:
        raise QuestionError(
            f'{path} is not SQuAD JSON: expected {{"data": [{{"title", "paragraphs": [{{"context", "qas"}}]}}]}}'
        ) from error


def file_name(title: str, taken: Container[str]) -> str:
    """A title as the name of a file, without its ending; with a number where the name is taken."""
    name = _UNNAMABLE.sub("_", title)
    if len(name.encode()) > _LONGEST_NAME:
        name = f"{name.encode()[: _LONGEST_NAME - 9].decode(errors='ignore')}-{hashlib.sha256(title.encode()).hexdigest()[:8]}"
    numbered, same = name, 1
    while numbered in taken:
        same += 1
        numbered = f"{name}-{same}"
    return numbered


def _text(paragraph: dict[str, Any]) -> str:
    text: str = paragraph["context"].strip()
    return text
