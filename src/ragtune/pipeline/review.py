"""Decide on questions that were served badly: a person's answer and evidence become a question that is trained on, and never tested on.

What is accepted is checked as every question is: its evidence must stand in the documents, and it must not be a question of a locked test,
or all but one. Only then is it written, whole or not at all, and the same decision again changes nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from ragtune import build
from ragtune.config import Settings
from ragtune.conversation import search_text
from ragtune.corpus import Corpus
from ragtune.dataset.anchor import anchor
from ragtune.dataset.audit import NEAR, nearest_texts
from ragtune.dataset.matching import holds_answer, normalise
from ragtune.dataset.questions import RawEvidence, RawQuestion, load_questions
from ragtune.errors import LockedError, QuestionError
from ragtune.pipeline.dataset import question_files, reviewed_file
from ragtune.pipeline.records import ReviewResult
from ragtune.traces import queue
from ragtune.traces.records import ReviewItem
from ragtune.traces.store import BLANK, TraceStore
from ragtune.types import Document, Evidence, Message
from ragtune.workspace import Workspace, now, write_bytes

Decision = Literal["accept", "dismiss"]
_WAIT = 10.0


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person makes of an answer.

    Args:
        answers: references, the best first; none where the documents do not answer the question.
        evidence: where they stand: each a ``document`` with ``start`` and ``end``, or a verbatim ``text`` with or without its document.
        question: in other words, where it should not be kept as it was asked.
    """

    answers: tuple[str, ...] = ()
    evidence: tuple[Mapping[str, Any], ...] = ()
    question: str | None = None


def decide(
    workspace: Workspace,
    settings: Settings,
    store: TraceStore,
    id_: str,
    decision: Decision,
    correction: Correction,
    *,
    by: str,
    note: str = "",
) -> ReviewResult:
    """Accept a question with its answer and evidence, or dismiss it.

    Args:
        workspace: of the project.
        settings: its settings.
        store: of the traces.
        id_: of the item.
        decision: what to do.
        correction: of what is accepted.
        by: who decides.
        note: for whoever looks later.

    Raises:
        ProjectError: there is no such item, or it was decided on.
        QuestionError: the answers or the evidence cannot be used, or it is a question of a locked test.
    """
    with _lock(workspace):
        item = queue.find(store, id_)
        if item.state == "open" and decision == "accept":
            return _accept(workspace, settings, store, item, correction, by, note)
        return ReviewResult(queue.decide(store, id_, "dismissed" if decision == "dismiss" else "accepted", at=now(), by=by, note=note))


def _accept(
    workspace: Workspace, settings: Settings, store: TraceStore, item: ReviewItem, correction: Correction, by: str, note: str
) -> ReviewResult:
    question = (correction.question or item.question).strip()
    answers = tuple(dict.fromkeys(answer.strip() for answer in correction.answers if answer.strip()))
    _check_words(question, answers, correction)
    redacted = any(BLANK in turn.content for turn in item.history)
    history = () if redacted else item.history
    asked = search_text(question, history)
    _check_test(workspace, settings, asked)
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        evidence = _anchor(corpus, item, question, answers, correction.evidence)
    path = reviewed_file(workspace, settings)
    entry: dict[str, Any] = {
        "id": f"reviewed-{item.id.partition('-')[2]}",
        "question": question,
        "answers": list(answers),
        "document": evidence[0].document if evidence else None,
        "evidence": [{"document": each.document, "text": each.text, "start": each.start} for each in evidence] or None,
        "reviewed": now(),
    }
    if history:
        entry["history"] = [{"role": turn.role, "content": turn.content} for turn in history]
    if not answers:
        entry["kind"] = "unanswerable"
    warnings = tuple(_warnings(workspace, settings, entry, evidence))
    if redacted:
        left_out = f"what was said before was left out, since a part of it was redacted ({BLANK}): see that the question stands by itself"
        warnings = (left_out, *warnings)
    _write(path, entry)
    closed = queue.decide(store, item.id, "accepted", at=str(entry["reviewed"]), by=by, note=note)
    return ReviewResult(closed, str(entry["id"]), str(path), warnings)


def _check_words(question: str, answers: Sequence[str], correction: Correction) -> None:
    if BLANK in question or any(BLANK in answer for answer in answers):
        raise QuestionError(f"a part of it was redacted ({BLANK}), and would be learnt so: write question and answers in other words")
    if not question:
        raise QuestionError("its question was not kept (see traces.keep): write the question as well")
    if answers and not correction.evidence:
        raise QuestionError(
            "no evidence is marked: say where in the documents the answer stands, or give no answer where they do not hold it"
        )
    if correction.evidence and not answers:
        raise QuestionError("evidence is marked and no answer is given: write the answer that it holds")


def _check_test(workspace: Workspace, settings: Settings, asked: str) -> None:
    """Refuse what is locked away for the test of any dataset, in these or in all but these words."""
    tests = list(_test_questions(workspace, settings))
    near = [each for each in nearest_texts([(name, text) for name, text, _ in tests], [("", asked)]) if each.similarity >= NEAR]
    if near:
        where = next(place for name, _, place in tests if name == near[0].train)
        raise QuestionError(
            f"it is too much like the question {near[0].train}, which is locked away for the test {where}: a model that learnt it could "
            "not be tested on it; dismiss it"
        )


def _test_questions(workspace: Workspace, settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Id and text of every question that is tested on, and where."""
    for path in sorted(workspace.folder.glob("datasets/*/test.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line:
                example = json.loads(line)
                history = [Message(**turn) for turn in example.get("history", ())]
                yield example["id"], search_text(example["question"], history), f"of {path.parent.name}"
    for question in load_questions(question_files(workspace, settings, (), missing_ok=True)):
        if question.split == "test":
            yield question.id, search_text(question.question, question.history), f"by {question.where}"


def _anchor(
    corpus: Corpus, item: ReviewItem, question: str, answers: tuple[str, ...], marked: Sequence[Mapping[str, Any]]
) -> tuple[Evidence, ...]:
    """The evidence as it stands in the documents, found as that of every question is."""
    documents: dict[str, Document] = {}
    raw = []
    for each in marked:
        names = [str(each["document"])] if each.get("document") else [str(passage["document"]) for passage in item.passages]
        for name in names:
            documents |= _documents(corpus, name)
        raw.append(_raw(each, documents))
    copies = {source: kept for source, kept in corpus.copies().items() if source in documents}
    documents |= {kept: corpus.document(kept) for kept in copies.values()}
    report = anchor([RawQuestion(item.id, question, answers, None, tuple(raw), where=item.id)], documents, copies)
    if report.stale:
        raise QuestionError(report.stale[0].reason)
    return report.questions[0].evidence


def _documents(corpus: Corpus, name: str) -> dict[str, Document]:
    """The documents that a name may mean: whole, by its ending, or the rows of a file of that name."""
    left_out = {reason.source for reason in corpus.left_out()}
    found = [
        source
        for source, file in corpus.sources()
        if source not in left_out and any(known == name or known.endswith(f"/{name}") for known in (source, file, source.partition("#")[0]))
    ]
    return {source: corpus.document(source) for source in found}


def _raw(marked: Mapping[str, Any], documents: Mapping[str, Document]) -> RawEvidence:
    name, text = marked.get("document"), marked.get("text")
    if isinstance(text, str) and text.strip():
        return RawEvidence(text.strip(), name)
    start, end = marked.get("start"), marked.get("end")
    if not (isinstance(name, str) and isinstance(start, int) and isinstance(end, int)):
        raise QuestionError("evidence is a document with start and end, or a verbatim text: one of these is missing")
    if name not in documents:
        raise QuestionError(f"no ingested document is called {name}: check its name, or ingest it")
    whole = documents[name].text
    if not 0 <= start < end <= len(whole) or not whole[start:end].strip():
        raise QuestionError(f"{start} to {end} is no place in {name}, which has {len(whole)} characters: mark the evidence again")
    start += len(whole[start:end]) - len(whole[start:end].lstrip())
    return RawEvidence(whole[start:end].rstrip(), name, start)


def _warnings(workspace: Workspace, settings: Settings, entry: Mapping[str, Any], evidence: Sequence[Evidence]) -> Iterator[str]:
    if evidence and not holds_answer(entry["answers"], normalise(" ".join(each.text for each in evidence))):
        yield "the evidence does not hold the answer's words: a model learns to write what it cannot quote"
    words = normalise(entry["question"])
    for known in load_questions(question_files(workspace, settings, (), missing_ok=True)):
        if known.id != entry["id"] and not known.history and normalise(known.question) == words:
            yield f"{known.where} asks the same: where its answer is wrong, correct it there as well"


def _write(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a question, in the place of one of the same id: whole or not at all."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = [line for line in text.split("\n") if line.strip() and json.loads(line).get("id") != entry["id"]]
    write_bytes(path, "".join(f"{line}\n" for line in [*lines, json.dumps(entry, ensure_ascii=False)]).encode())


@contextlib.contextmanager
def _lock(workspace: Workspace) -> Iterator[None]:
    """One decision at a time; a training that holds the project's lock for hours is in nobody's way."""
    workspace.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(str(workspace.folder / "review.lock"), timeout=_WAIT):
            yield
    except Timeout:
        raise LockedError("somebody else is deciding on the queue: run this again") from None
