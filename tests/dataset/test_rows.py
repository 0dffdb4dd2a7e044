"""Rows of other formats: what they become, what they bring along, and what is said of those that are malformed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragtune.dataset.anchor import anchor
from ragtune.dataset.questions import RawQuestion, brought_along, load_questions
from ragtune.errors import QuestionError
from ragtune.prompts import build_completion, build_messages
from ragtune.types import Document, Message, Passage, Question

SKARHOLM = ["Skarholm is an island. ", "Its ferry was built by Tom Berg in 1988.", " It has a pier."]
BERG = ["Tom Berg was born in Lund.", " He built ships."]
HOP: dict[str, Any] = {
    "_id": "5a7", "question": "Where was the builder of Skarholm's ferry born?", "answer": "Lund", "type": "bridge", "level": "hard",
    "supporting_facts": [["Skarholm", 1], ["Tom Berg", 0], ["Tom Berg", 9]], "context": [["Skarholm", SKARHOLM], ["Tom Berg", BERG]],
}  # fmt: skip
PASSAGE = Passage("p", "a.md", "A", "A › B", "The crossing takes forty minutes.", (), ("c",))


def write(path: Path, *rows: Any) -> Path:
    text = json.dumps(list(rows)) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def anchored(questions: list[RawQuestion], documents: list[Document]) -> list[Question]:
    report = anchor(questions, {document.source: document for document in documents})
    assert report.stale == []
    return report.questions


def test_hotpotqa_s_supporting_facts_are_evidence_in_the_documents_that_it_brings(tmp_path: Path) -> None:
    hub = {
        **{name: value for name, value in HOP.items() if name not in ("_id", "context", "supporting_facts")},
        "id": "5a8",
        "context": {"title": ["Skarholm", "Tom Berg"], "sentences": [SKARHOLM, BERG]},
        "supporting_facts": {"title": ["Skarholm", "Tom Berg"], "sent_id": [1, 0]},
    }
    path = write(tmp_path / "hotpot.json", HOP, hub)
    documents = brought_along([path])
    assert [(each.source, each.title) for each in documents] == [("Skarholm.md", "Skarholm"), ("Tom Berg.md", "Tom Berg")]
    for question in anchored(load_questions([path]), documents):
        assert [each.text for each in question.evidence] == [SKARHOLM[1], BERG[0]]
        assert (question.answers, question.kind) == (("Lund",), "bridge")


def test_a_part_of_hotpotqa_s_evidence_does_not_pass_for_all(tmp_path: Path) -> None:
    said: list[str] = []
    (question,) = load_questions([write(tmp_path / "wiki.jsonl", {**HOP, "context": [["Skarholm", SKARHOLM]]})], said.append)
    assert (question.answers, question.evidence) == (("Lund",), ())
    assert "1 questions have an answer and no evidence" in said[0]


@pytest.mark.parametrize(
    ("changed", "evidence"),
    [
        ({"supporting_facts": [["Skarholm", 1], ["Tom Berg", -1]]}, []),
        ({"supporting_facts": [["Skarholm", 1], ["Tom Berg", 9]]}, []),
        ({"supporting_facts": [["Skarholm", 1], ["Tom Berg", 1], ["Tom Berg", 9]]}, [SKARHOLM[1], BERG[1].strip()]),
        ({"context": [["Skarholm", SKARHOLM], ["Tom Berg", BERG], ["Tom Berg", BERG]]}, [SKARHOLM[1], BERG[0]]),
        ({"context": [["Skarholm", SKARHOLM], ["Tom Berg", BERG], ["Tom Berg", ["Another Tom Berg."]]]}, []),
    ],
)
def test_only_what_a_supporting_fact_surely_names_is_evidence(tmp_path: Path, changed: dict[str, Any], evidence: list[str]) -> None:
    path = write(tmp_path / "hotpot.jsonl", HOP | changed)
    (question,) = anchored(load_questions([path]), brought_along([path]))
    assert [each.text for each in question.evidence] == evidence


def test_titles_that_make_one_name_are_two_documents_of_a_file(tmp_path: Path) -> None:
    band, current = ["AC/DC is a band."], ["AC_DC is a current."]
    row = HOP | {"supporting_facts": [["AC_DC", 0]], "context": [["AC/DC", band], ["AC_DC", current]]}
    other = row | {"_id": "5a9", "context": [["AC_DC", current]]}
    paths = [write(tmp_path / "a.jsonl", row), write(tmp_path / "b.jsonl", other)]
    documents = brought_along(paths)
    assert [(each.source, each.text) for each in documents] == [
        ("AC_DC.md", f"{band[0]}\n\n{current[0]}"),  # of the other file, which has but one of the titles
        ("AC_DC-2.md", current[0]),
    ]
    assert [(each.source, each.title, each.text) for each in brought_along(paths[:1])] == [
        ("AC_DC.md", "AC/DC", band[0]),
        ("AC_DC-2.md", "AC DC", current[0]),
    ]
    questions = anchored(load_questions(paths), documents)
    assert [(each.evidence[0].document, each.evidence[0].text) for each in questions] == [
        ("AC_DC-2.md", current[0]),
        ("AC_DC.md", current[0]),
    ]


def test_json_lines_in_a_file_called_json_are_read_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    path.write_text("".join(json.dumps({**HOP, "_id": str(n)}) + "\n" for n in range(3)), encoding="utf-8")
    assert [each.id for each in load_questions([path])] == ["0", "1", "2"]
    path.write_text(json.dumps(HOP) + '\n{"broken\n', encoding="utf-8")
    with pytest.raises(QuestionError, match=r"test\.json:2: not valid JSON"):
        load_questions([path])


def test_hotpotqa_s_evidence_is_found_in_documents_of_one_s_own(tmp_path: Path) -> None:
    path = write(tmp_path / "hotpot.jsonl", HOP)
    own = [Document("wiki/all.md", "All", "# All\n\n" + "".join(SKARHOLM) + "\n\n" + "".join(BERG))]
    (question,) = anchored(load_questions([path]), own)
    assert [(each.document, each.text) for each in question.evidence] == [("wiki/all.md", SKARHOLM[1]), ("wiki/all.md", BERG[0])]


def squad_row(id_: str, context: str, answer: str, title: str = "Harbour") -> dict[str, Any]:
    answers = {"text": [answer], "answer_start": [context.index(answer)]} if answer else {"text": [], "answer_start": []}
    return {"id": id_, "title": title, "context": context, "question": f"What of {id_}?", "answers": answers}


def test_squad_rows_make_one_document_of_a_title_and_know_where_in_it_an_answer_stands(tmp_path: Path) -> None:
    first, second = "The ferry is old. It needs forty minutes.", "The pier is old. It needs paint."
    path = write(tmp_path / "squad.jsonl", squad_row("a", first, "forty"), squad_row("b", second, "paint"), squad_row("c", first, ""))
    (document,) = brought_along([path])
    assert (document.source, document.text) == ("Harbour.md", f"{first}\n\n{second}")
    one, two, none = anchored(load_questions([path]), [document])
    assert [each.evidence[0].text for each in (one, two)] == ["It needs forty minutes.", "It needs paint."]
    assert document.text[two.evidence[0].start :].startswith("It needs paint")
    assert none.answers == ()


def test_squad_rows_without_an_answer_are_impossible_where_they_say_so_and_else_left_out(tmp_path: Path) -> None:
    row = squad_row("a", "The ferry is old.", "old")
    blank = row | {"id": "b", "answers": {"text": [""], "answer_start": [0]}}
    open_ = squad_row("c", "The ferry is old.", "") | {"is_impossible": False}
    path = write(tmp_path / "squad.jsonl", row, blank, open_, open_ | {"id": "d", "is_impossible": True})
    said: list[str] = []
    assert [(each.id, each.answers) for each in load_questions([path], said.append)] == [("a", ("old",)), ("d", ())]
    assert said[0].startswith("squad.jsonl: 2 questions without an answer in words were left out")


def test_rows_of_question_answer_and_context_take_the_sentence_with_the_answer(tmp_path: Path) -> None:
    rows = [
        {"question": "How long?", "answer": "forty minutes", "context": ["The pier is old.", "The ferry is slow. It needs forty minutes."]},
        {"id": 7, "question": "Who?", "answer": ["Ann", "Ann Berg"], "context": "Nobody is named."},
        {"question": "When?", "answer": "1988"},
    ]
    said: list[str] = []
    path = write(tmp_path / "qa.jsonl", *rows)
    questions = load_questions([path], said.append)
    by_text = {each.question: each for each in anchored(questions, brought_along([path]))}
    assert by_text["How long?"].evidence[0].text == "It needs forty minutes."
    assert (by_text["Who?"].id, by_text["Who?"].answers, by_text["Who?"].evidence) == ("7", ("Ann", "Ann Berg"), ())
    assert said == ["qa.jsonl: 2 questions have an answer and no evidence: they are scored on it, and cannot be trained on"]


@pytest.mark.parametrize("shape", ["openai", "vertex", "trl"])
def test_chats_that_ragtune_exported_become_their_questions_again(tmp_path: Path, shape: str) -> None:
    history = [Message("user", "Is there a ferry?"), Message("assistant", "Yes.")]
    asked = [
        ("And how long is it?", history, build_completion("forty minutes", ["takes forty minutes"])),
        ("Who?", [], build_completion(None)),
    ]
    rows = []
    for question, before, completion in [*asked, asked[0]]:
        turns = [(each.role, each.content) for each in build_messages(question, [PASSAGE], history=before)]
        if shape == "openai":
            rows.append({"messages": [{"role": role, "content": text} for role, text in [*turns, ("assistant", completion)]]})
        elif shape == "trl":
            prompt, written = ([{"role": role, "content": text} for role, text in each] for each in (turns, [("assistant", completion)]))
            rows.append({"prompt": prompt, "completion": written})
        else:
            contents = [{"role": "user", "parts": [{"text": turns[1][1]}]}, {"role": "model", "parts": [{"text": completion}]}]
            rows.append({"systemInstruction": {"role": "system", "parts": [{"text": turns[0][1]}]}, "contents": contents})
    said: list[str] = []
    (question,) = load_questions([write(tmp_path / "chats.jsonl", *rows)], said.append)
    assert (question.question, question.answers, question.history) == ("And how long is it?", ("forty minutes",), tuple(history))
    assert [each.text for each in question.evidence] == ["takes forty minutes"]
    assert said == ["chats.jsonl: 1 answers that abstain were left out: their file does not say whether the documents answer the question"]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Who?", "answer": None},
        {"question": "Who?", "answer": [], "context": "The ferry is old."},
        {"question": "Who?", "answer": ["", None]},
        {"prompt": "Who?", "completion": ""},
        {"prompt": "Who?", "completion": None},
        {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]}]},
        {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "tool_calls": [{"id": "x"}]}]},
        {"contents": [{"role": "user", "parts": [{"text": "Who?"}]}, {"role": "model", "parts": [{"functionCall": {}}]}]},
        {"prompt": [{"role": each.role, "content": each.content} for each in build_messages("Who?", [PASSAGE])], "completion": "Answer: "},
    ],
)
def test_a_row_without_an_answer_is_left_out_and_no_abstention(tmp_path: Path, row: dict[str, Any]) -> None:
    said: list[str] = []
    path = write(tmp_path / "rows.jsonl", row, {"question": "When?", "answer": 1988})
    assert [(each.question, each.answers) for each in load_questions([path], said.append)] == [("When?", ("1988",))]
    assert said[0].startswith("rows.jsonl: 1 questions without an answer in words were left out")


def test_what_tools_and_developers_say_in_a_chat_is_neither_question_nor_history(tmp_path: Path) -> None:
    openai = [
        ("developer", "Be brief."), ("user", "Is there a ferry?"), ("assistant", None), ("tool", "yes"), ("assistant", "Yes."),
        ("user", "  "), ("user", "How long?"), ("assistant", ""), ("tool", "42"), ("assistant", "42 minutes."),
    ]  # fmt: skip
    vertex = [
        ("user", "Is there a ferry?"), ("model", "Yes."), ("user", "How long?"), ("model", None), ("user", None), ("model", "42 minutes."),
    ]  # fmt: skip
    parts = {role: [{call: {}}] for role, call in (("model", "functionCall"), ("user", "functionResponse"))}
    rows = [
        {"messages": [{"role": role, "content": text} for role, text in openai]},
        {"contents": [{"role": role, "parts": [{"text": text}] if text else parts[role]} for role, text in vertex]},
    ]
    questions = load_questions([write(tmp_path / "chats.jsonl", *rows)])
    assert len(questions) == 2
    for question in questions:
        assert (question.question, question.answers) == ("How long?", ("42 minutes.",))
        assert [(turn.role, turn.content) for turn in question.history] == [("user", "Is there a ferry?"), ("assistant", "Yes.")]


def test_any_other_chat_is_a_question_without_evidence_after_its_earlier_turns(tmp_path: Path) -> None:
    turns = [
        ("system", "Be brief."),
        ("user", "Is there a ferry?"),
        ("assistant", "Yes."),
        ("user", "How long?"),
        ("assistant", "Forty minutes."),
    ]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    plain = {"prompt": "Who?", "completion": "Ann."}
    said: list[str] = []
    first, second = load_questions([write(tmp_path / "chats.jsonl", row, plain)], said.append)
    assert (first.question, first.answers, first.evidence) == ("How long?", ("Forty minutes.",), ())
    assert [(turn.role, turn.content) for turn in first.history] == turns[1:3]
    assert (second.question, second.answers) == ("Who?", ("Ann.",))
    assert "2 questions have an answer and no evidence" in said[0]


def test_raft_s_own_rows_quote_their_oracle_document(tmp_path: Path) -> None:
    row = {
        "id": "seed_task_0", "type": "general", "question": "How long?", "context": {"title": [["…"]], "sentences": [["…"]]},
        "oracle_context": "The ferry is slow. It needs forty minutes.", "instruction": "…",
        "cot_answer": "We read ##begin_quote##It needs forty minutes.##end_quote## so\n<ANSWER>: forty minutes",
    }  # fmt: skip
    path = write(tmp_path / "raft.jsonl", row, {**row, "id": "seed_task_1", "cot_answer": "It says so. <ANSWER>: slow"})
    one, two = anchored(load_questions([path]), brought_along([path]))
    assert (one.answers, one.evidence[0].text) == (("forty minutes",), "It needs forty minutes.")
    assert (two.answers, two.evidence[0].text) == (("slow",), row["oracle_context"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**HOP, "context": [["Skarholm"]]}, "rows.jsonl:2: not a whole row of hotpotqa"),
        ({**HOP, "context": [["Tom Berg", "He was born in Lund."]]}, "rows.jsonl:2: not .* 'Tom Berg' of .* list of sentences, found"),
        ({**HOP, "answer": " "}, "rows.jsonl:2: not a whole row of hotpotqa .*an empty text"),
        ({"messages": [{"role": "user", "content": "Who?"}]}, "rows.jsonl:2: the last message must be the assistant's"),
        ({**HOP, "question": "\t"}, 'rows.jsonl:2: not a whole row of hotpotqa .*"question" is an empty text'),
        ({**HOP, "answer": None}, 'rows.jsonl:2: .*"answer" must be a text or a number, found null'),
        ({"question": "Who?", "answer": {"value": "Ann"}}, 'rows.jsonl:2: .*"answer" must be a text .*, found {"value": "Ann"}'),
        ({"question": "Is it?", "answer": False}, 'rows.jsonl:2: .*"answer" must be a text or a number, found false: write it in words'),
        ({"question": "How many?", "answer": ["2", float("nan")]}, 'rows.jsonl:2: .*"answer" must be a text or a number, found NaN'),
        ({"question": "Who?", "answer": "Ann", "context": {"text": "…"}}, 'rows.jsonl:2: .*"context" must be a text or a list of texts'),
        ({"question": "Who?", "cot_answer": "Ann", "oracle_context": " "}, '"oracle_context" is an empty text'),
        ({"prompt": " ", "completion": "Ann"}, 'rows.jsonl:2: not a whole row of chat .*"question" is an empty text'),
        ({"prompt": "Who?", "completion": [{"role": "assistant", "content": 5}]}, 'rows.jsonl:2: .*"content" must be a text, found 5'),
        ({"messages": [{"role": "system", "content": "…"}, {"role": "assistant", "content": "Ann."}]}, "after one of the user's"),
        ({"messages": []}, "rows.jsonl:2: not a whole row of chat"),
        ({"contents": [{"role": "user"}]}, "rows.jsonl:2: not a whole row of chat"),
        (squad_row("a", "text", "text") | {"answers": {"text": ["text"], "answer_start": []}}, "rows.jsonl:2: not a whole row of squad"),
        ({"question": "Who?", "cot_answer": "Ann"}, "rows.jsonl:2: not a whole row of raft"),
        ({"id": "q", "question": "Who?", "answers": ["Ann"]}, "rows.jsonl:2: no question of a known format, as the rows before it"),
        ({"question": "Who?", "answer": "\ud800"}, "half of a character"),
    ],
)  # fmt: skip
def test_a_malformed_row_is_named_by_its_line(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(QuestionError, match=message):
        load_questions([write(tmp_path / "rows.jsonl", HOP, row)])


def test_parquet_and_arrow_files_are_read_row_by_row(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as parquet

    table = pyarrow.Table.from_pylist([squad_row(f"q{n}", f"Pier {n} is old. It needs paint.", "paint") for n in range(3)])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pyarrow.ipc.new_stream(tmp_path / "stream.arrow", table.schema) as stream:
        stream.write_table(table)
    with pyarrow.ipc.new_file(tmp_path / "file.arrow", table.schema) as file:
        file.write_table(table)
    for name in ("a.parquet", "stream.arrow", "file.arrow"):
        questions = anchored(load_questions([tmp_path / name]), brought_along([tmp_path / name]))
        assert [each.id for each in questions] == ["q0", "q1", "q2"]
        assert {each.evidence[0].text for each in questions} == {"It needs paint."}
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-200])
        with pytest.raises(QuestionError, match=f"cannot read questions from .*{name}"):
            load_questions([tmp_path / name])


def test_a_turn_in_parts_is_read_as_their_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Who built "}, {"type": "text", "text": "the ferry?"}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": [{"type": "text", "text": "Ann."}]}]
    (question,) = load_questions([write(tmp_path / "rows.jsonl", {"messages": turns})])
    assert (question.question, question.answers) == ("Who built the ferry?", ("Ann.",))
    picture = [{"role": "user", "content": [*parts, {"type": "image_url", "image_url": {"url": "x"}}]}, turns[1]]
    with pytest.raises(QuestionError, match='"content" must be a text'):
        load_questions([write(tmp_path / "rows.jsonl", {"messages": picture})])
