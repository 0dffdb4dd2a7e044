"""Kinds of questions from their files to an evaluation: several oracles, rows of tables, conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragtune import Project, build
from ragtune.conversation import search_text
from ragtune.dataset.raft import recall_at_k
from ragtune.dataset.store import read_dataset
from ragtune.errors import ConfigError, ModelError
from ragtune.pipeline.train import model_key, training_groups
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


MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + ' speaks\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant speaks\n' }}{% endif %}"
)


def test_a_chat_template_of_one_s_own_is_used_in_training_evaluation_and_asking(project):
    (project / "own.jinja").write_text(MARKED, encoding="utf-8")
    opened = Project(project, overrides=["model.chat_template=own.jinja", "evaluate.arms=['base', 'tuned']", "train.epochs=1"])
    opened.ingest()
    opened.dataset()
    assert "<|im_start|>assistant speaks" in opened.dataset_show().text
    plain = Project(project, overrides=["evaluate.arms=['base', 'tuned']", "train.epochs=1"])
    source = opened.workspace.find("datasets", None)
    folder = opened.workspace.artifact("datasets", source.name)
    keys = {model_key(each.settings, source, folder, without_context=False)[0] for each in (opened, plain)}
    assert len(keys) == 2
    assert "chat_template" not in model_key(plain.settings, source, folder, without_context=False)[1]["model"]
    model = opened.train()
    (project / "own.jinja").unlink()
    own = build.with_base_of(plain.settings, plain.workspace.find("models", model.name).settings["model"])
    assert own.model.chat_template == MARKED, "the model keeps the words that it was tuned on"
    asked = plain.evaluate(model=model.name)
    assert build.engine(own).tokenizer.chat_template == MARKED
    assert {each["model"] for each in predictions(asked.folder)} == {model.name, own.model.base}
    answer = list(plain.ask("Who built the mill of Calder?", model=model.name))[-1]
    assert isinstance(answer, Answer)


def test_a_chat_template_that_cannot_be_read_or_carry_the_prompt_is_told_from_the_start(project):
    with pytest.raises(ConfigError, match="jinja' cannot be read"):
        Project(project, overrides=["model.chat_template=gone.jinja"])
    (project / "empty.jinja").write_text("no template", encoding="utf-8")
    with pytest.raises(ConfigError, match="is no Jinja template"):
        Project(project, overrides=["model.chat_template=empty.jinja"])
    (project / "bad.jinja").write_text(MARKED.replace("m.content", "m.content | upper"), encoding="utf-8")
    Project(project).ingest()
    Project(project).dataset()
    with pytest.raises(ModelError, match="chat_template changes the system message"):
        Project(project, overrides=["model.chat_template=bad.jinja"]).train()
