from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragtune.dataset.questions import RawEvidence, load_questions
from ragtune.dataset.squad import is_squad
from ragtune.errors import QuestionError

GOOD = {"id": "q1", "question": " Who? ", "answers": ["Ann"], "document": "a.md", "evidence": "Ann did."}


def write(folder: Path, *entries: object, name: str = "questions.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((entry if isinstance(entry, str) else json.dumps(entry)) + "\n" for entry in entries), encoding="utf-8")
    return path


def test_every_field_is_read_and_unknown_ones_are_kept(tmp_path: Path) -> None:
    spans = ["Ann did.", {"document": "b.md", "text": "So did Bob."}]
    entry = GOOD | {"evidence": spans, "split": "test", "kind": "multi", "needs": "ocr", "author": "me", "level": 3}
    path = write(tmp_path, entry, "", {"id": "q2", "question": "Why?", "answers": [], "document": None, "evidence": None})
    first, second = load_questions([path])
    assert (first.id, first.question, first.answers, first.document) == ("q1", "Who?", ("Ann",), "a.md")
    assert first.evidence == (RawEvidence("Ann did."), RawEvidence("So did Bob.", "b.md"))
    assert (first.split, first.kind, first.needs, first.extra) == ("test", "multi", "ocr", {"author": "me", "level": 3})
    assert first.where.endswith("questions.jsonl:1")
    assert (second.answers, second.evidence, second.document) == ((), (), None)
    assert second.where.endswith("questions.jsonl:3")


def test_the_fields_that_an_export_adds_are_none_of_the_question_s(tmp_path: Path) -> None:
    entry = GOOD | {"context": [], "prompt": [], "completion": []}
    path = write(tmp_path, entry | {"id": "q2", "extra": '{"author": "me"}'}, entry | {"id": "q3", "extra": None}, entry)
    assert [each.extra for each in load_questions([path])] == [{"author": "me"}, {}, {}]
    for extra in ("me", '"me"', ["me"]):
        with pytest.raises(QuestionError, match=r':1: "extra" must be a JSON object as one text, or null, found '):
            load_questions([write(tmp_path, entry | {"extra": extra})])
    with pytest.raises(QuestionError, match="half of a character"):
        load_questions([write(tmp_path, entry | {"extra": '{"author": "\\ud800"}'})])


def test_a_json_list_a_byte_order_mark_and_line_separators_in_text_are_read(tmp_path: Path) -> None:
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([GOOD]), encoding="utf-8-sig")
    lines = write(tmp_path, json.dumps(GOOD | {"id": "q2", "evidence": "Ann\u2028did."}, ensure_ascii=False))
    questions = load_questions([listed, lines])
    assert [question.id for question in questions] == ["q1", "q2"]
    assert questions[1].evidence[0].text == "Ann\u2028did."


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('{"id": "q2", ', r":2: not valid JSON .* write one object a line"),
        ([1], r":2: expected an object"),
        (GOOD | {"id": ""}, r':2: "id" must be a non-empty string, found ""'),
        (GOOD | {"id": "q2", "question": "  "}, r':2: "question" must be a non-empty string'),
        (GOOD | {"id": "q2", "answers": "Ann"}, r':2: "answers" must be a list of non-empty strings, found "Ann": write'),
        ({"id": "q2", "question": "Who?"}, r':2: "answers" must be a list .* found null'),
        (GOOD | {"id": "q2", "evidence": {"text": 3}}, r':2: "evidence" must be a verbatim span'),
        (GOOD | {"id": "q2", "evidence": [{"text": "Ann did.", "start": -5}]}, r':2: "start" of the evidence must be 0 or more, found -5'),
        (GOOD | {"id": "q2", "evidence": [""]}, r':2: "evidence" must be'),
        (GOOD | {"id": "q2", "split": "dev"}, r':2: "split" must be one of train, validation, test or null, found "dev"'),
        (GOOD | {"id": "q2", "document": 3}, r':2: "document" must be a non-empty string or null'),
        (GOOD | {"id": "q2", "answers": []}, r':2: it has evidence but "answers" is \[\]'),
        ('{"id": "q2", "x": ' + "9" * 5_000 + "}", r":2: not valid here"),
        ('{"id": "q2", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", r":2: lists or objects are nested too deeply"),
        (GOOD | {"id": "q2", "question": "Who \ud800?"}, r":2: it holds \\ud800, half of a character"),
        (GOOD | {"id": "q2", "evidence": [{"text": "Ann \udfff did."}]}, r":2: it holds \\udfff"),
        (GOOD | {"id": "q2", "author": {"\ud9ab": 1}}, r":2: it holds \\ud9ab"),
        (GOOD, r":2: the id 'q1' is also used at .*questions.jsonl:1"),
    ],
)
def test_a_malformed_line_is_named_with_what_to_write(tmp_path: Path, entry: object, message: str) -> None:
    with pytest.raises(QuestionError, match=message):
        load_questions([write(tmp_path, GOOD, entry)])


def test_a_character_written_as_a_surrogate_pair_is_read(tmp_path: Path) -> None:
    (question,) = load_questions([write(tmp_path, json.dumps(GOOD | {"question": "Who 😀?"}, ensure_ascii=True))])
    assert question.question == "Who 😀?"


def test_a_json_file_that_is_nested_too_deeply_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    assert not is_squad(path)
    with pytest.raises(QuestionError, match=r"deep\.json: lists or objects are nested too deeply"):
        load_questions([path])


def test_an_id_used_in_two_files_names_both(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match=r"b\.jsonl:1: the id 'q1' is also used at .*a\.jsonl:1"):
        load_questions([write(tmp_path, GOOD, name="a.jsonl"), write(tmp_path, GOOD, name="b.jsonl")])


def test_a_missing_or_undecodable_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match=r"cannot read questions from .*none\.jsonl"):
        load_questions([tmp_path / "none.jsonl"])
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "q\xe9"}')
    with pytest.raises(QuestionError, match=r"latin\.jsonl is not UTF-8 \(byte 9\)"):
        load_questions([tmp_path / "latin.jsonl"])
    (tmp_path / "odd.json").write_text('{"questions": []}')
    with pytest.raises(QuestionError, match="expected a list of questions, or SQuAD JSON"):
        load_questions([tmp_path / "odd.json"])


def test_a_misspelt_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    rows = [{"id": f"q{n}", "question": "Who?", "answers": ["Ann"], "evidense": "Ann built it.", "colour": "red"} for n in range(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said: list[str] = []
    assert [each.evidence for each in load_questions([path], said.append)] == [(), ()]
    assert said == [f'{path}:1: ragtune knows no field "evidense" (2 questions with it): did you mean "evidence"?']
