from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ragtune.dataset.anchor import anchor
from ragtune.dataset.questions import load_questions
from ragtune.dataset.squad import squad_documents
from ragtune.errors import QuestionError
from ragtune.prepare import find_sources
from ragtune.types import Document
from ragtune.workspace import write_bytes

CONTEXT = "  The mill stood by the Avon. It was built by Dr. J. Pask in 1902, and burnt twice. Nobody knows why.\n"
SECOND = " \nA second mill was run by J. Pask from 1910. It was built by Dr. J. Pask in 1902, and burnt twice."


def squad(folder: Path, **changes: Any) -> Path:
    start = CONTEXT.index("J. Pask")
    answers = [{"text": "Dr. J. Pask", "answer_start": start - 4}, *[{"text": "J. Pask", "answer_start": start}] * 2]
    entries: list[dict[str, Any]] = [
        {"id": "a", "question": "Who built it?", "answers": answers, **changes},
        {"id": "b", "question": "Who sank it?", "answers": [], "is_impossible": True, "plausible_answers": answers},
    ]
    later = {"id": "c", "question": "Who built which again?", "answers": [{"text": "1902", "answer_start": SECOND.index("1902")}]}
    paragraphs = [{"context": CONTEXT, "qas": entries}, {"context": SECOND, "qas": [later]}]
    path = folder / "squad.json"
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "Old_Mills", "paragraphs": paragraphs}]}))
    return path


def test_the_evidence_is_the_sentence_that_holds_the_answer_at_exact_offsets(tmp_path: Path) -> None:
    path = squad(tmp_path)
    documents = {document.source: document for document in squad_documents([path])}
    assert {source: document.title for source, document in documents.items()} == {"Old_Mills.md": "Old Mills"}
    report = anchor(load_questions([path]), documents)
    assert not report.stale
    first, impossible, later = report.questions
    assert first.answers == ("J. Pask", "Dr. J. Pask")  # the most frequent first
    assert first.evidence[0].text == "It was built by Dr. J. Pask in 1902, and burnt twice."
    assert (impossible.answers, impossible.evidence) == ((), ())
    # The same sentence stands in both paragraphs: the offset says which is meant.
    assert later.evidence[0].text == first.evidence[0].text
    assert later.evidence[0].start > len(CONTEXT) > first.evidence[0].end
    for question in (first, later):
        evidence = question.evidence[0]
        assert documents[evidence.document].text[evidence.start : evidence.end] == evidence.text


@pytest.mark.parametrize(("text", "start"), [("1902", 3), ("j. pask IN", 60), ("Avon", 25), ("By Dr.", 5)])
def test_an_answer_that_does_not_stand_at_its_start_is_looked_up_nearest_to_it(tmp_path: Path, text: str, start: int) -> None:
    path = squad(tmp_path, answers=[{"text": text, "answer_start": start}])
    (document,) = squad_documents([path])
    question = anchor(load_questions([path]), {document.source: document}).questions[0]
    assert question.answers == (text,)
    assert text.casefold() in question.evidence[0].text.casefold()
    repeated = "Old is the mill. " * 9
    path = write(tmp_path, "s.json", {"title": "Mill", "paragraphs": [{"context": repeated, "qas": [
        {"id": "r", "question": "Which?", "answers": [{"text": "mill", "answer_start": 17 * 4 + 12}]}]}]})  # fmt: skip
    assert load_questions([path])[0].evidence[0].start == 17 * 4


def test_an_answer_that_is_not_in_its_paragraph_has_no_evidence(tmp_path: Path) -> None:
    said: list[str] = []
    path = squad(tmp_path, answers=[{"text": "the Avon Company", "answer_start": 24}])
    question = load_questions([path], said.append)[0]
    assert (question.answers, question.evidence) == (("the Avon Company",), ())
    assert said == ["squad.json: 1 questions have an answer and no evidence: they are scored on it, and cannot be trained on"]


@pytest.mark.parametrize("answers", [[], [{"text": " ", "answer_start": 0}]])
def test_a_question_without_answers_that_is_not_called_impossible_is_left_out(tmp_path: Path, answers: list[Any]) -> None:
    said: list[str] = []
    assert [each.id for each in load_questions([squad(tmp_path, answers=answers)], said.append)] == ["b", "c"]
    assert said[0].startswith("squad.json: 1 questions without an answer in words were left out")
    assert [each.id for each in load_questions([squad(tmp_path, answers=answers, is_impossible=True)])] == ["a", "b", "c"]


def article(title: str | None, *contexts: str) -> dict[str, Any]:
    named = {} if title is None else {"title": title}
    questions = [
        {"id": context, "question": "Which?", "answers": [{"text": context.split()[1], "answer_start": context.index(" ") + 1}]}
        for context in contexts
    ]
    return {
        **named,
        "paragraphs": [{"context": context, "qas": [question]} for context, question in zip(contexts, questions, strict=True)],
    }


def write(folder: Path, name: str, *articles: dict[str, Any]) -> Path:
    path = folder / name
    path.write_text(json.dumps({"data": articles}), encoding="utf-8")
    return path


def test_an_article_of_two_files_is_one_document_that_holds_the_evidence_of_both(tmp_path: Path) -> None:
    shared, first, second = "The mill stood.", "One ferry ran.", "Two ferries ran."
    files = [write(tmp_path, "a.json", article("Pier", first, shared)), write(tmp_path, "b.json", article("Pier", second))]
    files.append(write(tmp_path, "c.json", article("Pier", shared.replace("stood", "fell"), first)))
    (document,) = squad_documents(files)
    assert document.text.split("\n\n") == [first, shared, second, "The mill fell."]
    third = json.loads(files[2].read_text())
    third["data"][0]["paragraphs"][1]["qas"][0]["id"] = "again"
    files[2].write_text(json.dumps(third))
    report = anchor(load_questions(files), {document.source: document})
    assert not report.stale
    assert [question.evidence[0].text for question in report.questions] == [first, shared, second, "The mill fell.", first]


def test_every_title_becomes_the_name_of_a_file_that_is_read(tmp_path: Path) -> None:
    titles = [".NET", "_NET", "a/b", "a_b", "a_b", "a_b-2", "é" * 300, "é" * 301, "tab\there", None, "Old_Mills (3rd ed.)"]
    path = write(tmp_path, "s.json", *(article(title, f"Here {number} stands.") for number, title in enumerate(titles)))
    documents = squad_documents([path])
    folder = tmp_path / "articles"
    for document in documents:
        write_bytes(folder / document.source, document.text.encode())
    assert {source.name for source in find_sources([folder])} == {document.source for document in documents}
    assert len({document.source for document in documents}) == len(titles)
    assert [document.source for document in documents[:6]] == ["_NET.md", "_NET-2.md", "a_b.md", "a_b-2.md", "a_b-3.md", "a_b-2-2.md"]
    assert [document.source for document in documents[-2:]] == ["article-10.md", "Old_Mills (3rd ed.).md"]
    assert not anchor(load_questions([path]), {document.source: document for document in documents}).stale


def test_half_a_character_in_an_article_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "s.json", article("Pier", "The \ud800 stood."))
    with pytest.raises(QuestionError, match=r"s\.json: 'Pier': it holds \\ud800"):
        load_questions([path])


def test_documents_of_the_users_own_are_searched_where_the_article_is_not_there(tmp_path: Path) -> None:
    own = Document("kept/mills.txt", "Mills", "Preface.\n\n" + CONTEXT)
    report = anchor(load_questions([squad(tmp_path)]), {own.source: own})
    assert {question.evidence[0].document for question in report.questions if question.evidence} == {own.source}


def test_a_file_that_is_not_squad_is_an_error(tmp_path: Path) -> None:
    path = squad(tmp_path, answers=[{"text": "Ann", "answer_start": 900}])
    with pytest.raises(QuestionError, match=r"Old_Mills, paragraph 1, question 'a': answer_start 900 lies outside"):
        load_questions([path])
    with pytest.raises(QuestionError, match=r"question 'a': expected"):
        load_questions([squad(tmp_path, answers=[{"text": "Ann"}])])
    (tmp_path / "bad.json").write_text('{"data": [{"title": "x"}]}')
    with pytest.raises(QuestionError, match="is not SQuAD JSON"):
        load_questions([tmp_path / "bad.json"])
    for paragraph in ({"context": None, "qas": []}, {"context": "The pier.", "qas": None}):
        (tmp_path / "bad.json").write_text(json.dumps({"data": [{"title": "x", "paragraphs": [paragraph]}]}))
        with pytest.raises(QuestionError, match="is not SQuAD JSON"):
            load_questions([tmp_path / "bad.json"])


def test_whether_a_question_is_impossible_is_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match=r"""question 'a': "is_impossible" must be true or false, found 'false'"""):
        load_questions([squad(tmp_path, is_impossible="false")])


@pytest.mark.skipif("RAGTUNE_DATA" not in os.environ, reason="RAGTUNE_DATA is not set: the real SQuAD-format file is not there")
def test_every_question_of_a_real_file_is_anchored_and_its_evidence_holds_its_answer() -> None:
    path = Path(os.environ["RAGTUNE_DATA"]) / "squadshifts_new_wiki" / "new_wiki_v1.0.json"
    documents = {document.source: document for document in squad_documents([path])}
    report = anchor(load_questions([path]), documents)
    assert (len(documents), len(report.questions), report.stale) == (48, 7938, [])
    for question in report.questions:
        (evidence,) = question.evidence
        assert question.answers[0] in evidence.text
        assert documents[evidence.document].text[evidence.start : evidence.end] == evidence.text
