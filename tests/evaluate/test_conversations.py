"""Whoever reads a question of a conversation alone, a judge or a reader of the report, is told what was said before it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from ragtune.evaluate.comparison import compare_questions
from ragtune.evaluate.judge import case_of
from ragtune.evaluate.predictions import read_predictions
from ragtune.types import Message
from synthetic_evaluation import make_evaluation

SAID = (Message("user", "When does the ferry leave?"), Message("assistant", "At eight."))


def test_a_judge_and_the_page_are_told_what_was_said_before(tmp_path) -> None:
    made = make_evaluation(4, 4)
    asked = [replace(each, question="And in winter?", history=SAID) for each in made.predictions]
    whole = "- user: When does the ferry leave?\n- assistant: At eight.\nAnd in winter?"
    assert case_of(asked[0], made.passages).question == whole
    assert {each["question"] for each in compare_questions(asked, made.passages, made.examples)["questions"]} == {whole}
    file = tmp_path / "predictions.jsonl"
    file.write_text("".join(json.dumps(asdict(each)) + "\n" for each in asked), encoding="utf-8")
    assert read_predictions(file) == asked
