"""Kinds of questions from their files to an evaluation: several oracles, rows of tables, conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragtune import Project
from ragtune.conversation import search_text
from ragtune.dataset.raft import recall_at_k
from ragtune.dataset.store import read_dataset
from ragtune.pipeline.train import training_groups
from ragtune.prompts import parse_answer
from ragtune.quotes import check_quote
from ragtune.rag import Answer
from ragtune.types import Message
from tiny_project import PLACES, THINGS, builder, fact

pytest.importorskip("faiss", reason="faiss is not installed")


def write_questions(path: Path, questions: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(question) + "\n" for question in questions), encoding="utf-8")


def predictions(folder: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(folder) / "predictions.jsonl").read_text(encoding="utf-8").split("\n") if line]


def two_hops(number: int) -> dict[str, Any]:
    first, second, thing = PLACES[number % 8], PLACES[(number + 1) % 8], THINGS[number // 8]
    return {
        "id": f"hop-{number}",
        "question": f"Who built the {thing} of {first}, and who the {thing} of {second}?",
        "answers": [builder(second, thing)],
        "evidence": [{"document": f"{place.lower()}.md", "text": fact(place, thing)} for place in (first, second)],
        "kind": "multi",
    }


def test_a_question_of_two_hops_has_both_oracles_and_quotes_from_its_file_to_its_evaluation(project, sources):
    hops = [two_hops(number) for number in range(32)]
    write_questions(sources.questions, hops)
    opened = Project(project, overrides=["retrieve.k=3", "evaluate.arms=['base', 'tuned']", "dataset.p_oracle=0.6", "train.epochs=1"])
    opened.ingest()
    made = opened.dataset()
    assert made.left_out == ()
    data = read_dataset(Path(made.folder))
    for example in data.train:
        assert len(example.oracles) == len(set(example.oracles)) == 2
        quotes = [check_quote(quote, [data.passages[id_] for id_ in example.oracles]) for quote in parse_answer(example.completion).quotes]
        assert [quote.valid for quote in quotes] == [True, True]
        assert [quote.document for quote in quotes] == [evidence.document for evidence in example.evidence]
    everything = [*data.train, *data.validation, *data.test]
    whole = [set(each.oracles) <= {candidate.passage for candidate in each.candidates[:3]} for each in everything]
    assert 0 < sum(whole) < len(whole), "the test proves nothing otherwise"
    assert recall_at_k(everything, 3) == sum(whole) / len(whole), "one of two is not recalled"
    groups = training_groups(data, data.train, opened.settings, opened.workspace.find("datasets", None))(0)
    trained = [(branch, group) for group in groups for branch in group.branches]
    by_id = {example.id: example for example in data.train}
    for branch, group in trained:
        shown = set(by_id[branch.id].oracles) & {passage.id for passage in group.passages or ()}
        assert len(shown) == (0 if parse_answer(branch.completion).abstained else 2), "never one of two"
    assert sum(len(group.passages or ()) == 3 for _, group in trained) == len(trained)
    model = opened.train()
    evaluation = opened.evaluate(model=model.name)
    test = {example.id: example for example in data.test}
    for prediction in predictions(evaluation.folder):
        assert prediction["answerable_in_context"] == (set(test[prediction["id"]].oracles) <= set(prediction["passages"]))
        if prediction["context"] == "oracle":
            assert set(prediction["passages"]) == set(test[prediction["id"]].oracles)


def test_a_row_of_a_long_table_is_shown_under_its_head_and_quoted_whole(project, sources):
    asked = [(place, thing, 1900 + len(place + thing)) for place in PLACES[:8] for thing in THINGS[:4]]
    lines = [f"| {place} | {thing} | {builder(place, thing)} | {year} |" for place, thing, year in asked]
    head = "| Place | Thing | Builder | Year |"
    (sources.documents / "fares.md").write_text("\n".join(["# Fares", "", head, "|---|---|---|---|", *lines, ""]), encoding="utf-8")
    rows = [
        {
            "id": f"row-{place}-{thing}".lower(),
            "question": f"In the table of fares, which year has the {thing} of {place}?",
            "answers": [str(year)],
            "document": "fares.md",
            "evidence": line,
            "kind": "table",
        }
        for (place, thing, year), line in zip(asked, lines, strict=True)
    ]
    write_questions(sources.questions, rows)
    opened = Project(project)
    opened.ingest()
    made = opened.dataset()
    assert made.left_out == ()
    data = read_dataset(Path(made.folder))
    for example in [*data.train, *data.validation]:
        (oracle,) = (data.passages[id_] for id_ in example.oracles)
        assert head in oracle.prefix or head in oracle.text
        (quote,) = parse_answer(example.completion).quotes
        assert check_quote(quote, [oracle]).valid
        assert f"{example.answers[0]}" in quote
        assert example.question.split()[-1].rstrip("?") in quote, "the row, not the cell"
    view = opened.dataset_show(data.train[0].id)
    assert head in view.text


def test_a_conversation_is_searched_with_trained_evaluated_and_asked(project, sources):
    questions = [
        {
            "id": f"{place}-{thing}".lower(),
            "question": "And who built it?",
            "answers": [builder(place, thing)],
            "document": f"{place.lower()}.md",
            "evidence": fact(place, thing),
            "history": [{"role": "user", "content": f"Is there a {thing} of {place}?"}, {"role": "assistant", "content": "Yes, there is."}],
        }
        for place in PLACES[:8]
        for thing in THINGS[:4]
    ]
    write_questions(sources.questions, questions)
    opened = Project(project, overrides=["evaluate.arms=['base', 'tuned']", "train.epochs=1"])
    opened.ingest()
    made = opened.dataset()
    data = read_dataset(Path(made.folder))
    assert all(example.history for example in (*data.train, *data.test))
    assert made.figures["recall"]["train"] > 0.5, "without its history no question says what it is about"
    hits = [hit.source for hit in opened.search(search_text(data.test[0].question, data.test[0].history))]
    assert [data.passages[each.passage].document for each in data.test[0].candidates[: len(hits)]] == hits
    view = opened.dataset_show(data.train[0].id)
    assert "Asked after:\n- user: Is there a" in view.text
    model = opened.train()
    opened.evaluate(model=model.name)
    history = [Message("user", "Is there a mill of Calder?"), Message("assistant", "Yes.")]
    answer = list(opened.ask("And who built it?", history=history))[-1]
    assert isinstance(answer, Answer)
    assert "calder.md" in {passage.document for passage in answer.passages}
